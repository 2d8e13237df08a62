//! Frozen values, and simulated mechanisms whose epsilon is known.
//!
//! Frozen values come from scipy 1.x (`beta.ppf`, `beta.isf`, `binom.sf`; the formulas of
//! the theorems written out in Python) and, for mu-GDP, mpmath at 40 digits.

use rand::Rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::StandardNormal;

use super::*;
use crate::{Delta, Epsilon};

/// Bounds are rounded outwards by less than this, relative; scipy errs by less, too.
const OUTWARDS: f64 = 1e-8;

fn sure(failure: f64) -> Confidence {
    Confidence { failure }
}

fn at(delta: f64) -> Delta {
    Delta::new(delta).unwrap()
}

fn is_just_below(found: f64, exact: f64) -> bool {
    found <= exact * (1.0 + 1e-11) && found >= exact * (1.0 - OUTWARDS)
}

#[test]
fn proportions_have_the_bounds_of_scipy() {
    let cases = [
        (0, 10, 0.05, 0.0, 0.2588655508930523),
        (3, 10, 0.05, 0.08726443391415033, 0.6066242161054123),
        (10, 10, 0.05, 0.7411344491069477, 1.0),
        (1, 1, 0.025, 0.025, 1.0),
        (17, 1000, 1e-06, 0.003986693562364981, 0.04509705079204446),
        (500_000, 1_000_000, 1.25e-06, 0.4976454487834631, 0.5023545512165368),
        (2, 1_000_000, 1.25e-06, 1.5819735575584983e-09, 1.88811470275371e-05),
        (999_990, 1_000_000, 1.25e-06, 0.9999658828491444, 0.999998690524629),
        (123_456, 100_000_000, 1e-09, 0.0012136150779662323, 0.0012557475639199188),
    ];
    for (successes, trials, failure, low, high) in cases {
        let share = Proportion::new(successes, trials).unwrap();
        let (lower, upper) = (share.lower(sure(failure)), share.upper(sure(failure)));
        assert!(is_just_below(lower, low), "{successes} of {trials}: {lower} for {low}");
        assert!(is_just_below(high, upper), "{successes} of {trials}: {upper} for {high}");
    }
}

#[test]
fn intervals_hold_the_true_proportion_as_often_as_they_say() {
    // All outcomes of 40 trials: the probability of those whose bound is wrong.
    for p in [0.01, 0.3, 0.5, 0.97] {
        let wrong = |is_wrong: &dyn Fn(Proportion) -> bool| -> f64 {
            let outcomes = (0..=40).filter(|k| is_wrong(Proportion::new(*k, 40).unwrap()));
            outcomes.map(|k| binomial::exactly(k, 40, p, 1.0 - p)).sum()
        };
        assert!(wrong(&|share| share.lower(sure(0.1)) > p) <= 0.1);
        assert!(wrong(&|share| share.upper(sure(0.1)) < p) <= 0.1);
        assert!((wrong(&|_| true) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn counts_that_contradict_each_other_are_refused() {
    for (successes, trials) in [(0, 0), (2, 1), (0, 1 << 33)] {
        assert_eq!(Proportion::new(successes, trials).unwrap_err().code(), "privacy/parameter");
    }
    assert!(OneRun::new(10, 11, 0).is_err() && OneRun::new(10, 5, 6).is_err());
    assert!(OneRun::new(1 << 33, 5, 3).is_err() && OneRun::new(10, 10, 10).is_ok());
    for confidence in [0.0, 1.0, -1.0, f64::NAN] {
        assert!(Confidence::new(confidence).is_err());
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let confidence = Confidence::new(0.9).unwrap();
    let refused = |with: &[f64], without: &[f64], thresholds: &[f64]| {
        distinguish(with, without, thresholds, confidence).unwrap_err().code()
    };
    assert_eq!(refused(&[f64::NAN], &[0.0], &[0.0]), "privacy/parameter");
    assert_eq!(refused(&[0.0], &[f64::NAN], &[0.0]), "privacy/parameter");
    assert_eq!(refused(&[0.0], &[0.0], &[f64::NAN]), "privacy/parameter");
    assert_eq!(refused(&[], &[0.0], &[0.0]), "privacy/length");
    assert_eq!(refused(&[0.0], &[0.0], &[]), "privacy/length");
    assert!(distinguish(&[f64::INFINITY], &[f64::NEG_INFINITY], &[0.0], confidence).is_ok());
    assert!(OneRun::of_scores(&[f64::NAN], &[true], 1, 0).is_err());
    assert!(OneRun::of_scores(&[0.0], &[], 1, 0).is_err());
    assert!(OneRun::of_scores(&[0.0], &[true], 1, 1).is_err());
}

#[test]
fn a_gaussian_mechanism_needs_the_epsilon_of_its_mu() {
    let cases = [
        (1.0, 1e-05, 4.3771780956812245),
        (0.5, 1e-05, 1.9930914044151196),
        (2.0, 1e-05, 9.997256146434301),
        (0.1, 1e-06, 0.39685737764408363),
        (6.0, 1e-05, 42.83600810268184),
    ];
    for (mu, delta, epsilon) in cases {
        let found = AssumedGaussian { mu }.epsilon(at(delta));
        assert!(is_just_below(found, epsilon), "{mu}: {found} for {epsilon}");
    }
    for (mu, delta) in [(0.0, 1e-5), (1e-6, 1e-5), (1.0, 1.0)] {
        assert_eq!(AssumedGaussian { mu }.epsilon(at(delta)), 0.0);
    }
    assert!((20.0..60.0).contains(&AssumedGaussian { mu: 1.0 }.epsilon(at(0.0))));
}

#[test]
fn one_run_has_the_p_values_of_the_theorem() {
    let cases = [
        (1000, 100, 90, 1.0, 1e-05, 0.0008412885614385309),
        (1000, 1000, 600, 0.0, 1e-05, 0.0001515151149648301),
        (1000, 100, 100, 3.0, 1e-05, 0.010411268784327625),
        (1000, 500, 400, 1.2, 0.001, 0.11616736206818215),
        (100, 50, 0, 1.0, 1e-05, 1.0),
        (10, 10, 10, 0.5, 0.0, 0.008731921399197897),
        (100_000, 20_000, 14_000, 0.8, 1e-06, 0.001719119639478241),
    ];
    for (m, r, v, epsilon, delta, expected) in cases {
        let run = OneRun::new(m, r, v).unwrap();
        let found = run.p_value(Epsilon::new(epsilon).unwrap(), at(delta));
        assert!(is_just_below(expected, found), "{m} {r} {v}: {found} for {expected}");
    }
    let all = OneRun::new(10, 10, 10).unwrap();
    assert_eq!(all.p_value(Epsilon::new(1e3).unwrap(), at(1e-5)), 1.0);
    assert_eq!(OneRun::new(10, 0, 0).unwrap().epsilon(at(1e-5), sure(0.05)), 0.0);
}

#[test]
fn one_run_has_the_epsilon_of_the_theorem() {
    let cases = [
        (100, 100, 0.05, 3.4653763478110453),
        (100, 90, 0.05, 1.6261434806957262),
        (600, 600, 0.05, 5.270399463514697),
        (1000, 520, 0.05, 0.0),
        (300, 280, 1e-3, 1.9012194052079245),
    ];
    for (r, v, failure, expected) in cases {
        let found = OneRun::new(1000, r, v).unwrap().epsilon(at(1e-5), sure(failure));
        assert!(is_just_below(found, expected), "{r} {v}: {found} for {expected}");
    }
}

#[test]
fn guesses_follow_the_scores_and_then_the_numbers() {
    let scores = [0.5, 2.0, -1.0, 2.0, 0.0, -3.0];
    let included = [true, true, false, false, true, true];
    // In: 1 and 3. Out: 2 and 5.
    let run = OneRun::of_scores(&scores, &included, 2, 2).unwrap();
    assert_eq!(run, OneRun::new(6, 4, 2).unwrap());
    assert_eq!(OneRun::of_scores(&scores, &included, 1, 0).unwrap().correct(), 1);
}

/// Scores of a Gaussian mechanism of sensitivity `mu` and deviation 1, that hide `mu` or not.
fn draws(seed: u64, count: usize, mu: f64) -> Vec<f64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..count).map(|_| mu + rng.sample::<f64, _>(StandardNormal)).collect()
}

/// At 99.9 %, 200 simulations of each mechanism give one wrong bound with probability below
/// 0.2 if bounds are just as good as they say; the seeds are fixed.
#[test]
fn many_runs_never_bound_a_gaussian_mechanism_above_its_epsilon() {
    let confidence = Confidence::new(0.999).unwrap();
    for mu in [0.5, 1.0, 2.0] {
        let truth = AssumedGaussian { mu }.epsilon(at(1e-5));
        let thresholds: Vec<f64> = (0..20).map(|i| mu / 2.0 + 0.3 * (f64::from(i) - 9.5)).collect();
        for seed in 0..200 {
            let (with, without) = (draws(2 * seed, 30_000, mu), draws(2 * seed + 1, 30_000, 0.0));
            let seen = distinguish(&with, &without, &thresholds, confidence).unwrap();
            let (free, assumed) = (seen.epsilon(at(1e-5)), seen.assuming_gaussian());
            assert!(free <= truth && free > 0.2 * truth, "{mu}, {seed}: {free} for {truth}");
            assert!(assumed.mu() <= mu);
            let assumed = assumed.epsilon(at(1e-5));
            assert!(assumed <= truth && assumed >= 0.8 * truth, "{mu}, {seed}: {assumed}");
        }
    }
}

#[test]
fn one_run_never_bounds_a_gaussian_mechanism_above_its_epsilon() {
    let confidence = Confidence::new(0.999).unwrap();
    for mu in [0.5, 1.0, 2.0] {
        let truth = AssumedGaussian { mu }.epsilon(at(1e-5));
        for seed in 0..200 {
            let included: Vec<bool> = draws(seed, 1000, 0.0).iter().map(|x| *x > 0.0).collect();
            let noise = draws(seed + 1000, 1000, 0.0).into_iter();
            let signal = included.iter().map(|is_in| if *is_in { mu } else { 0.0 });
            let scores: Vec<f64> =
                noise.zip(signal).map(|(noise, signal)| noise + signal).collect();
            let run = OneRun::of_scores(&scores, &included, 100, 100).unwrap();
            let found = run.epsilon(at(1e-5), confidence);
            assert!(found <= truth, "{mu}, {seed}: {found} for {truth}");
            assert!(found > 0.0 || mu < 1.0, "{mu}, {seed}: nothing was seen");
        }
    }
}
