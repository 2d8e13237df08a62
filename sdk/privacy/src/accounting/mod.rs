//! Accountants: from events to (epsilon, delta).
//!
//! Two accountants that share no code beyond the likelihood ratio of one step: Renyi
//! divergences ([`rdp`]) compose adaptively and cost a millisecond; privacy loss
//! distributions ([`pld`]) are tight, for compositions fixed beforehand. Both give upper
//! bounds, so the smaller one is reported. [`calibration`] turns them around.
//!
//! Queries take `&Composition` and change nothing.

pub mod calibration;
mod mixture;
pub mod pld;
pub mod rdp;

use serde::{Deserialize, Serialize};

pub use calibration::{CalibrateBy, PhaseShape, most_steps, noise_multiplier};
pub use rdp::RdpAccountant;

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
/// (epsilon, delta)-DP under add/remove adjacency. Where later parameters were chosen
/// after seeing releases, only [`rdp_epsilon`] is valid.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | nothing composed, only rate 0, or delta 1 | 0 |
/// | noise multiplier 0 at a rate above 0 | +infinity |
/// | delta 0, anything composed | +infinity |
#[must_use]
pub fn epsilon(composition: &Composition, delta: Delta) -> EpsilonBound {
    let (rdp, pld) = (rdp_epsilon(composition, delta), pld_epsilon(composition, delta));
    if pld < rdp {
        EpsilonBound { epsilon: pld, accountant: Accountant::Pld }
    } else {
        EpsilonBound { epsilon: rdp, accountant: Accountant::Rdp }
    }
}

/// Delta at `epsilon`: the smaller of both bounds, with the guarantee of [`epsilon`].
#[must_use]
pub fn delta(composition: &Composition, epsilon: Epsilon) -> f64 {
    rdp(composition).delta(epsilon).min(pld::delta(composition, epsilon))
}

/// Epsilon by Renyi divergences at the default orders, valid also under adaptivity.
///
/// # Guarantee
/// See [`RdpAccountant`], also for the edge cases.
#[must_use]
pub fn rdp_epsilon(composition: &Composition, delta: Delta) -> f64 {
    rdp(composition).epsilon(delta)
}

/// Epsilon by privacy loss distributions; see [`pld::epsilon`].
#[must_use]
pub fn pld_epsilon(composition: &Composition, delta: Delta) -> f64 {
    pld::epsilon(composition, delta)
}

fn rdp(composition: &Composition) -> RdpAccountant {
    let mut accountant = RdpAccountant::new();
    accountant.compose_all(composition);
    accountant
}

#[cfg(test)]
mod tests;
