//! Privacy events: immutable descriptions of what a mechanism did, and their composition.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseMultiplier, SamplingRate};

/// Most different mechanisms that a [`Composition`] tells apart.
pub const MOST_MECHANISMS: usize = 256;

/// Mantissa bits of the first rounding when there are more than [`MOST_MECHANISMS`].
const FINEST_BITS: u32 = 16;

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
    /// One example is replaced by another.
    ReplaceOne,
}

impl Adjacency {
    /// Distance between sums over neighbours at most, in bounds on one contribution: the
    /// only place that knows it.
    #[must_use]
    pub const fn distance(self) -> u32 {
        match self {
            Self::AddRemove => 1,
            Self::ReplaceOne => 2,
        }
    }
}

/// L2 sensitivity of a sum on the lattice: it means nothing without the neighbours it is
/// about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitivity {
    /// Which data sets are neighbours.
    pub adjacency: Adjacency,
    /// Largest distance of their sums, in grid steps.
    pub steps: u32,
}

/// A batch of fixed size drawn without replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenFixedSize", deny_unknown_fields)]
pub struct FixedSize {
    batch: u64,
    population: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFixedSize {
    batch: u64,
    population: u64,
}

impl TryFrom<WrittenFixedSize> for FixedSize {
    type Error = Error;
    fn try_from(written: WrittenFixedSize) -> Result<Self, Error> {
        Self::new(written.batch, written.population)
    }
}

impl FixedSize {
    /// `batch` of `population` examples; both numbers are public.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the population is empty or smaller than the batch.
    pub fn new(batch: u64, population: u64) -> Result<Self, Error> {
        if population > 0 && batch <= population {
            return Ok(Self { batch, population });
        }
        let expected = "at most the population, which is at least 1";
        Err(Error::Parameter { name: "batch size", value: batch as f64, expected })
    }

    /// Part of the population in a batch, rounded up.
    #[must_use]
    pub fn share(self) -> f64 {
        let share = self.batch as f64 / self.population as f64;
        if self.batch == 0 { 0.0 } else { share.next_up().min(1.0) }
    }
}

/// Stands where an event would, for procedures that have none: there is no value of it,
/// and reading one gives the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {}

impl NoEvent {
    const WHAT: &'static str = "shuffled batches";
    const WHY: &'static str = "examples of one epoch depend on each other, and the loss can be \
        many times that of Poisson sampling at the same rate (Chua et al., arXiv 2403.17673); \
        draw every batch by Poisson sampling, or of fixed size without replacement";
}

impl Serialize for NoEvent {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for NoEvent {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(Event::shuffled()))
    }
}

/// One use of a noise mechanism.
///
/// Every multiplier is relative to the bound C on the norm of one example's contribution,
/// whatever the adjacency.
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
        /// Noise multiplier sigma: standard deviation over C.
        noise_multiplier: NoiseMultiplier,
    },
    /// The same for a batch of fixed size; defined for [`Adjacency::ReplaceOne`], since
    /// another population would have another batch.
    FixedSizeGaussian {
        /// Batch and population.
        sampling: FixedSize,
        /// Noise multiplier sigma: standard deviation over C.
        noise_multiplier: NoiseMultiplier,
    },
    /// The sum of integer vectors of L2 norm at most `norm_steps` gets discrete Gaussian
    /// noise, of mass proportional to exp(-x^2 / (2 s^2)) with
    /// s = `noise_multiplier` * `norm_steps`, on every coordinate.
    DiscreteGaussian {
        /// Noise multiplier sigma = s / `norm_steps`.
        noise_multiplier: NoiseMultiplier,
        /// Bound C on one example's contribution, an integer.
        norm_steps: NonZeroU32,
        /// Length of the vector.
        coordinates: NonZeroU64,
    },
    /// A number to which one example contributes at most C in absolute value gets Laplace
    /// noise of scale `noise_multiplier` * C.
    Laplace {
        /// Scale over C.
        noise_multiplier: NoiseMultiplier,
    },
    /// Not accounted for: see [`Event::shuffled`].
    ShuffledGaussian(NoEvent),
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
    /// `count` steps of the Poisson-subsampled Gaussian mechanism. Who draws the batches has
    /// a [`PoissonSampler`](crate::PoissonSampler), which gives this event without stating
    /// the rate again.
    #[must_use]
    pub const fn poisson_gaussian(
        adjacency: Adjacency,
        rate: SamplingRate,
        noise_multiplier: NoiseMultiplier,
        count: u64,
    ) -> Self {
        let mechanism = Mechanism::PoissonGaussian { rate, noise_multiplier };
        Self { adjacency, mechanism, count }
    }

    /// Why there is no event for batches from a shuffled data set.
    #[must_use]
    pub const fn shuffled() -> Error {
        Error::NoEvent { what: NoEvent::WHAT, why: NoEvent::WHY }
    }
}

impl Mechanism {
    /// Its noise over the bound C on one example's contribution.
    #[must_use]
    pub const fn noise_multiplier(&self) -> NoiseMultiplier {
        match *self {
            Self::PoissonGaussian { noise_multiplier, .. }
            | Self::FixedSizeGaussian { noise_multiplier, .. }
            | Self::DiscreteGaussian { noise_multiplier, .. }
            | Self::Laplace { noise_multiplier } => noise_multiplier,
            Self::ShuffledGaussian(never) => match never {},
        }
    }

    /// A mechanism of the same kind at most as private as both; `None` for two kinds.
    fn worse(self, other: Self) -> Option<Self> {
        let least = |a: NoiseMultiplier, b: NoiseMultiplier| if a < b { a } else { b };
        let mut worse = self;
        match (&mut worse, other) {
            (
                Self::PoissonGaussian { rate, noise_multiplier },
                Self::PoissonGaussian { rate: q, noise_multiplier: sigma },
            ) => {
                *rate = if *rate < q { q } else { *rate };
                *noise_multiplier = least(*noise_multiplier, sigma);
            }
            (
                Self::FixedSizeGaussian { sampling, noise_multiplier },
                Self::FixedSizeGaussian { sampling: s, noise_multiplier: sigma },
            ) => {
                *sampling = if sampling.share() < s.share() { s } else { *sampling };
                *noise_multiplier = least(*noise_multiplier, sigma);
            }
            (
                Self::DiscreteGaussian { noise_multiplier, coordinates, .. },
                Self::DiscreteGaussian { noise_multiplier: sigma, .. },
            ) => {
                // Of vectors only what does not depend on their length is charged.
                *coordinates = NonZeroU64::MAX;
                *noise_multiplier = least(*noise_multiplier, sigma);
            }
            (Self::Laplace { noise_multiplier }, Self::Laplace { noise_multiplier: sigma }) => {
                *noise_multiplier = least(*noise_multiplier, sigma);
            }
            _ => return None,
        }
        Some(worse)
    }

    /// With parameters rounded to `bits` bits of mantissa, towards less privacy.
    fn rounded(mut self, bits: u32) -> Self {
        match &mut self {
            Self::PoissonGaussian { rate, noise_multiplier } => {
                *rate = SamplingRate::new(round_up(rate.value(), bits)).unwrap_or(*rate);
                *noise_multiplier = less_noise(*noise_multiplier, bits);
            }
            Self::FixedSizeGaussian { noise_multiplier, .. }
            | Self::DiscreteGaussian { noise_multiplier, .. }
            | Self::Laplace { noise_multiplier } => {
                *noise_multiplier = less_noise(*noise_multiplier, bits);
            }
            Self::ShuffledGaussian(never) => match *never {},
        }
        self
    }
}

fn low_bits(bits: u32) -> u64 {
    (1 << (f64::MANTISSA_DIGITS - 1 - bits)) - 1
}

fn less_noise(sigma: NoiseMultiplier, bits: u32) -> NoiseMultiplier {
    let rounded = f64::from_bits(sigma.value().to_bits() & !low_bits(bits));
    NoiseMultiplier::new(rounded).unwrap_or(sigma)
}

/// Rounds a rate up, to at most 1.
fn round_up(rate: f64, bits: u32) -> f64 {
    f64::from_bits((rate.to_bits() + low_bits(bits)) & !low_bits(bits)).min(1.0)
}

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
    fn unknown_fields_and_mechanisms_are_refused() {
        let mut json = serde_json::to_value(event(1.0, 1)).unwrap();
        json["mechanism"] = serde_json::json!({ "staircase": { "noise_multiplier": 1.0 } });
        assert!(serde_json::from_value::<Event>(json).is_err());
        let mut json = serde_json::to_value(event(1.0, 1)).unwrap();
        json["shuffled"] = true.into();
        assert!(serde_json::from_value::<Event>(json).is_err());
    }

    #[test]
    fn an_event_without_adjacency_is_refused() {
        let mut json = serde_json::to_value(event(1.0, 1)).unwrap();
        json.as_object_mut().unwrap().remove("adjacency");
        let error = serde_json::from_value::<Event>(json).unwrap_err().to_string();
        assert!(error.contains("adjacency"), "{error}");
    }

    #[test]
    fn asking_for_shuffled_batches_explains_why_there_is_no_event() {
        let mut json = serde_json::to_value(event(1.0, 1)).unwrap();
        let parameters = json["mechanism"]["poisson_gaussian"].take();
        json["mechanism"] = serde_json::json!({ "shuffled_gaussian": parameters });
        let error = serde_json::from_value::<Event>(json).unwrap_err().to_string();
        assert!(error.contains("Poisson sampling") && error.contains("shuffled"), "{error}");
        assert_eq!(Event::shuffled().code(), "privacy/no-event");
    }

    #[test]
    fn a_batch_larger_than_its_population_is_refused() {
        assert!(FixedSize::new(5, 4).is_err() && FixedSize::new(0, 0).is_err());
        assert_eq!(FixedSize::new(4, 4).unwrap().share(), 1.0);
        assert!(serde_json::from_str::<FixedSize>(r#"{"batch":5,"population":4}"#).is_err());
        assert!(FixedSize::new(1, 3).unwrap().share() * 3.0 >= 1.0);
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
