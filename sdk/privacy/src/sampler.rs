//! Poisson sampling: the object that draws the batches also gives the event that accounts
//! for them, so that nobody states a rate twice.

use crate::noise::NoiseSeed;
use crate::{Adjacency, Event, NoiseMultiplier, SamplingRate};

/// Takes every example independently with one probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoissonSampler {
    rate: SamplingRate,
}

impl PoissonSampler {
    /// A sampler of rate q.
    #[must_use]
    pub const fn new(rate: SamplingRate) -> Self {
        Self { rate }
    }

    /// The examples of `0..population` in the batch of local step `step`, ascending. The
    /// batch may be empty: that is a step like any other.
    #[must_use]
    pub fn draw(&self, seed: &NoiseSeed, step: u32, population: usize) -> Vec<usize> {
        seed.poisson_sample(u64::from(step), self.rate, population)
    }

    /// `count` steps with batches of this sampler.
    #[must_use]
    pub const fn event(
        &self,
        adjacency: Adjacency,
        noise_multiplier: NoiseMultiplier,
        count: u64,
    ) -> Event {
        Event::poisson_gaussian(adjacency, self.rate, noise_multiplier, count)
    }

    /// Size of a batch of `population` examples, on average.
    #[must_use]
    pub fn expected_batch(&self, population: u32) -> f64 {
        self.rate.value() * f64::from(population)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_has_the_rate_of_the_batches() {
        let rate = SamplingRate::new(0.25).unwrap();
        let (sampler, sigma) = (PoissonSampler::new(rate), NoiseMultiplier::new(1.0).unwrap());
        let event = sampler.event(Adjacency::AddRemove, sigma, 1);
        let expected = crate::Mechanism::PoissonGaussian { rate, noise_multiplier: sigma };
        assert_eq!(event.mechanism, expected);
        let drawn = sampler.draw(&NoiseSeed::predictable(1), 0, 40_000).len() as f64;
        // Standard deviation sqrt(40,000 q (1-q)) = 87; 6 of them.
        assert!((drawn - sampler.expected_batch(40_000)).abs() < 6.0 * 87.0, "{drawn}");
    }
}
