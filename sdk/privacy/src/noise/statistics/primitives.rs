//! What exact samplers are made of: uniform numbers, coins, geometric and Laplace laws.

use std::collections::BTreeMap;

use super::super::exact::{Bernoulli, BernoulliExp, DiscreteLaplace, Geometric, UniformBelow};
use super::{ChaCha20Rng, NoiseSeed, Rational, SEEDS, SeedableRng, bounds};
use rand::RngCore;
use rayon::prelude::*;

const DRAWS: usize = 200_000;
const N: f64 = DRAWS as f64;

/// Least expected count of a cell; what expects less is one cell, or left out.
const LEAST_EXPECTED: f64 = 25.0;

/// Numerators and denominators.
const PROBABILITIES: [(u128, u128); 7] =
    [(0, 1), (1, 1), (1, 2), (1, 3), (1, 65_537), (65_536, 65_537), (1, 1 << 40)];
const EXPONENTS: [(u128, u128); 8] =
    [(0, 1), (1, 8), (1, 2), (1, 1), (3, 2), (2, 1), (5, 1), (20, 1)];
/// Rates of geometric and inverse scales of Laplace laws.
const RATES: [(u128, u128); 5] = [(1, 8), (1, 2), (1, 1), (3, 2), (2, 1)];
/// Of these exponents a, b, a + b, the coins must have e^-a e^-b = e^-(a + b).
const FACTORS: [[(u128, u128); 3]; 3] =
    [[(1, 2), (1, 1), (3, 2)], [(1, 8), (3, 8), (1, 2)], [(1, 2), (3, 2), (2, 1)]];

/// A check's name and its share of its bound.
type Share = (String, f64);

fn rational((p, q): (u128, u128)) -> Rational {
    Rational::new(p, q).unwrap()
}

fn ratio((p, q): (u128, u128)) -> f64 {
    p as f64 / q as f64
}

fn hits(mut coin: impl FnMut() -> bool) -> f64 {
    (0..DRAWS).filter(|_| coin()).count() as f64
}

fn coins(rng: &mut ChaCha20Rng) -> Vec<Share> {
    let plain = PROBABILITIES.map(|p| {
        let coin = Bernoulli::new(rational(p)).unwrap();
        (format!("Bernoulli {p:?}"), bounds::count(hits(|| coin.sample(rng)), N, ratio(p)))
    });
    let exponential = EXPONENTS.map(|x| {
        let coin = BernoulliExp::new(rational(x));
        let expected = (-ratio(x)).exp();
        (format!("Bernoulli exp {x:?}"), bounds::count(hits(|| coin.sample(rng)), N, expected))
    });
    plain.into_iter().chain(exponential).collect()
}

/// p_ab - p_a p_b has variance (p_ab (1 - p_ab) + p_b^2 p_a (1 - p_a) + p_a^2 p_b (1 - p_b)) / n.
/// Within 6 standard errors: exceeded with probability 2e-9.
fn factors(rng: &mut ChaCha20Rng) -> Vec<Share> {
    let one = |exponents: [(u128, u128); 3]| {
        let [a, b, ab] = exponents.map(|x| {
            let coin = BernoulliExp::new(rational(x));
            hits(|| coin.sample(rng)) / N
        });
        let spread = |p: f64| p * (1.0 - p);
        let variance = (spread(ab) + b * b * spread(a) + a * a * spread(b)) / N;
        (format!("factors {exponents:?}"), (ab - a * b).abs() / (6.0 * variance.sqrt()))
    };
    FACTORS.map(one).into()
}

/// Counts of 0, 1, .. against probabilities of which `LEAST_EXPECTED` leaves some as cells;
/// everything else is one cell more.
fn cells(counts: &BTreeMap<i128, u32>, law: impl Fn(i128) -> f64, values: &[i128]) -> f64 {
    let (mut sum, mut cells, mut rest) = (0.0, 0.0, (N, N));
    let mut add = |observed: f64, expected: f64| {
        if expected >= LEAST_EXPECTED {
            sum += (observed - expected).powi(2) / expected;
            cells += 1.0;
            return true;
        }
        false
    };
    for &value in values {
        let (observed, expected) = (f64::from(*counts.get(&value).unwrap_or(&0)), N * law(value));
        if add(observed, expected) {
            rest = (rest.0 - observed, rest.1 - expected);
        }
    }
    add(rest.0, rest.1);
    bounds::chi_square(sum, cells - 1.0)
}

fn counts(mut draw: impl FnMut() -> i128) -> BTreeMap<i128, u32> {
    let mut counts = BTreeMap::new();
    (0..DRAWS).for_each(|_| *counts.entry(draw()).or_insert(0) += 1);
    counts
}

/// Chi-square of what should be uniform on 0, .., `bound` - 1.
fn uniform(bound: i128, draw: impl FnMut() -> i128) -> f64 {
    let values: Vec<i128> = (0..bound).collect();
    cells(&counts(draw), |_| 1.0 / bound as f64, &values)
}

/// 3, and 2^k - 1 and 2^k + 1 while every number can be a cell.
fn bounds_of_uniform() -> impl Iterator<Item = i128> {
    (2..=12).flat_map(|k| [(1 << k) - 1, (1 << k) + 1])
}

fn uniforms(rng: &mut ChaCha20Rng) -> Vec<Share> {
    let small = bounds_of_uniform().map(|m| {
        let law = UniformBelow::new(m.unsigned_abs()).unwrap();
        (format!("uniform below {m}"), uniform(m, || law.sample(rng) as i128))
    });
    let small: Vec<Share> = small.collect();
    // Large bounds by their residue modulo 129, uniform up to 129/m.
    let large = [40, 63, 64, 65, 126].into_iter().flat_map(|k| [(1 << k) - 1, (1_u128 << k) + 1]);
    let large = large.map(|m| {
        let law = UniformBelow::new(m).unwrap();
        (format!("uniform below {m}"), uniform(129, || (law.sample(rng) % 129) as i128))
    });
    small.into_iter().chain(large).collect()
}

/// P(k) = (1 - e^-x) e^(-x k).
fn geometric_share(x: f64, draw: impl FnMut() -> i128) -> f64 {
    let values: Vec<i128> = (0..200).collect();
    cells(&counts(draw), |k| -(-x).exp_m1() * (-x * k as f64).exp(), &values)
}

/// P(y) = (1 - a)/(1 + a) a^|y| with a = e^-x; the counts, and P(0) by itself.
fn laplace_shares(x: f64, draw: impl FnMut() -> i128) -> [f64; 2] {
    let (values, counts): (Vec<i128>, _) = ((-100..=100).collect(), counts(draw));
    let zero = -(-x).exp_m1() / (1.0 + (-x).exp());
    let chi_square = cells(&counts, |y| zero * (-x * y.abs() as f64).exp(), &values);
    [chi_square, bounds::count(f64::from(*counts.get(&0).unwrap_or(&0)), N, zero)]
}

fn exponentials(rng: &mut ChaCha20Rng) -> Vec<Share> {
    let one = |x: (u128, u128)| {
        let geometric = Geometric::new(&rational(x)).unwrap();
        let laplace = DiscreteLaplace::new(&rational((x.1, x.0))).unwrap();
        let share = geometric_share(ratio(x), || geometric.sample(rng) as i128);
        let [shape, zero] = laplace_shares(ratio(x), || laplace.sample(rng));
        [("geometric", share), ("Laplace", shape), ("zero of Laplace", zero)]
            .map(|(name, share)| (format!("{name} {x:?}"), share))
    };
    RATES.into_iter().flat_map(one).collect()
}

/// What is rejected, by name.
pub(super) fn rejections(seed: &NoiseSeed) -> Vec<String> {
    let rng = &mut ChaCha20Rng::from_seed(seed.0);
    let shares = [coins(rng), factors(rng), uniforms(rng), exponentials(rng)].concat();
    println!("primitives: {shares:.2?}");
    let rejected = shares.into_iter().filter(|(_, share)| share.is_nan() || *share > 1.0);
    rejected.map(|(name, share)| format!("{name}: {share}")).collect()
}

#[test]
fn primitives_have_their_laws() {
    SEEDS.into_par_iter().for_each(|seed| {
        assert_eq!(rejections(&NoiseSeed::predictable(seed)), Vec::<String>::new());
    });
}

#[test]
fn certain_coins_are_certain() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut sum = |p| {
        let coin = Bernoulli::new(rational(p)).unwrap();
        hits(|| coin.sample(&mut rng))
    };
    assert_eq!([sum((0, 9)), sum((9, 9))], [0.0, N]);
}

#[test]
fn remainders_instead_of_rejection_are_rejected() {
    let mut rng = ChaCha20Rng::seed_from_u64(21);
    for m in bounds_of_uniform().filter(|m| *m <= 257) {
        // As many bits as m has, and their remainder.
        let mask = (m as u64 + 1).next_power_of_two() - 1;
        let share = uniform(m, || i128::from(rng.next_u64() & mask) % m);
        assert!(share > 1.0, "{m}: {share}");
    }
}

#[test]
fn wrong_primitives_are_rejected() {
    let mut rng = ChaCha20Rng::seed_from_u64(22);
    let mut draws = |x| {
        let geometric = Geometric::new(&rational(x)).unwrap();
        let rng = &mut rng;
        (0..3 * DRAWS).map(move |_| geometric.sample(rng) as i128).collect::<Vec<_>>().into_iter()
    };
    // A rate of 1.02 instead of 1.
    let mut wrong = draws((51, 50));
    assert!(geometric_share(1.0, || wrong.next().unwrap()) > 1.0);
    // Signs given to zero as well: its probability is 1 - a instead of (1 - a)/(1 + a).
    let mut wrong = draws((1, 2)).enumerate().map(|(i, k)| if i % 2 == 0 { k } else { -k });
    assert!(laplace_shares(0.5, || wrong.next().unwrap()).iter().all(|share| *share > 1.0));
    // The coin's series 1 - x + x^2/2 cut after its third term.
    let [cut, x] = [1.0 - 0.5 + 0.125, 0.5_f64];
    let expected = (-x).exp();
    let coin = Bernoulli::new(Rational::try_from(cut).unwrap()).unwrap();
    assert!(bounds::count(hits(|| coin.sample(&mut rng)), N, expected) > 1.0);
}
