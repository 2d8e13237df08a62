//! Privacy events: immutable descriptions of what a mechanism did.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseMultiplier, SamplingRate};

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
    pub(crate) fn worse(self, other: Self) -> Option<Self> {
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
    pub(crate) fn rounded(mut self, bits: u32) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sigma: f64, count: u64) -> Event {
        let (rate, sigma) = (SamplingRate::new(0.1).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        Event::poisson_gaussian(Adjacency::AddRemove, rate, sigma, count)
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
}
