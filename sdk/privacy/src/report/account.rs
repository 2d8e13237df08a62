//! What a composition comes to, by every accountant.

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::accounting::{self, Accountant};
use crate::noise::Shortfall;
use crate::policy::filter_epsilon;
use crate::{Composition, Delta, Policy};

/// An upper bound on epsilon, +infinity among them.
///
/// JSON has no infinity and would silently store none: here it is the text `"infinity"`.
/// NaN and negative numbers are refused.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Bound(f64);

/// How infinity is written.
const INFINITY: &str = "infinity";

impl Bound {
    /// A bound; `None` for what is none.
    #[must_use]
    pub fn new(epsilon: f64) -> Option<Self> {
        // -0 is 0.
        (epsilon >= 0.0).then_some(Self(epsilon + 0.0))
    }

    /// A bound of an accountant, which says nothing where it gives no number.
    fn of(epsilon: f64) -> Self {
        Self::new(epsilon).unwrap_or(Self(f64::INFINITY))
    }

    /// The number, possibly +infinity.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_finite() { self.0.fmt(f) } else { f.pad(INFINITY) }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { s.serialize_f64(self.0) } else { s.serialize_str(INFINITY) }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(BoundVisitor)
    }
}

struct BoundVisitor;

impl Visitor<'_> for BoundVisitor {
    type Value = Bound;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number >= 0 or \"infinity\"")
    }

    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<Bound, E> {
        let bound = Bound::new(x).filter(|b| b.0.is_finite());
        bound.ok_or_else(|| E::invalid_value(Unexpected::Float(x), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, x: u64) -> Result<Bound, E> {
        self.visit_f64(x as f64)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bound, E> {
        if text == INFINITY {
            return Ok(Bound(f64::INFINITY));
        }
        Err(E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Epsilon of a composition at a delta: by both accountants, and the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Delta at which every epsilon here is stated.
    pub delta: Delta,
    /// By Renyi divergences.
    pub rdp: Bound,
    /// By privacy loss distributions.
    pub pld: Bound,
    /// The bound that holds.
    pub epsilon: Bound,
    /// Whose it is: the tighter one's for one task; over several tasks that of the Renyi
    /// filter, which holds where a plan was chosen after seeing releases. Its one order is
    /// fixed by the policy, so it can be a little above `rdp`.
    pub accountant: Accountant,
    /// Part of both bounds that pays for the difference between sampled and ideal noise.
    pub sampler_charge: Bound,
}

impl Account {
    /// Asks both accountants. `filter`: the policy whose filter counts, where some parameters
    /// were chosen after releases.
    #[must_use]
    pub fn new(composition: &Composition, delta: Delta, filter: Option<&Policy>) -> Self {
        let rdp = Bound::of(accounting::rdp_epsilon(composition, delta));
        let pld = Bound::of(accounting::pld_epsilon(composition, delta));
        let (epsilon, accountant) = match filter {
            Some(policy) => (Bound::of(filter_epsilon(policy, composition)), Accountant::Rdp),
            None if pld < rdp => (pld, Accountant::Pld),
            None => (rdp, Accountant::Rdp),
        };
        let charge = Shortfall::of(composition).map_or(0.0, Shortfall::epsilon_charge);
        Self { delta, rdp, pld, epsilon, accountant, sampler_charge: Bound::of(charge) }
    }
}
