//! Accountants: from events to (epsilon, delta).
mod mixture;
pub mod rdp;

use serde::{Deserialize, Serialize};

pub use rdp::RdpAccountant;

use crate::{Composition, Delta};

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

/// The tighter bound.
#[must_use]
pub fn epsilon(composition: &Composition, delta: Delta) -> EpsilonBound {
    EpsilonBound { epsilon: rdp_epsilon(composition, delta), accountant: Accountant::Rdp }
}

/// Epsilon by the Renyi accountant at the default orders.
#[must_use]
pub fn rdp_epsilon(composition: &Composition, delta: Delta) -> f64 {
    let mut accountant = RdpAccountant::new();
    accountant.compose_all(composition);
    accountant.epsilon(delta)
}

/// Epsilon by privacy loss distributions.
#[must_use]
pub fn pld_epsilon(_composition: &Composition, _delta: Delta) -> f64 {
    f64::INFINITY
}
