//! Laws of the training mathematics, from noise to state: the known mistakes of DP
//! training, each with its guard.

#![allow(clippy::unwrap_used)]

use adafed_algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Mask, Plans, Provenance,
    ReleasedGradient, ReleasedSum, SgdSettings, Standardisation, TensorLayout, TrainingState,
};
use adafed_privacy::accounting::calibration::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use adafed_privacy::{
    Adjacency, ClipNorm, ClippedSum, Delta, EphemeralStore, Epsilon, Ledger, Noise,
    NoiseMultiplier, NoiseSeed, PerExample, Permit, Policy, PrivacyPhase, PrivacyPlan, Released,
    ResolutionBits, SamplingRate, TrustModel,
};

const D: usize = 100;
const ROUNDS: u64 = 8;

fn privacy() -> PrivacyPlan {
    let noise_multiplier = NoiseMultiplier::new(1.3).unwrap();
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.02).unwrap(),
        nominal_examples: 1_000,
        clip: ClipNorm::new(0.4).unwrap(),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5).unwrap(),
        local_steps: 1,
        warmup: PrivacyPhase { rounds: 3, noise_multiplier },
        main: PrivacyPhase { rounds: ROUNDS - 3, noise_multiplier },
    }
}

fn algorithm(scale: &str) -> AlgorithmPlan {
    AlgorithmPlan {
        importance: ImportanceRule::Debiased,
        random_seed: 1,
        retention: "0.5".parse().unwrap(),
        scale: scale.parse().unwrap(),
        optimizer: SgdSettings { learning_rate: 0.1, final_share: 1.0, momentum: 0.0 },
        local_learning_rate: 0.1,
    }
}

fn layout() -> Layout {
    Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![10, 10] }] }
}

fn permit(plan: &PrivacyPlan) -> Permit {
    let policy = Policy::new(Epsilon::new(100.0).unwrap(), Delta::new(1e-5).unwrap()).unwrap();
    let mut ledger = Ledger::open(EphemeralStore::default(), policy).unwrap();
    ledger.accept("t", "d", plan).unwrap();
    ledger.charge("t", 0).unwrap()
}

/// One release over `examples`, through the production path.
fn release(
    (plan, permit): (&PrivacyPlan, &Permit),
    mask: &Mask,
    standardisation: &Standardisation,
    examples: &[[f32; D]],
    seed: u64,
) -> Released {
    let k = mask.active_count();
    let noise = Noise::draw(plan, permit, &NoiseSeed::predictable(seed), 0, k).unwrap();
    let mut sum = ClippedSum::new(plan.lattice(k).unwrap(), D);
    let (masked, mut scratch) = (standardisation.masked(mask), Vec::new());
    for example in examples {
        let mut gradient = example.to_vec();
        masked.apply(&mut gradient);
        sum.add(PerExample::new(&gradient), &mut scratch).unwrap();
    }
    let places = sum.layout().places(mask.active().to_vec()).unwrap();
    noise.release(&mut [&mut sum], &places).unwrap()
}

fn restored(
    (plan, permit): (&PrivacyPlan, &Permit),
    mask: &Mask,
    standardisation: &Standardisation,
    examples: &[[f32; D]],
    seed: u64,
) -> ReleasedGradient {
    let (layout, algorithm) = (layout(), algorithm("none"));
    let plans = Plans {
        layout: &layout,
        privacy: plan,
        algorithm: &algorithm,
        federation: &FederationPlan::DEFAULT,
    };
    let released = release((plan, permit), mask, standardisation, examples, seed);
    let sum = ReleasedSum::of_steps(&[released]).unwrap();
    ReleasedGradient::restore(&sum, mask, standardisation, plans.release_scale(0)).unwrap()
}

#[test]
fn a_released_coordinate_has_std_sigma_clip_b_over_l() {
    let plan = privacy();
    let permit = permit(&plan);
    let b: Vec<f32> = (0..D).map(|j| if j < 50 { 0.5 } else { 3.0 }).collect();
    let standardisation = Standardisation::new(D, None, Some(b.clone())).unwrap();
    let mask = Mask::published(D, (0..90).collect(), Provenance::Released).unwrap();
    // 2,000 releases: 1e5 draws at b = 0.5 and 8e4 at b = 3.
    let (mut squares, mut frozen) = ([0.0; 2], 0.0);
    for seed in 0..2_000 {
        let gradient = restored((&plan, &permit), &mask, &standardisation, &[], seed);
        for (j, g) in gradient.values().iter().enumerate() {
            match j {
                0..50 => squares[0] += g * g,
                50..90 => squares[1] += g * g,
                _ => frozen += g.abs(),
            }
        }
        let stated = 1.3 * 0.4 * f64::from(b[0]) / 20.0;
        assert!((gradient.noise_std()[0] - stated).abs() < 1e-12);
    }
    assert_eq!(frozen, 0.0, "a frozen coordinate is never released");
    for (square, count, b) in [(squares[0], 1e5_f64, 0.5), (squares[1], 8e4, 3.0)] {
        let (std, expected) = ((square / count).sqrt(), 1.3 * 0.4 * b / 20.0);
        // A standard deviation over n draws has relative standard error 1/sqrt(2n).
        let tolerance = 6.0 / (2.0 * count).sqrt();
        assert!((std / expected - 1.0).abs() < tolerance, "{std} against {expected}");
    }
}

#[test]
fn the_divisor_is_the_expected_batch_whatever_was_drawn() {
    let (plan, mask, plain) = (privacy(), Mask::full(D), Standardisation::none());
    let permit = permit(&plan);
    let examples = [[0.01; D]; 7];
    let with = restored((&plan, &permit), &mask, &plain, &examples, 3);
    let without = restored((&plan, &permit), &mask, &plain, &[], 3);
    for (a, b) in with.values().iter().zip(without.values()) {
        // Seven equal gradients over L = 20, not over the 7 that were drawn.
        assert!((a - b - 7.0 * 0.01 / 20.0).abs() < 1e-6);
    }
}

#[test]
fn a_device_cannot_move_the_divisor_by_its_own_number_of_examples() {
    let doubled = PrivacyPlan { nominal_examples: 2_000, ..privacy() };
    assert_eq!((privacy().expected_batch(), doubled.expected_batch()), (20.0, 40.0));
}

fn advance(state: &mut TrainingState, scale: &str, seed: u64) -> (Mask, Standardisation) {
    let (layout, plan, algorithm) = (layout(), privacy(), algorithm(scale));
    let plans = Plans {
        layout: &layout,
        privacy: &plan,
        algorithm: &algorithm,
        federation: &FederationPlan::DEFAULT,
    };
    let mask = state.mask(plans);
    let standardisation = state.standardisation(plans, &mask).unwrap();
    let examples: [[f32; D]; 6] = [std::array::from_fn(|j| (j as f32 - 50.0) / 200.0); 6];
    let permit = permit(&plan);
    let released = release((&plan, &permit), &mask, &standardisation, &examples, seed);
    let sum = ReleasedSum::of_steps(&[released]).unwrap();
    state.advance(plans, &mask, &standardisation, &sum).unwrap();
    (mask, standardisation)
}

fn trained(scale: &str, seed: u64) -> (TrainingState, Vec<(Mask, Standardisation)>) {
    let mut state = TrainingState::new(&layout(), vec![0.0; D]).unwrap();
    let seen = (0..ROUNDS).map(|r| advance(&mut state, scale, seed + r)).collect();
    (state, seen)
}

#[test]
fn importance_and_scale_change_with_the_noise() {
    // The same examples under other noise: statistics of raw gradients would not differ.
    let ((_, a), (_, b)) = (trained("whiten", 10), trained("whiten", 90));
    assert_ne!(a[3].0, b[3].0, "masks follow the released importance");
    assert_ne!(a[3].1, b[3].1, "scales follow the released variance");
}

#[test]
fn the_scale_state_of_one_round_shapes_the_next() {
    for scale in ["whiten", "minimal", "whiten:row"] {
        let (_, seen) = trained(scale, 10);
        assert_eq!(seen[2].1, Standardisation::none(), "{scale}: none while importance is learned");
        assert_ne!(seen[3].1, Standardisation::none(), "{scale}");
        assert_ne!(seen[3].1, seen[4].1, "{scale}: updated, not thrown away");
    }
}

#[test]
fn frozen_coordinates_do_not_move() {
    let (state, seen) = trained("none", 10);
    let mut early = TrainingState::new(&layout(), vec![0.0; D]).unwrap();
    (0..3).for_each(|r| drop(advance(&mut early, "none", 10 + r)));
    let mask = &seen[3].0;
    assert_eq!(mask.active_count(), 50);
    for j in 0..D {
        let moved = state.parameters()[j] != early.parameters()[j];
        assert_eq!(moved, mask.active().contains(&(j as u32)), "coordinate {j}");
    }
}

#[test]
fn an_update_that_is_not_finite_changes_nothing() {
    let (layout, plan) = (layout(), privacy());
    let algorithm = AlgorithmPlan {
        optimizer: SgdSettings { learning_rate: 1e300, final_share: 1.0, momentum: 0.0 },
        ..algorithm("none")
    };
    let plans = Plans {
        layout: &layout,
        privacy: &plan,
        algorithm: &algorithm,
        federation: &FederationPlan::DEFAULT,
    };
    let mut state = TrainingState::new(&layout, vec![0.0; D]).unwrap();
    let before = state.clone();
    let mut sum = ReleasedSum::new(D, 1);
    sum.add_device(&[i64::MAX / 4; D]).unwrap();
    let mask = state.mask(plans);
    assert!(state.advance(plans, &mask, &Standardisation::none(), &sum).is_err());
    assert_eq!(state, before);
}

#[test]
fn calibration_follows_rate_and_steps() {
    // The published code computed sigma for batch 1000 and reused it for every batch.
    let sigma = |rate: f64, steps: u64| {
        let phase =
            PhaseShape { rate: SamplingRate::new(rate).unwrap(), steps, relative_noise: 1.0 };
        let (epsilon, delta) = (Epsilon::new(4.0).unwrap(), Delta::new(1e-5).unwrap());
        let (adjacency, by) = (Adjacency::AddRemove, CalibrateBy::Tightest);
        let target = Target { epsilon, delta, adjacency, by };
        noise_multiplier(&target, &[phase]).unwrap().value()
    };
    let base = sigma(0.02, 1_000);
    assert!(sigma(0.03, 1_000) > 1.2 * base, "a larger batch needs more noise");
    assert!(sigma(0.02, 2_000) > 1.15 * base, "more steps need more noise");
}
