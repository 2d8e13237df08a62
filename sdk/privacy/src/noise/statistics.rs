//! The sampled law against the ideal one, on fixed seeds; and wrong laws that the same
//! statistics reject on the same number of draws.
//!
//! Bounds: 6 standard errors, for chi-square df + 6 sqrt(2 df) + 15, a false-alarm rate
//! below 1e-6 each.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::NoiseSeed;

const DRAWS: usize = 1_000_000;

/// Distribution function of the standard normal law.
fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// Probability of less than `n` under the rounded normal law.
fn below(n: i64, s: f64) -> f64 {
    phi((n as f64 - 0.5) / s)
}

/// Statistic over its bound: above 1 is a rejection.
fn chi_square(observed: &[f64], expected: &[f64]) -> f64 {
    let terms = observed.iter().zip(expected).filter(|(_, e)| **e >= 25.0);
    let df = terms.clone().count() as f64 - 1.0;
    terms.map(|(o, e)| (o - e).powi(2) / e).sum::<f64>() / (df + 6.0 * (2.0 * df).sqrt() + 15.0)
}

/// Chi-square over some 200 bins of equal probability, single integers at small s.
fn shape(draws: &[i64], s: f64) -> f64 {
    let quantile = |p: f64| {
        let halve = |(low, high): (f64, f64), _| {
            let middle = (low + high) / 2.0;
            if phi(middle) < p { (middle, high) } else { (low, middle) }
        };
        (0..60).fold((-9.0, 9.0), halve).0
    };
    let mut edges: Vec<i64> =
        (1..200).map(|i| (quantile(f64::from(i) / 200.0) * s).round() as i64).collect();
    edges.dedup();
    let mut observed = vec![0.0; edges.len() + 1];
    draws.iter().for_each(|d| observed[edges.partition_point(|e| e <= d)] += 1.0);
    let bounds: Vec<f64> =
        [0.0].into_iter().chain(edges.iter().map(|&e| below(e, s))).chain([1.0]).collect();
    let expected: Vec<f64> =
        bounds.windows(2).map(|b| (b[1] - b[0]) * draws.len() as f64).collect();
    chi_square(&observed, &expected)
}

fn mean(draws: &[i64], s: f64) -> f64 {
    let n = draws.len() as f64;
    (draws.iter().map(|&d| d as f64).sum::<f64>() / n).abs() / (6.0 * s / n.sqrt())
}

/// Variance s^2 + 1/12 and fourth moment 3 s^4 + s^2/2 + 1/80 (Sheppard).
fn variance(draws: &[i64], s: f64) -> f64 {
    let n = draws.len() as f64;
    let (variance, fourth) = (s * s + 1.0 / 12.0, 3.0 * s.powi(4) + s * s / 2.0 + 1.0 / 80.0);
    let found = draws.iter().map(|&d| (d as f64).powi(2)).sum::<f64>() / n;
    (found - variance).abs() / (6.0 * ((fourth - variance * variance) / n).sqrt())
}

/// Counts beyond 2, 3 and 4 deviations.
fn tails(draws: &[i64], s: f64) -> f64 {
    let one = |m: f64| {
        let from = (m * s).ceil() as i64;
        let expected = 2.0 * below(1 - from, s) * draws.len() as f64;
        let found = draws.iter().filter(|d| d.abs() >= from).count() as f64;
        (found - expected).abs() / (6.0 * expected.sqrt())
    };
    [2.0, 3.0, 4.0].into_iter().map(one).fold(0.0, f64::max)
}

/// As many above as below zero, in 50 bins of the absolute value.
fn symmetry(draws: &[i64], s: f64) -> f64 {
    let (mut sides, mut bins) = ([[0.0_f64; 2]; 50], 0.0);
    for &d in draws.iter().filter(|d| **d != 0) {
        let bin = (d.unsigned_abs() as f64 / s * 12.5) as usize;
        sides[bin.min(49)][usize::from(d < 0)] += 1.0;
    }
    let mut sum = 0.0;
    for [above, below] in sides.into_iter().filter(|[a, b]| a + b >= 50.0) {
        sum += (above - below).powi(2) / (above + below);
        bins += 1.0;
    }
    sum / (bins + 6.0 * f64::sqrt(2.0 * bins) + 15.0)
}

/// Residues modulo 2, 3 and 16, where the law is wide enough to make them uniform.
fn lattice(draws: &[i64], s: f64) -> f64 {
    let one = |modulus: i64| {
        let mut counts = vec![0.0; modulus as usize];
        draws.iter().for_each(|d| counts[d.rem_euclid(modulus) as usize] += 1.0);
        chi_square(&counts, &vec![draws.len() as f64 / modulus as f64; modulus as usize])
    };
    if s < 20.0 { 0.0 } else { [2, 3, 16].into_iter().map(one).fold(0.0, f64::max) }
}

/// Autocorrelation at lags 1 to 5.
fn serial(draws: &[i64], s: f64) -> f64 {
    let n = draws.len() as f64;
    let one = |lag: usize| {
        let pairs = draws.iter().zip(&draws[lag..]);
        pairs.map(|(&a, &b)| a as f64 * b as f64).sum::<f64>().abs() / (s * s * 6.0 * n.sqrt())
    };
    (1..=5).map(one).fold(0.0, f64::max)
}

type Statistic = fn(&[i64], f64) -> f64;
const STATISTICS: [(&str, Statistic); 7] = [
    ("shape", shape),
    ("mean", mean),
    ("variance", variance),
    ("tails", tails),
    ("symmetry", symmetry),
    ("lattice", lattice),
    ("serial", serial),
];

#[test]
fn noise_is_rounded_normal() {
    for s in [1.0, 9.0, 100.0, 1e4, 262_144.0, 1_048_576.0, 1_073_741_824.0] {
        for seed in [11, 12, 13] {
            let draws = NoiseSeed::predictable(seed).draws(seed, s, DRAWS).unwrap();
            for (name, statistic) in STATISTICS {
                let found = statistic(&draws, s);
                assert!(found <= 1.0, "{name} at {s}, seed {seed}: {found}");
            }
            assert!(draws.iter().all(|&d| (d.abs() as f64) < 9.0 * s + 1.0));
        }
    }
}

/// Rejected by the statistic `name`, at every seed.
fn rejects(name: &str, s: f64, law: impl Fn(&mut ChaCha20Rng) -> f64) {
    let (_, statistic) = STATISTICS.into_iter().find(|(n, _)| *n == name).unwrap();
    for seed in [21, 22, 23] {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let draws: Vec<i64> = (0..DRAWS).map(|_| law(&mut rng).round() as i64).collect();
        let found = statistic(&draws, s);
        assert!(found > 1.0, "{name} does not reject: {found}");
    }
}

fn normal(rng: &mut ChaCha20Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn uniform(rng: &mut ChaCha20Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * f64::exp2(-53.0)
}

#[test]
fn wrong_laws_are_rejected() {
    let s = 262_144.0;
    rejects("variance", s, |rng| 1.01 * s * normal(rng));
    rejects("shape", s, |rng| 1.01 * s * normal(rng));
    rejects("mean", s, |rng| s * (normal(rng) + 0.01));
    rejects("symmetry", s, |rng| s * (normal(rng) + 0.01));
    let truncated = |rng: &mut _| std::iter::repeat_with(|| normal(rng)).find(|z| z.abs() < 4.0);
    rejects("tails", s, |rng| s * truncated(rng).unwrap());
    let bell = |rng: &mut _| (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0;
    rejects("shape", s, |rng| s * bell(rng));
    rejects("tails", s, |rng| s * bell(rng));
    rejects("lattice", 1024.0 * s, |rng| f64::from((1024.0 * s * normal(rng)) as f32));
    let last = std::cell::Cell::new(0.0);
    rejects("serial", s, |rng| {
        let fresh = normal(rng);
        s * (fresh + 0.02 * last.replace(fresh))
    });
}

#[test]
fn zero_counted_with_both_signs_is_rejected() {
    let twice = below(1, 9.0) - below(0, 9.0);
    rejects("shape", 9.0, |rng| {
        if uniform(rng) < twice / (1.0 + twice) { 0.0 } else { 9.0 * normal(rng) }
    });
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
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let old = |rng: &mut ChaCha20Rng| (normal(rng) * 262_144.0).round_ties_even() as i64;
    let mut draw =
        || drop(std::hint::black_box((0..COUNT).map(|_| old(&mut rng)).collect::<Vec<_>>()));
    println!("rounded f64 ziggurat: {:.2} ns", time(&mut draw) / COUNT as f64);
}
