//! The samplers against their ideal laws; and wrong laws that the same statistics reject
//! on the same number of draws.
//!
//! A statistic answers with its share of the bound it is given in [`bounds`] or beside it:
//! above 1 is a rejection, of a false-alarm rate of at most some [`bounds::ALPHA`]. The
//! ordinary run is deterministic, on [`SEEDS`]. The nightly one has fresh seeds and a
//! second try: 24 checks of at most 70 assertions, so that one of them fails by chance in
//! less than one of 10^6 nights.

mod bounds;
mod continuous;
mod law;
mod moments;
mod primitives;
mod serial;
mod shape;
mod signs;
mod tails;
mod wrong;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::NoiseSeed;
use super::exact::{DiscreteGaussian, Rational};
use law::Law;

/// Seeds of the ordinary run.
const SEEDS: [u64; 3] = [11, 12, 13];

/// Deviations that get a million draws, and a hundred thousand.
const NARROW: [f64; 7] = [0.25, 0.5, 1.0, 2.342, 3.0, 9.0, 100.0];
const WIDE: [f64; 4] = [1e4, 1_048_576.0, 41_293_847.0, 1e10 + 0.1];

const fn draws_at(sigma: f64) -> usize {
    if sigma <= 100.0 { 1_000_000 } else { 100_000 }
}

/// Draws against a law: the share of the statistic's bound.
type Statistic = fn(&[i64], &Law) -> f64;

const STATISTICS: [(&str, Statistic); 13] = [
    ("chi-square", shape::chi_square),
    ("divergence", shape::divergence),
    ("kolmogorov", shape::kolmogorov),
    ("mean", moments::mean),
    ("variance", moments::variance),
    ("symmetry", signs::symmetry),
    ("zero", signs::zero),
    ("lattice", signs::lattice),
    ("tails", tails::tails),
    ("strict tail", tails::strict_tail),
    ("far tail", tails::far_tail),
    ("autocorrelation", serial::autocorrelation),
    ("runs", serial::runs),
];

fn statistic(name: &str) -> Statistic {
    STATISTICS.into_iter().find(|(n, _)| *n == name).expect("a statistic of the list").1
}

#[derive(Clone, Copy, Debug)]
enum Sampler {
    /// [`DiscreteGaussian`] of exactly the f64.
    Exact,
    /// The noise of releases.
    Fast,
}

impl Sampler {
    fn law(self, sigma: f64) -> Law {
        match self {
            Self::Exact => Law::discrete_gaussian(sigma),
            Self::Fast => Law::rounded_normal(sigma),
        }
    }

    fn draws(self, sigma: f64, count: usize, seed: &NoiseSeed) -> Vec<i64> {
        match self {
            Self::Exact => {
                let law = DiscreteGaussian::new(&Rational::try_from(sigma).unwrap()).unwrap();
                let mut rng = ChaCha20Rng::from_seed(seed.0);
                (0..count).map(|_| law.sample(&mut rng).try_into().unwrap()).collect()
            }
            Self::Fast => seed.draws(0, sigma, count).unwrap(),
        }
    }

    /// What the statistics reject, by name.
    fn rejections(self, sigma: f64, seed: &NoiseSeed) -> Vec<String> {
        let (law, draws) = (self.law(sigma), self.draws(sigma, draws_at(sigma), seed));
        let shares = STATISTICS.map(|(name, statistic)| (name, statistic(&draws, &law)));
        println!("{self:?} at {sigma}: {shares:.2?}");
        let rejected = shares.into_iter().filter(|(_, share)| share.is_nan() || *share > 1.0);
        rejected.map(|(name, share)| format!("{self:?} at {sigma}: {name} {share}")).collect()
    }
}

/// Runs `check` for every deviation and seed.
fn everywhere(check: impl Fn(f64, u64) + Sync) {
    let cases: Vec<(f64, u64)> =
        NARROW.into_iter().chain(WIDE).flat_map(|s| SEEDS.map(|seed| (s, seed))).collect();
    cases.into_par_iter().for_each(|(sigma, seed)| check(sigma, seed));
}

#[test]
fn exact_draws_are_discrete_gaussian() {
    everywhere(|sigma, seed| {
        let none: Vec<String> = vec![];
        assert_eq!(Sampler::Exact.rejections(sigma, &NoiseSeed::predictable(seed)), none);
    });
}

#[test]
fn fast_draws_are_rounded_normal() {
    everywhere(|sigma, seed| {
        let none: Vec<String> = vec![];
        assert_eq!(Sampler::Fast.rejections(sigma, &NoiseSeed::predictable(seed)), none);
    });
}

/// Fails where a check rejects two fresh seeds in a row; `check` names what it rejects.
fn holds_tonight(check: impl Fn(&NoiseSeed) -> Vec<String>) {
    let rejected = check(&NoiseSeed::from_os().unwrap());
    if !rejected.is_empty() {
        println!("once: {rejected:?}");
        let again = check(&NoiseSeed::from_os().unwrap());
        assert!(again.is_empty(), "{rejected:?}, then {again:?}");
    }
}

/// `cargo test -p adafed-privacy --lib -- --ignored --nocapture nightly`
#[test]
#[ignore = "for every night: fresh randomness of the system"]
fn nightly_draws_are_of_their_laws() {
    let samplers = [Sampler::Exact, Sampler::Fast].into_iter();
    let cases: Vec<(Sampler, f64)> = samplers
        .flat_map(|s| NARROW.into_iter().chain(WIDE).map(move |sigma| (s, sigma)))
        .collect();
    cases.into_par_iter().for_each(|(sampler, sigma)| {
        holds_tonight(|seed| sampler.rejections(sigma, seed));
    });
    holds_tonight(primitives::rejections);
    holds_tonight(continuous::rejections);
}

/// `cargo test --release -p adafed-privacy -- --ignored --nocapture nanoseconds`
#[test]
#[ignore = "a measurement, not a law"]
fn nanoseconds_a_draw() {
    const COUNT: usize = 1_000_000;
    let time = |work: &mut dyn FnMut()| {
        let run = |_| {
            let start = std::time::Instant::now();
            work();
            start.elapsed().as_nanos() as f64
        };
        (0..20).map(run).fold(f64::INFINITY, f64::min)
    };
    let seed = NoiseSeed::predictable(1);
    for s in [9.0, 16_384.0, 262_144.0, 2_097_152.0, 1e9] {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut draw = || drop(pool.install(|| seed.draws(1, s, COUNT).unwrap()));
            println!("s {s}, {threads} threads: {:.2} ns", time(&mut draw) / COUNT as f64);
        }
        let tables = time(&mut || _ = std::hint::black_box(super::Ziggurat::new(s)));
        println!("s {s}: tables {:.1} us", tables / 1e3);
    }
    for s in NARROW.into_iter().chain(WIDE) {
        let mut draw = || drop(Sampler::Exact.draws(s, COUNT / 100, &seed));
        println!("exact, s {s}: {:.0} ns", time(&mut draw) / (COUNT / 100) as f64);
    }
}
