//! Randomness for privacy: a ChaCha20 stream seeded by the operating system, with no
//! fallback, and integer Gaussian noise drawn from it: fast for releases, and [`exact`].

mod density;
pub mod exact;
mod shortfall;
#[cfg(test)]
mod statistics;
mod ziggurat;

use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::{Error, SamplingRate};
pub(crate) use shortfall::Shortfall;
use ziggurat::Ziggurat;

/// Most coordinates of one release: what accounts charge for the sampler rests on it.
pub const MOST_COORDINATES: usize = 1 << 28;

/// Largest standard deviation of noise, in grid steps: a noise multiplier of 16,384 at
/// the finest resolution.
pub(crate) const LARGEST_STD: f64 = 17_179_869_184.0;

/// Noise never exceeds this many standard deviations: ideal noise does with probability
/// 1.2e-299, which is charged.
const REACH: f64 = 37.0;

/// Coordinates that share one region of a random stream. Part of the law that seed and
/// step give these values, whatever the number of threads.
const BLOCK: usize = 4096;

/// Fewer coordinates are drawn faster than another thread wakes up.
const LEAST_PARALLEL: usize = 4 * BLOCK;

/// Words of a stream between the beginnings of two blocks.
const REGION_WORDS: u128 = 1 << 40;

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
        rng.set_stream(stream_of(step, purpose));
        rng
    }

    /// The bytes from word `first` on of a stream, as its generator would give them, by the
    /// faster implementation.
    fn keystream(&self, stream: u64, first: u128, bytes: &mut [u8]) {
        let mut cipher = ChaCha20Legacy::new(&self.0.into(), &stream.to_le_bytes().into());
        cipher.seek(first * 4);
        cipher.write_keystream(bytes);
    }

    /// The examples of `0..population` that take part in local step `step`: each
    /// independently with probability `rate`.
    ///
    /// The threshold floor(rate * 2^64) errs below the rate by less than 2^-64, on the
    /// private side.
    pub(crate) fn poisson_sample(
        &self,
        step: u64,
        rate: SamplingRate,
        population: usize,
    ) -> Vec<usize> {
        if rate.value() >= 1.0 {
            return (0..population).collect();
        }
        let threshold = (rate.value() * 2.0_f64.powi(64)) as u64;
        let mut rng = self.stream(step, Purpose::Sampling);
        (0..population).filter(|_| rng.next_u64() < threshold).collect()
    }

    /// What the dropout masks of local step `step` are drawn from.
    ///
    /// Secret like the noise: under masks that were public and went by the number of an
    /// example, a removed example would give others another mask, and change what they
    /// contribute. Secret and independent ones can be taken to stay with their examples.
    #[must_use]
    pub fn dropout(&self, step: u64) -> u64 {
        self.stream(step, Purpose::Dropout).next_u64()
    }

    /// `count` draws of round(N(0, std_steps^2)), for local step `step`, with what earlier
    /// steps left in `memory`.
    ///
    /// Adding it to an integer sum x gives round(x + N(0, std_steps^2)), which is
    /// post-processing of the Gaussian mechanism. The values do not depend on the number
    /// of threads.
    ///
    /// # Guarantee
    /// The law is the stated one up to what [`Shortfall`] charges.
    ///
    /// # Edge cases
    /// | input | answer |
    /// | --- | --- |
    /// | deviation 0, or so small that REACH of it is within half a step | zeros |
    /// | deviation above 2^34, negative or not a number | [`Error::Parameter`] |
    /// | more than [`MOST_COORDINATES`] | [`Error::Parameter`] |
    ///
    /// # Errors
    /// As listed.
    pub(crate) fn gaussian(
        &self,
        step: u64,
        std_steps: f64,
        count: usize,
        memory: &mut NoiseMemory,
    ) -> Result<Vec<i64>, Error> {
        check(std_steps, count)?;
        let mut values = memory.values.pop().unwrap_or_default();
        values.resize(count, 0);
        if std_steps * REACH <= 0.5 {
            values.fill(0);
            return Ok(values);
        }
        let ziggurat = memory.ziggurat(std_steps);
        let fill = |(block, out): (usize, &mut [i64])| self.fill(step, block, ziggurat, out);
        if count <= LEAST_PARALLEL {
            values.chunks_mut(BLOCK).enumerate().for_each(fill);
        } else {
            values.par_chunks_mut(BLOCK).enumerate().for_each(fill);
        }
        Ok(values)
    }

    /// As [`Self::gaussian`], for tests.
    #[cfg(test)]
    pub(crate) fn draws(&self, step: u64, std_steps: f64, count: usize) -> Result<Vec<i64>, Error> {
        let mut memory = NoiseMemory::default();
        memory.take_back(vec![7; 3]);
        self.gaussian(step, std_steps, count, &mut memory)
    }

    /// Fills one block of at most BLOCK coordinates.
    ///
    /// No two blocks share a random word: streams differ in (step, purpose), and within
    /// one, block b has the words from b * 2^40 on. There are at most 2^28 / BLOCK = 2^16
    /// blocks, of the 2^68 words of a stream, and none comes near the end of its region:
    /// each coordinate had 2^28 words, where one more attempt, of at most 32 words, is
    /// needed with probability below 1/8 each time.
    fn fill(&self, step: u64, block: usize, ziggurat: &Ziggurat, out: &mut [i64]) {
        let first = block as u128 * REGION_WORDS;
        let mut random = [0; ziggurat::LONG * BLOCK];
        let random = &mut random[..ziggurat.bytes() * out.len()];
        self.keystream(stream_of(step, Purpose::Noise), first, random);
        let mut rng = self.stream(step, Purpose::Noise);
        rng.set_word_pos(first + random.len().div_ceil(4) as u128);
        ziggurat.fill(random, &mut rng, out);
        // Best effort without unsafe code; the optimiser may not drop the store.
        random.fill(0);
        std::hint::black_box(random);
    }
}

/// What steps leave to later ones: the tables of a law, which are the same for all steps of
/// a round, and memory of releases that nobody needs any more.
#[derive(Default)]
pub struct NoiseMemory {
    /// With the deviation it was asked for.
    ziggurat: Option<(f64, Box<Ziggurat>)>,
    values: Vec<Vec<i64>>,
}

impl NoiseMemory {
    fn ziggurat(&mut self, std_steps: f64) -> &Ziggurat {
        if self.ziggurat.as_ref().is_none_or(|(std, _)| *std != std_steps) {
            self.ziggurat = None;
        }
        &self.ziggurat.get_or_insert_with(|| (std_steps, Box::new(Ziggurat::new(std_steps)))).1
    }

    pub(crate) fn take_back(&mut self, values: Vec<i64>) {
        self.values.push(values);
    }
}

/// Memory shows nothing of what it held.
impl std::fmt::Debug for NoiseMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoiseMemory")
    }
}

fn check(std_steps: f64, count: usize) -> Result<(), Error> {
    let refuse = |name, value, expected| Err(Error::Parameter { name, value, expected });
    if !(0.0..=LARGEST_STD).contains(&std_steps) {
        return refuse("standard deviation of noise in grid steps", std_steps, "0 to 2^34");
    }
    if count > MOST_COORDINATES {
        return refuse("coordinates of a release", count as f64, "at most 2^28");
    }
    Ok(())
}

fn stream_of(step: u64, purpose: Purpose) -> u64 {
    step * 4 + purpose as u64
}

#[derive(Clone, Copy)]
enum Purpose {
    Sampling = 0,
    Noise = 1,
    Dropout = 2,
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
        let draw = |step| seed.draws(step, 1e6, 4).unwrap();
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(5), draw(5));
        assert_ne!(seed.dropout(0), seed.dropout(1));
        assert_ne!(seed.dropout(0), NoiseSeed::predictable(5).dropout(0));
    }

    #[test]
    fn edge_cases_of_noise_are_those_of_the_documentation() {
        let seed = NoiseSeed::predictable(5);
        for std in [0.0, 1e-300, 0.0135] {
            assert_eq!(seed.draws(0, std, 3).unwrap(), [0; 3]);
        }
        for std in [-1.0, f64::NAN, f64::INFINITY, LARGEST_STD * 1.01] {
            assert!(seed.draws(0, std, 3).is_err());
        }
        assert!(seed.draws(0, 0.0, MOST_COORDINATES + 1).is_err());
        assert!(seed.draws(0, 1.0, 0).unwrap().is_empty());
        let large = seed.draws(0, LARGEST_STD, 9).unwrap();
        assert!(large.iter().any(|v| v.unsigned_abs() > 1 << 33), "{large:?}");
    }

    #[test]
    fn both_implementations_give_the_same_stream() {
        let seed = NoiseSeed::predictable(8);
        for (step, first, len) in [(0, 0, 1), (3, 16, 4096), (1 << 40, 37 * REGION_WORDS, 20_480)] {
            let (mut found, mut expected) = (vec![0; len], vec![1; len]);
            seed.keystream(stream_of(step, Purpose::Noise), first, &mut found);
            let mut rng = seed.stream(step, Purpose::Noise);
            rng.set_word_pos(first);
            rng.fill_bytes(&mut expected);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn noise_does_not_depend_on_the_number_of_threads() {
        let seed = NoiseSeed::predictable(6);
        let draw = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| seed.draws(3, 262_144.0, 50_001).unwrap())
        };
        let one = draw(1);
        assert!(one == draw(2) && one == draw(4));
    }

    #[test]
    fn memory_does_not_change_the_noise() {
        let (seed, mut memory) = (NoiseSeed::predictable(9), NoiseMemory::default());
        for (std, count) in [(1e6, 5000), (1e6, 50), (2e5, 20_000), (0.001, 70), (1e6, 300)] {
            let found = seed.gaussian(2, std, count, &mut memory).unwrap();
            assert_eq!(found, seed.draws(2, std, count).unwrap());
            memory.take_back(found);
        }
    }

    #[test]
    fn blocks_do_not_share_random_words() {
        let seed = NoiseSeed::predictable(7);
        let words = |position: u128| {
            let mut rng = seed.stream(1, Purpose::Noise);
            rng.set_word_pos(position);
            [(); 64].map(|()| rng.next_u64())
        };
        assert_ne!(words(0), words(REGION_WORDS));
        let noise = seed.draws(1, 1e6, 2 * BLOCK).unwrap();
        assert_ne!(noise[..BLOCK], noise[BLOCK..]);
    }
}
