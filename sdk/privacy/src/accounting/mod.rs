//! Accountants: from events to (epsilon, delta).
//!
//! Two accountants that share no code beyond the likelihood ratio of one step: Renyi
//! divergences ([`rdp`]) compose adaptively and cost a millisecond; privacy loss
//! distributions ([`pld`]) are tight, for compositions fixed beforehand. Both give upper
//! bounds, so the smaller one is reported. [`calibration`] turns them around, and
//! [`GdpApproximation`] is what its name says and bounds nothing.
//!
//! [`RdpAccountant`] and [`pld`] account for ideal Gaussian noise. The functions of this
//! module, which devices, servers and calibration ask, also charge what the sampler falls
//! short of it: some 1e-8 sqrt(steps) of epsilon, and a millionth of delta.
//!
//! Queries take `&Composition` and change nothing.

pub mod calibration;
mod gdp;
mod mixture;
mod pair;
pub mod pld;
pub mod rdp;

use serde::{Deserialize, Serialize};

pub use calibration::{
    CalibrateBy, PhaseShape, Span, Split, Target, equal_split, most_steps, noise_multiplier,
    optimal_split,
};
pub use gdp::GdpApproximation;
pub use rdp::{RdpAccountant, default_orders};

use crate::noise::Shortfall;
use crate::{Composition, Delta, Epsilon};

/// Which accountant a bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Accountant {
    /// Renyi divergences.
    Rdp,
    /// Privacy loss distributions.
    Pld,
}

impl std::fmt::Display for Accountant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Rdp => "RDP",
            Self::Pld => "PLD",
        })
    }
}

/// An upper bound on epsilon, with the accountant that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpsilonBound {
    /// The bound, possibly +infinity.
    pub epsilon: f64,
    /// Where it comes from.
    pub accountant: Accountant,
}

/// The tighter of both bounds; Renyi where they are equal.
///
/// # Guarantee
/// A composition whose parameters were fixed before its first release is
/// (epsilon, delta)-DP under the adjacency of its events, or under replacement of one example
/// where both occur. Where later parameters were chosen
/// after seeing releases, only [`rdp_epsilon`] is valid.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | nothing composed, only rate 0, or delta 1 | 0 |
/// | noise multiplier 0 at a rate above 0 | +infinity |
/// | delta 0, anything composed | +infinity |
/// | an epsilon above 560, at deltas from 1e-12 up | +infinity: the noise is cut at 37 sigma |
#[must_use]
pub fn epsilon(composition: &Composition, delta: Delta) -> EpsilonBound {
    tighter(rdp_epsilon(composition, delta), pld_epsilon(composition, delta))
}

/// The same for noise exactly as the events state it, which an ideal sampler would draw.
#[must_use]
pub fn ideal_epsilon(composition: &Composition, delta: Delta) -> EpsilonBound {
    tighter(rdp(composition).epsilon(delta), pld::epsilon(composition, delta))
}

fn tighter(rdp: f64, pld: f64) -> EpsilonBound {
    if pld < rdp {
        EpsilonBound { epsilon: pld, accountant: Accountant::Pld }
    } else {
        EpsilonBound { epsilon: rdp, accountant: Accountant::Rdp }
    }
}

/// Delta at `epsilon`: the smaller of both bounds, with the guarantee of [`epsilon`].
#[must_use]
pub fn delta(composition: &Composition, epsilon: Epsilon) -> f64 {
    let rdp = rdp(composition);
    let ideal = |epsilon: Epsilon| rdp.delta(epsilon).min(pld::delta(composition, epsilon));
    let at = |epsilon| Epsilon::new(epsilon).map_or(1.0, ideal);
    match Shortfall::of(composition) {
        Some(shortfall) => shortfall.delta(epsilon.value(), at),
        None => ideal(epsilon),
    }
}

/// Epsilon by Renyi divergences at the default orders, valid also under adaptivity.
///
/// # Guarantee
/// See [`RdpAccountant`], also for the edge cases; and the sampler is charged.
#[must_use]
pub fn rdp_epsilon(composition: &Composition, delta: Delta) -> f64 {
    let rdp = rdp(composition);
    charged(composition, delta, |delta| rdp.epsilon(delta))
}

/// Epsilon by the Renyi divergence of one order; the sampler is charged. For filters, which
/// fix their order beforehand.
pub(crate) fn rdp_epsilon_at(order: f64, composition: &Composition, delta: Delta) -> f64 {
    let Ok(mut rdp) = RdpAccountant::with_orders(vec![order]) else { return f64::INFINITY };
    rdp.compose_all(composition);
    charged(composition, delta, |delta| rdp.epsilon(delta))
}

/// Epsilon by privacy loss distributions; see [`pld::epsilon`]. The sampler is charged.
#[must_use]
pub fn pld_epsilon(composition: &Composition, delta: Delta) -> f64 {
    charged(composition, delta, |delta| pld::epsilon(composition, delta))
}

/// What `ideal`, an account of ideal noise, gives for noise of this crate's sampler.
fn charged(composition: &Composition, delta: Delta, ideal: impl Fn(Delta) -> f64) -> f64 {
    match Shortfall::of(composition) {
        Some(shortfall) if delta.value() < 1.0 => {
            let at = |delta| Delta::new(delta).map_or(f64::INFINITY, &ideal);
            let found = at(shortfall.ideal_delta(delta.value()));
            if found == 0.0 && at(shortfall.ideal_delta_of_zero(delta.value())) == 0.0 {
                return 0.0;
            }
            shortfall.epsilon(found, delta.value())
        }
        _ => ideal(delta),
    }
}

fn rdp(composition: &Composition) -> RdpAccountant {
    let mut accountant = RdpAccountant::new();
    accountant.compose_all(composition);
    accountant
}

#[cfg(test)]
mod tests;
