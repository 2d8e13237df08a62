//! Laws of the release: the known mistakes of DP training, each with its guard.

#![allow(clippy::unwrap_used)]

mod common;

use adafed_privacy::{ClippedSum, Ledger, Noise, NoiseSeed, PerExample, Permit};
use common::{MemoryStore, plan, policy};

fn permit() -> Permit {
    let mut ledger = Ledger::open(MemoryStore::default(), policy()).unwrap();
    ledger.accept("t", "d", &plan()).unwrap();
    ledger.charge("t", 0).unwrap()
}

/// One release of the sum over `examples`, in units of the gradient.
fn release(examples: &[Vec<f32>], seed: u64) -> Vec<f64> {
    release_under(&permit(), examples, seed)
}

fn release_under(permit: &Permit, examples: &[Vec<f32>], seed: u64) -> Vec<f64> {
    let (plan, d) = (plan(), 200);
    let noise = Noise::draw(&plan, permit, &NoiseSeed::predictable(seed), 0, d).unwrap();
    let mut sum = ClippedSum::new(plan.lattice(d).unwrap(), d);
    let mut scratch = Vec::new();
    examples.iter().for_each(|e| sum.add(PerExample::new(e), &mut scratch).unwrap());
    let places = sum.layout().places((0..d as u32).collect()).unwrap();
    let released = noise.release(&mut [&mut sum], &places).unwrap();
    released.values().iter().map(|&v| v as f64 * released.grid()).collect()
}

fn std(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// Relative standard error of a standard deviation over 1e5 normal draws, times 6.
const TOLERANCE: f64 = 6.0 * 0.002_236;

#[test]
fn noise_on_the_sum_has_std_sigma_times_clip_whatever_the_batch() {
    // The published code drew noise per example and averaged: sqrt(B) too small.
    let permit = permit();
    for batch in [0, 1, 64] {
        let examples = vec![vec![0.0; 200]; batch];
        let draws: Vec<f64> =
            (0..500).flat_map(|seed| release_under(&permit, &examples, seed)).collect();
        let expected = 1.1 * 0.5;
        assert!((std(&draws) / expected - 1.0).abs() < TOLERANCE, "batch {batch}");
    }
}

#[test]
fn an_empty_batch_is_released_as_pure_noise() {
    assert!(release(&[], 1).iter().filter(|x| **x != 0.0).count() > 190);
}

#[test]
fn a_broken_example_changes_nothing_else() {
    let good = vec![vec![0.01; 200]; 3];
    let mut with_nan = good.clone();
    with_nan.push({
        let mut bad = vec![0.01; 200];
        bad[7] = f32::NAN;
        bad
    });
    assert_eq!(release(&good, 5), release(&with_nan, 5));
}

#[test]
fn one_example_moves_a_release_by_at_most_the_clip_norm() {
    let base = vec![vec![3.0; 200]; 2];
    let mut more = base.clone();
    more.push(vec![-1e20; 200]);
    let (a, b) = (release(&base, 9), release(&more, 9));
    let distance = a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    assert!(distance <= 0.5 && distance > 0.49, "{distance}");
}

#[test]
fn a_permit_covers_only_the_charged_steps() {
    let (plan, seed) = (plan(), NoiseSeed::predictable(1));
    let permit = permit();
    assert!(Noise::draw(&plan, &permit, &seed, 1, 10).is_ok());
    let error = Noise::draw(&plan, &permit, &seed, 2, 10).unwrap_err();
    assert_eq!(error.code(), "privacy/not-charged");
}

#[test]
fn noise_for_other_coordinates_is_refused() {
    let plan = plan();
    let (seed, permit) = (NoiseSeed::predictable(1), permit());
    let noise = |active| Noise::draw(&plan, &permit, &seed, 0, active).unwrap();
    let new = || ClippedSum::new(plan.lattice(4).unwrap(), 4);
    let (mut sum, mut other) = (new(), new());
    let places = sum.layout().places(vec![0, 1]).unwrap();
    assert!(noise(3).release(&mut [&mut sum], &places).is_err());
    assert!(noise(2).release(&mut [&mut sum, &mut other], &places).is_err());
    assert!(noise(2).release(&mut [], &places).is_err());
    assert!(noise(2).release(&mut [&mut sum], &places).is_ok());
    assert!(sum.layout().places(vec![0, 4]).is_err());
    assert!(sum.layout().places(vec![1, 1]).is_err());
}

#[test]
fn a_permit_of_one_plan_does_not_cover_another() {
    let (plan, permit) = (plan(), permit());
    let mut weaker = plan;
    weaker.main.noise_multiplier = adafed_privacy::NoiseMultiplier::new(0.0).unwrap();
    weaker.warmup.noise_multiplier = weaker.main.noise_multiplier;
    let seed = NoiseSeed::predictable(1);
    assert!(Noise::draw(&plan, &permit, &seed, 0, 4).is_ok());
    assert!(Noise::draw(&weaker, &permit, &seed, 0, 4).is_err());
}
