//! Randomness for privacy: a ChaCha20 stream seeded by the operating system, with no
//! fallback, and integer Gaussian noise drawn from it.

use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::{Error, SamplingRate};

/// Seed of all secret randomness of one round: which examples take part, and the noise.
///
/// Who knows it can subtract the noise. It is serialisable only because a device must
/// be able to finish a round after a crash with the same bytes; wherever it is stored
/// is as secret as the data.
#[derive(Clone, Serialize, Deserialize)]
pub struct NoiseSeed([u8; 32]);

impl std::fmt::Debug for NoiseSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoiseSeed(secret)")
    }
}

impl NoiseSeed {
    /// A fresh seed from the operating system.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the system has none to give; there is no fallback.
    pub fn from_os() -> Result<Self, Error> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| Error::Randomness)?;
        Ok(Self(seed))
    }

    /// A predictable seed, for tests: a release made with it is not private.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn predictable(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(bytes)
    }

    /// Independent stream for one purpose within one local step.
    fn stream(&self, step: u64, purpose: Purpose) -> ChaCha20Rng {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(step * 2 + purpose as u64);
        rng
    }

    /// The examples of `0..population` that take part in local step `step`: each
    /// independently with probability `rate`.
    ///
    /// The threshold floor(rate * 2^64) errs below the rate by less than 2^-64, on the
    /// private side.
    #[must_use]
    pub fn poisson_sample(&self, step: u64, rate: SamplingRate, population: usize) -> Vec<usize> {
        if rate.value() >= 1.0 {
            return (0..population).collect();
        }
        let threshold = (rate.value() * 2.0_f64.powi(64)) as u64;
        let mut rng = self.stream(step, Purpose::Sampling);
        (0..population).filter(|_| rng.next_u64() < threshold).collect()
    }

    /// `count` draws of round(N(0, std_steps^2)), for local step `step`.
    ///
    /// Adding it to an integer sum x gives round(x + N(0, std_steps^2)), which is
    /// post-processing of the Gaussian mechanism.
    pub(crate) fn gaussian(&self, step: u64, std_steps: f64, count: usize) -> Vec<i64> {
        let mut rng = self.stream(step, Purpose::Noise);
        let normal = |rng: &mut ChaCha20Rng| -> f64 { StandardNormal.sample(rng) };
        (0..count).map(|_| (normal(&mut rng) * std_steps).round_ties_even() as i64).collect()
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Sampling = 0,
    Noise = 1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_does_not_show_itself() {
        assert_eq!(format!("{:?}", NoiseSeed::predictable(7)), "NoiseSeed(secret)");
    }

    #[test]
    fn two_seeds_of_the_system_differ() {
        assert_ne!(NoiseSeed::from_os().unwrap().0, NoiseSeed::from_os().unwrap().0);
    }

    #[test]
    fn poisson_sampling_takes_each_example_at_the_rate() {
        let rate = SamplingRate::new(0.03).unwrap();
        let seed = NoiseSeed::predictable(1);
        let drawn: usize = (0..200).map(|s| seed.poisson_sample(s, rate, 5_000).len()).sum();
        // 1e6 trials at 0.03: standard deviation 171; 6 of them.
        assert!((drawn as f64 - 30_000.0).abs() < 6.0 * 171.0, "{drawn}");
    }

    #[test]
    fn batch_sizes_vary_as_poisson_sampling_demands() {
        // A shuffled loader would give a constant batch: variance 0 instead of nq(1-q).
        let rate = SamplingRate::new(0.5).unwrap();
        let seed = NoiseSeed::predictable(2);
        let sizes: Vec<f64> =
            (0..2_000).map(|s| seed.poisson_sample(s, rate, 400).len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / 2_000.0;
        let variance = sizes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1_999.0;
        // Relative standard error of a variance over 2,000 draws: sqrt(2/1999) = 0.032.
        assert!((variance / 100.0 - 1.0).abs() < 6.0 * 0.032, "{variance}");
    }

    #[test]
    fn rates_zero_and_one_take_nobody_and_everybody() {
        let seed = NoiseSeed::predictable(3);
        assert!(seed.poisson_sample(0, SamplingRate::new(0.0).unwrap(), 99).is_empty());
        assert_eq!(seed.poisson_sample(0, SamplingRate::new(1.0).unwrap(), 99).len(), 99);
    }

    #[test]
    fn steps_and_purposes_use_independent_streams() {
        let seed = NoiseSeed::predictable(4);
        assert_ne!(seed.gaussian(0, 1e6, 4), seed.gaussian(1, 1e6, 4));
        assert_eq!(seed.gaussian(5, 1e6, 4), seed.gaussian(5, 1e6, 4));
    }
}
