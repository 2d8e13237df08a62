//! Wrong laws, each of which the statistics named beside it must reject.
//!
//! What no statistic can tell on a million draws: a rounded normal law from the discrete
//! Gaussian of a deviation of 9 or more. Only a test of equal bits does that.

use rand::RngCore;
use rand_distr::{Distribution, StandardNormal};

use super::*;

/// A sampler of a wrong law: the one of `Sampler` at `sigma`, gone wrong.
type Wrong = fn(Sampler, f64) -> Draw;
type Draw = Box<dyn FnMut(&mut ChaCha20Rng) -> i64>;

/// Name; deviations; statistics that must reject it at each of them; the law.
const WRONG: [(&str, &[f64], &[&str], Wrong); 13] = [
    ("the other law", &[0.25, 0.5, 1.0], &["chi-square", "divergence", "variance"], other),
    ("the other law, wider", &[3.0], &["variance"], other),
    (
        "deviation 1 % too large",
        &[0.5, 1.0, 2.342, 3.0, 9.0, 100.0],
        &["chi-square", "divergence", "variance"],
        |sampler, sigma| right(sampler, 1.01 * sigma),
    ),
    ("deviation 2 % too large", &[100.0], &["kolmogorov"], |s, sigma| right(s, 1.02 * sigma)),
    (
        "zero with both signs",
        &[0.25, 0.5, 1.0, 3.0, 9.0, 100.0],
        &["chi-square", "divergence", "zero"],
        zero_twice,
    ),
    (
        "sum of 12 uniforms",
        &[0.5, 1.0, 3.0, 9.0, 100.0],
        &["chi-square", "divergence", "tails"],
        bell,
    ),
    ("truncated at 4 deviations", &[9.0, 100.0], &["strict tail"], truncated),
    ("sign bit reused as parity", &[100.0, 1e4], &["lattice"], sign_as_parity),
    ("computed with 24 bits", &[41_293_847.0], &["lattice"], single),
    ("shifted by 3 % of a deviation", &[100.0], &["mean", "symmetry"], shifted),
    ("one in 10,000 an outlier", &[1.0, 9.0, 1e4], &["far tail"], outliers),
    ("sum with a part of the last", &[9.0, 100.0], &["autocorrelation"], correlated),
    ("signs that persist", &[0.5, 9.0], &["runs"], persistent),
];

#[test]
fn wrong_laws_are_rejected() {
    let cases: Vec<_> = WRONG
        .iter()
        .flat_map(|wrong| wrong.1.iter().map(move |sigma| (wrong, *sigma)))
        .flat_map(|(wrong, sigma)| [Sampler::Exact, Sampler::Fast].map(|s| (s, wrong, sigma)))
        .collect();
    cases.into_par_iter().for_each(|(sampler, (name, _, statistics, wrong), sigma)| {
        let (law, mut draw) = (sampler.law(sigma), wrong(sampler, sigma));
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let draws: Vec<i64> = (0..draws_at(sigma)).map(|_| draw(&mut rng)).collect();
        for statistic_name in *statistics {
            let share = statistic(statistic_name)(&draws, &law);
            println!("{name}, {sampler:?} at {sigma}: {statistic_name} {share:.2}");
            assert!(share > 1.0, "{statistic_name}, {name}, {sampler:?} at {sigma}: {share}");
        }
    });
}

#[test]
fn every_statistic_rejects_something() {
    for (name, _) in STATISTICS {
        assert!(WRONG.iter().any(|(_, _, statistics, _)| statistics.contains(&name)), "{name}");
    }
}

pub(super) fn normal(rng: &mut ChaCha20Rng) -> f64 {
    StandardNormal.sample(rng)
}

pub(super) fn uniform(rng: &mut ChaCha20Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * f64::exp2(-53.0)
}

/// The right law of another sampler than the one under test, where there is one.
fn right(sampler: Sampler, sigma: f64) -> Draw {
    match sampler {
        Sampler::Exact => {
            let law = DiscreteGaussian::new(&Rational::try_from(sigma).unwrap()).unwrap();
            Box::new(move |rng| law.sample(rng) as i64)
        }
        Sampler::Fast => Box::new(move |rng| (sigma * normal(rng)).round() as i64),
    }
}

fn other(sampler: Sampler, sigma: f64) -> Draw {
    match sampler {
        Sampler::Exact => right(Sampler::Fast, sigma),
        Sampler::Fast => right(Sampler::Exact, sigma),
    }
}

/// 0 of probability p_0 gets twice its weight: 2 p_0 / (1 + p_0) = a + (1 - a) p_0 for
/// a = p_0 / (1 + p_0).
fn zero_twice(sampler: Sampler, sigma: f64) -> Draw {
    let p0 = sampler.law(sigma).between(0, 1);
    let mut draw = right(sampler, sigma);
    Box::new(move |rng| if uniform(rng) < p0 / (1.0 + p0) { 0 } else { draw(rng) })
}

pub(super) fn bell(_: Sampler, sigma: f64) -> Draw {
    let sum = |rng: &mut _| (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0;
    Box::new(move |rng| (sigma * sum(rng)).round() as i64)
}

pub(super) fn truncated(sampler: Sampler, sigma: f64) -> Draw {
    let mut draw = right(sampler, sigma);
    Box::new(move |rng| {
        loop {
            let found = draw(rng);
            if found.abs() as f64 <= 4.0 * sigma {
                break found;
            }
        }
    })
}

/// The bit that picks the sign is the lowest bit of the magnitude as well. Residues stay
/// uniform; signs within them do not.
fn sign_as_parity(sampler: Sampler, sigma: f64) -> Draw {
    let mut draw = right(sampler, sigma);
    Box::new(move |rng| {
        let found = draw(rng);
        let even = found.abs() & !1;
        if found < 0 { -(even | 1) } else { even }
    })
}

/// Half the sum of four normal variates in f32, on the lattice.
fn single(_: Sampler, sigma: f64) -> Draw {
    let sum = |rng: &mut _| (0..4).map(|_| normal(rng) as f32).sum::<f32>() / 2.0;
    Box::new(move |rng| (sum(rng) * sigma as f32).round() as i64)
}

fn shifted(sampler: Sampler, sigma: f64) -> Draw {
    let mut draw = right(sampler, sigma);
    Box::new(move |rng| draw(rng) + (0.03 * sigma) as i64)
}

fn outliers(sampler: Sampler, sigma: f64) -> Draw {
    let mut draw = right(sampler, sigma);
    Box::new(move |rng| if uniform(rng) < 1e-4 { (10.0 * sigma) as i64 } else { draw(rng) })
}

fn correlated(_: Sampler, sigma: f64) -> Draw {
    let mut last = 0.0;
    Box::new(move |rng| {
        let fresh = normal(rng);
        let found = fresh + 0.02 * last;
        last = fresh;
        (sigma * found).round() as i64
    })
}

/// Each sign is the one before it with probability 0.51.
fn persistent(sampler: Sampler, sigma: f64) -> Draw {
    let (mut draw, mut sign) = (right(sampler, sigma), 1);
    Box::new(move |rng| {
        let found = draw(rng);
        if found != 0 && uniform(rng) >= 0.51 {
            sign = -sign;
        }
        sign * found.abs()
    })
}
