//! The noise of releases where it is all but continuous: at 2^20 steps a deviation, a step
//! is a millionth of it.

use super::moments::{self, average};
use super::wrong::{bell, normal, truncated};
use super::{Law, NoiseSeed, SEEDS, Sampler, Statistic, bounds, shape, signs, tails};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

const SIGMA: f64 = 1_048_576.0;
const DRAWS: usize = 1_000_000;

const STATISTICS: [(&str, Statistic); 7] = [
    ("kolmogorov", shape::kolmogorov),
    ("mean", moments::mean),
    ("variance", moments::variance),
    ("skewness", skewness),
    ("kurtosis", kurtosis),
    ("tails", far_tails),
    ("residues", low_bits),
];

/// m_3 / m_2^(3/2), of standard error sqrt(6/n) under a normal law.
fn skewness(draws: &[i64], _: &Law) -> f64 {
    let [second, third, _] = central_moments(draws);
    bounds::errors(third / second.powf(1.5), (6.0 / draws.len() as f64).sqrt())
}

/// m_4 / m_2^2 - 3, of standard error sqrt(24/n) under a normal law.
fn kurtosis(draws: &[i64], _: &Law) -> f64 {
    let [second, _, fourth] = central_moments(draws);
    bounds::errors(fourth / second.powi(2) - 3.0, (24.0 / draws.len() as f64).sqrt())
}

/// About the mean of the draws: the second, third and fourth.
fn central_moments(draws: &[i64]) -> [f64; 3] {
    let mean = average(draws, |x| x);
    [2, 3, 4].map(|power| average(draws, |x| (x - mean).powi(power)))
}

/// |X| beyond 3, 4 and 5 deviations.
fn far_tails(draws: &[i64], law: &Law) -> f64 {
    let one = |m: f64| tails::beyond(draws, law, (m * law.sigma).ceil() as i64);
    [3.0, 4.0, 5.0].into_iter().map(one).fold(0.0, f64::max)
}

/// Residues modulo 2, 4, 8 and 16, which floating point computed too coarsely leaves empty.
fn low_bits(draws: &[i64], _: &Law) -> f64 {
    [2, 4, 8, 16].into_iter().map(|m| signs::residues(draws, m)).fold(0.0, f64::max)
}

/// What the statistics reject, by name.
pub(super) fn rejections(seed: &NoiseSeed) -> Vec<String> {
    let draws = Sampler::Fast.draws(SIGMA, DRAWS, seed);
    let shares = shares(&draws);
    println!("continuous: {shares:.2?}");
    let rejected = shares.into_iter().filter(|(_, share)| share.is_nan() || *share > 1.0);
    rejected.map(|(name, share)| format!("continuous: {name} {share}")).collect()
}

fn shares(draws: &[i64]) -> [(&'static str, f64); 7] {
    let law = Law::rounded_normal(SIGMA);
    STATISTICS.map(|(name, statistic)| (name, statistic(draws, &law)))
}

#[test]
fn noise_of_many_steps_is_normal() {
    SEEDS.into_par_iter().for_each(|seed| {
        assert_eq!(rejections(&NoiseSeed::predictable(seed)), Vec::<String>::new());
    });
}

#[test]
fn laws_that_are_not_normal_are_rejected() {
    rejects("kolmogorov", |rng| 1.02 * SIGMA * normal(rng));
    rejects("variance", |rng| 1.01 * SIGMA * normal(rng));
    rejects("mean", |rng| SIGMA * (normal(rng) + 0.01));
    rejects("skewness", |rng| {
        let z = normal(rng);
        SIGMA * (z + 0.01 * (z * z - 1.0))
    });
    let mut bell = bell(Sampler::Fast, SIGMA);
    rejects("kurtosis", |rng| bell(rng) as f64);
    let mut truncated = truncated(Sampler::Fast, SIGMA);
    rejects("tails", |rng| truncated(rng) as f64);
    // A normal variate of 18 bits behind the point.
    rejects("residues", |rng| (normal(rng) * 262_144.0).round() * 4.0);
}

fn rejects(name: &str, mut law: impl FnMut(&mut ChaCha20Rng) -> f64) {
    let mut rng = ChaCha20Rng::seed_from_u64(21);
    let draws: Vec<i64> = (0..DRAWS).map(|_| law(&mut rng).round() as i64).collect();
    let (_, share) = shares(&draws).into_iter().find(|(n, _)| *n == name).unwrap();
    println!("not normal: {name} {share:.2}");
    assert!(share > 1.0, "{name} does not reject: {share}");
}
