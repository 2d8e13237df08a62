//! Everything that was released, as a multiset of events in bounded memory.

use serde::{Deserialize, Serialize};

use crate::{Adjacency, Event};

/// Most different mechanisms that a [`Composition`] tells apart.
pub const MOST_MECHANISMS: usize = 256;

/// Mantissa bits of the first rounding when there are more than [`MOST_MECHANISMS`].
const FINEST_BITS: u32 = 16;

/// Everything that was released about one data set, as a multiset of events.
///
/// Equal mechanisms are merged, so a run of 100,000 equal steps takes the memory of one
/// event; it is saved and loaded by serde, and then answers every query with the same bits.
///
/// # Guarantee
/// At most [`MOST_MECHANISMS`] events are held, 56 bytes each. Beyond, parameters are
/// rounded towards less privacy until so few are left: bounds get looser, never unsound.
/// Up to then, the order of additions does not matter but for rounding in the last digits.
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
        self.merge(event);
        let mut bits = FINEST_BITS;
        while self.events.len() > MOST_MECHANISMS {
            self.coarsen(bits);
            bits = bits.saturating_sub(1);
        }
    }

    fn merge(&mut self, event: Event) {
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

    /// Rounds everything to `bits` bits, and with 0 bits takes the worst of each kind.
    fn coarsen(&mut self, bits: u32) {
        for event in std::mem::take(&mut self.events) {
            let like = |e: &&mut Event| {
                e.adjacency == event.adjacency && e.mechanism.worse(event.mechanism).is_some()
            };
            match self.events.iter_mut().find(like).filter(|_| bits == 0) {
                Some(e) => {
                    e.mechanism = e.mechanism.worse(event.mechanism).unwrap_or(e.mechanism);
                    e.count = e.count.saturating_add(event.count);
                }
                None => self.merge(Event { mechanism: event.mechanism.rounded(bits), ..event }),
            }
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

    /// The events under one adjacency, as accountants need them: where both occur, all are
    /// taken as events of replacement, whose neighbours differ more.
    pub fn unified(&self) -> impl Iterator<Item = Event> + '_ {
        let replaces = self.events.iter().any(|e| e.adjacency == Adjacency::ReplaceOne);
        let adjacency = if replaces { Adjacency::ReplaceOne } else { Adjacency::AddRemove };
        self.events.iter().map(move |&e| Event { adjacency, ..e })
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
    use crate::{Mechanism, NoiseMultiplier, SamplingRate};

    fn of_rate(rate: f64, sigma: f64, count: u64) -> Event {
        let (rate, sigma) =
            (SamplingRate::new(rate).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        Event::poisson_gaussian(Adjacency::AddRemove, rate, sigma, count)
    }

    fn event(sigma: f64, count: u64) -> Event {
        of_rate(0.1, sigma, count)
    }

    #[test]
    fn equal_mechanisms_merge_and_empty_events_vanish() {
        let c: Composition =
            [event(1.0, 3), event(2.0, 0), event(1.0, 4), event(2.0, 1)].into_iter().collect();
        assert_eq!(c.events(), [event(1.0, 7), event(2.0, 1)]);
    }

    #[test]
    fn memory_is_bounded_and_the_bound_only_loosens() {
        let total = 4_000_u64;
        let wild: Composition =
            (1..=total).map(|k| of_rate(1.0 / (k + 1) as f64, 1.0 + 1e-3 * k as f64, 1)).collect();
        assert!(wild.events().len() <= MOST_MECHANISMS);
        assert_eq!(wild.events().iter().map(|e| e.count).sum::<u64>(), total);
        for k in [1, 7, 500, total] {
            let covers = |e: &Event| {
                let Mechanism::PoissonGaussian { rate, noise_multiplier } = e.mechanism else {
                    return false;
                };
                rate.value() >= 1.0 / (k + 1) as f64
                    && noise_multiplier.value() <= 1.0 + 1e-3 * k as f64
            };
            assert!(wild.events().iter().any(covers), "{k}");
        }
    }

    #[test]
    fn parameters_of_any_size_are_merged_in_the_end() {
        let wild: Composition = (0..2_000).map(|k| event(2.0_f64.powi(k - 1_000), 1)).collect();
        assert!(wild.events().len() <= MOST_MECHANISMS);
        let laplace = |k: u32| Event {
            adjacency: Adjacency::ReplaceOne,
            mechanism: Mechanism::Laplace {
                noise_multiplier: NoiseMultiplier::new(f64::from(k).exp2()).unwrap(),
            },
            count: 1,
        };
        let mixed: Composition =
            (0..900).flat_map(|k| [laplace(k), event(f64::from(k).exp2(), 1)]).collect();
        assert!(mixed.events().len() <= MOST_MECHANISMS);
        assert_eq!(mixed.events().iter().map(|e| e.count).sum::<u64>(), 1_800);
    }

    #[test]
    fn a_saved_composition_goes_on_bit_for_bit() {
        let mut first: Composition =
            (1..40).map(|k| of_rate(0.3 / f64::from(k), 0.1 + 1.0 / f64::from(k), 3)).collect();
        let text = serde_json::to_string(&first).unwrap();
        let mut second: Composition = serde_json::from_str(&text).unwrap();
        assert_eq!(first, second);
        for composition in [&mut first, &mut second] {
            (1..900).for_each(|k| composition.add(event(1.0 / f64::from(k), 1)));
        }
        assert_eq!(first, second);
        let delta = crate::Delta::new(1e-5).unwrap();
        let bits = |c: &Composition| crate::accounting::rdp_epsilon(c, delta).to_bits();
        assert_eq!(bits(&first), bits(&second));
    }
}
