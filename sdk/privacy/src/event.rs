//! Privacy events: immutable descriptions of what a mechanism did, and their composition.

use serde::{Deserialize, Serialize};

use crate::{NoiseMultiplier, SamplingRate};

/// Which data sets count as neighbours.
///
/// Mandatory in every event: tools that leave it implicit double the sensitivity in
/// one accountant and not in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Adjacency {
    /// One example is added or removed.
    AddRemove,
}

/// One use of a noise mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Mechanism {
    /// Every example takes part with probability `rate`, independently; the sum of
    /// vectors of L2 norm at most C gets Gaussian noise of standard deviation
    /// `noise_multiplier` * C on every coordinate. `rate` = 1 is the plain Gaussian
    /// mechanism.
    PoissonGaussian {
        /// Sampling rate q.
        rate: SamplingRate,
        /// Noise multiplier sigma, relative to the add/remove sensitivity C.
        noise_multiplier: NoiseMultiplier,
    },
}

/// `count` uses of one mechanism under one adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Neighbouring relation under which the mechanism's parameters are stated.
    pub adjacency: Adjacency,
    /// What was done.
    pub mechanism: Mechanism,
    /// How many times; 0 releases nothing.
    pub count: u64,
}

impl Event {
    /// `count` steps of the Poisson-subsampled Gaussian mechanism, add/remove adjacency.
    #[must_use]
    pub const fn poisson_gaussian(
        rate: SamplingRate,
        noise_multiplier: NoiseMultiplier,
        count: u64,
    ) -> Self {
        let mechanism = Mechanism::PoissonGaussian { rate, noise_multiplier };
        Self { adjacency: Adjacency::AddRemove, mechanism, count }
    }
}

/// Everything that was released about one data set, as a multiset of events.
///
/// Order does not matter for the accountants here; equal mechanisms are merged, so a
/// run of 100,000 equal steps takes the memory of one event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Composition {
    events: Vec<Event>,
}

impl Composition {
    /// Nothing released yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one event. Counts of equal mechanisms add up, saturating at `u64::MAX`.
    pub fn add(&mut self, event: Event) {
        if event.count == 0 {
            return;
        }
        let twin = self
            .events
            .iter_mut()
            .find(|e| e.mechanism == event.mechanism && e.adjacency == event.adjacency);
        match twin {
            Some(e) => e.count = e.count.saturating_add(event.count),
            None => self.events.push(event),
        }
    }

    /// Adds everything that `other` holds.
    pub fn extend(&mut self, other: &Self) {
        other.events.iter().for_each(|&e| self.add(e));
    }

    /// The merged events, in the order of their first appearance.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether nothing was released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl FromIterator<Event> for Composition {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut composition = Self::new();
        events.into_iter().for_each(|e| composition.add(e));
        composition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sigma: f64, count: u64) -> Event {
        let rate = SamplingRate::new(0.1).unwrap();
        Event::poisson_gaussian(rate, NoiseMultiplier::new(sigma).unwrap(), count)
    }

    #[test]
    fn equal_mechanisms_merge_and_empty_events_vanish() {
        let c: Composition =
            [event(1.0, 3), event(2.0, 0), event(1.0, 4), event(2.0, 1)].into_iter().collect();
        assert_eq!(c.events(), [event(1.0, 7), event(2.0, 1)]);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let mut json = serde_json::to_value(event(1.0, 1)).unwrap();
        json["shuffled"] = true.into();
        assert!(serde_json::from_value::<Event>(json).is_err());
    }
}
