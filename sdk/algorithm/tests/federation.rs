//! Laws of federated training: what the server's step is to the devices' models, and how
//! a state moves under each part of a federation plan.

#![allow(clippy::unwrap_used)]

use adafed_algorithm::{
    Adaptivity, AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Mask, MaskRefresh, Plans,
    Provenance, Proximal, ReleasedGradient, ReleasedSum, SecondMomentSettings, Sgd, SgdSettings,
    Standardisation, TensorLayout, TrainingState, descend,
};
use adafed_privacy::{
    Adjacency, ClipNorm, ClippedSum, Delta, EphemeralStore, Epsilon, Ledger, Noise,
    NoiseMultiplier, NoiseSeed, Policy, PrivacyPhase, PrivacyPlan, Released, ResolutionBits,
    SamplingRate, TrustModel,
};

const D: usize = 40;
const LOCAL_STEPS: u32 = 3;

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
        local_steps: LOCAL_STEPS,
        warmup: PrivacyPhase { rounds: 2, noise_multiplier },
        main: PrivacyPhase { rounds: 12, noise_multiplier },
    }
}

fn algorithm() -> AlgorithmPlan {
    AlgorithmPlan {
        importance: ImportanceRule::Debiased,
        random_seed: 1,
        retention: "0.3:0.9:linear".parse().unwrap(),
        scale: "none".parse().unwrap(),
        optimizer: SgdSettings { learning_rate: 0.1, final_share: 1.0, momentum: 0.9 },
        local_learning_rate: 0.1,
    }
}

fn layout() -> Layout {
    Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![D] }] }
}

fn with_plans<T>(federation: &FederationPlan, use_them: impl FnOnce(Plans<'_>) -> T) -> T {
    let (layout, privacy, algorithm) = (layout(), privacy(), algorithm());
    let (layout, privacy, algorithm) = (&layout, &privacy, &algorithm);
    use_them(Plans { layout, privacy, algorithm, federation })
}

/// The releases of one device's round: noise alone, through the production path.
fn releases(mask: &Mask, seed: u64) -> Vec<Released> {
    let (plan, k) = (privacy(), mask.active_count());
    let policy = Policy::new(Epsilon::new(100.0).unwrap(), Delta::new(1e-5).unwrap()).unwrap();
    let mut ledger = Ledger::open(EphemeralStore::default(), policy).unwrap();
    ledger.accept("t", "d", &plan).unwrap();
    let permit = ledger.charge("t", 0).unwrap();
    let release = |step| {
        let seed = NoiseSeed::predictable(seed);
        let noise = Noise::draw(&plan, &permit, &seed, step, k).unwrap();
        let mut sum = ClippedSum::new(plan.lattice(k).unwrap(), D);
        let places = sum.layout().places(mask.active().to_vec()).unwrap();
        noise.release(&mut [&mut sum], &places).unwrap()
    };
    (0..LOCAL_STEPS).map(release).collect()
}

/// What a device uploads: the sum of its releases.
fn upload(releases: &[Released]) -> Vec<i64> {
    let sum = |j: usize| releases.iter().map(|r| r.values()[j]).sum();
    (0..releases[0].values().len()).map(sum).collect()
}

#[test]
fn fed_avg_is_the_mean_of_the_models_that_devices_reach() {
    let (rate, start) = (0.3, vec![0.25_f32; D]);
    let mask = Mask::published(D, (3..30).collect(), Provenance::Released).unwrap();
    let scales = (0..D).map(|j| 0.5 + j as f32 / 40.0).collect();
    let standardisation = Standardisation::new(D, None, Some(scales)).unwrap();
    let scale = with_plans(&FederationPlan::DEFAULT, |plans| plans.release_scale(0));
    let (mut sum, mut mean) = (ReleasedSum::new(27, LOCAL_STEPS), vec![0.0; D]);
    for seed in 0..4 {
        let (releases, mut model) = (releases(&mask, seed), start.clone());
        for released in &releases {
            descend(&mut model, released, &mask, &standardisation, scale, rate, None).unwrap();
        }
        mean.iter_mut().zip(&model).for_each(|(mean, w)| *mean += f64::from(*w) / 4.0);
        sum.add_device(&upload(&releases)).unwrap();
    }
    let gradient = ReleasedGradient::restore(&sum, &mask, &standardisation, scale).unwrap();
    let settings = SgdSettings::fed_avg(rate, LOCAL_STEPS);
    assert_eq!((settings.momentum, settings.check()), (0.0, Ok(())));
    let (mut server, mut sgd) = (start, Sgd::new(D));
    sgd.step(&mut server, &gradient, &mask, settings.learning_rate, settings.momentum);
    for (server, mean) in server.iter().zip(mean) {
        // Three roundings of each device's f32 parameters, of size below 1.
        assert!((f64::from(*server) - mean).abs() < 1e-6, "{server} against {mean}");
    }
}

#[test]
fn the_proximal_term_draws_local_steps_back_to_the_round_s_model() {
    let mask = Mask::published(D, (0..20).collect(), Provenance::Released).unwrap();
    let (start, plain) = (vec![0.5_f32; D], Standardisation::none());
    let scale = with_plans(&FederationPlan::DEFAULT, |plans| plans.release_scale(0));
    let (rate, strength) = (0.2, 0.7);
    let walk = |proximal: Option<Proximal<'_>>| {
        let mut model = start.clone();
        for released in &releases(&mask, 5) {
            descend(&mut model, released, &mask, &plain, scale, rate, proximal).unwrap();
        }
        model
    };
    let (pulled, zero) =
        (Proximal { strength, start: &start }, Proximal { strength: 0.0, start: &start });
    let mut expected: Vec<f64> = start.iter().map(|w| f64::from(*w)).collect();
    for released in &releases(&mask, 5) {
        for (j, value) in mask.indices().zip(released.values()) {
            let g = *value as f64 * scale.grid / scale.expected_batch;
            expected[j] -= rate * (g + strength * (expected[j] - 0.5));
        }
    }
    for (found, expected) in walk(Some(pulled)).iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6);
    }
    assert_eq!(walk(Some(zero)), walk(None));
    assert_ne!(walk(Some(pulled)), walk(None));
    let mut model = start.clone();
    let short = Proximal { strength, start: &start[1..] };
    let released = &releases(&mask, 5)[0];
    assert!(descend(&mut model, released, &mask, &plain, scale, rate, Some(short)).is_err());
    assert_eq!(model, start, "a refused step moves nothing");
}

/// Runs all rounds; the masks and the last state.
fn run(federation: &FederationPlan) -> (TrainingState, Vec<Mask>) {
    with_plans(federation, |plans| {
        let mut state = TrainingState::new(plans.layout, vec![0.0; D]).unwrap();
        let mut masks = Vec::new();
        for round in 0..plans.privacy.rounds() {
            let mask = state.mask(plans);
            let mut sum = ReleasedSum::new(mask.active_count(), LOCAL_STEPS);
            sum.add_device(&upload(&releases(&mask, round))).unwrap();
            state.advance(plans, &mask, &Standardisation::none(), &sum).unwrap();
            masks.push(mask);
        }
        (state, masks)
    })
}

#[test]
fn masks_are_made_anew_on_time_and_thaw_nested_in_between() {
    let refresh = Some(MaskRefresh { every: 4, exploration: 0.25, decay: 0.5 });
    let (state, masks) = run(&FederationPlan { refresh, ..FederationPlan::DEFAULT });
    let main = &masks[2..];
    for (t, pair) in main.windows(2).enumerate() {
        let renewed = (t + 1) % 4 == 0;
        assert_eq!(pair[0].is_subset_of(&pair[1]), !renewed, "before main round {}", t + 1);
        assert!(pair[0].active_count() <= pair[1].active_count(), "the thaw's counts stay");
        assert_eq!(pair[1].provenance(), Provenance::Released);
    }
    let again = run(&FederationPlan { refresh, ..FederationPlan::DEFAULT });
    assert_eq!(again, (state, masks));
}

#[test]
fn a_mask_stays_full_until_any_release_was_seen() {
    let refresh = Some(MaskRefresh { every: 2, exploration: 0.25, decay: 0.5 });
    with_plans(&FederationPlan { refresh, ..FederationPlan::DEFAULT }, |plans| {
        let mut state = TrainingState::new(plans.layout, vec![0.0; D]).unwrap();
        (0..5).for_each(|_| state.skip_round(plans));
        assert_eq!(state.mask(plans), Mask::full(D));
        let mut sum = ReleasedSum::new(D, LOCAL_STEPS);
        sum.add_device(&upload(&releases(&Mask::full(D), 1))).unwrap();
        state.advance(plans, &Mask::full(D), &Standardisation::none(), &sum).unwrap();
        assert!(state.mask(plans).active_count() < D, "main round 4 makes a mask");
    });
}

#[test]
fn only_plans_that_need_it_keep_more_state() {
    let (plain, _) = run(&FederationPlan::DEFAULT);
    assert!(!plain.has_memory());
    let moment = SecondMomentSettings { beta2: 0.99, tau: 1e-3, debiased: true };
    for adaptivity in [Adaptivity::Adam(moment), Adaptivity::Yogi(moment)] {
        let (state, _) = run(&FederationPlan { adaptivity, ..FederationPlan::DEFAULT });
        assert!(state.has_memory());
        assert_ne!(state.parameters(), plain.parameters());
        assert!(state.parameters().iter().all(|w| w.is_finite()));
    }
}

#[test]
fn an_adaptive_step_whose_moments_overflow_changes_nothing() {
    let moment = SecondMomentSettings { beta2: 0.5, tau: 1e-3, debiased: false };
    let federation =
        FederationPlan { adaptivity: Adaptivity::Adam(moment), ..FederationPlan::DEFAULT };
    let scales = vec![1e30_f32; D];
    let standardisation = Standardisation::new(D, None, Some(scales)).unwrap();
    with_plans(&federation, |plans| {
        let mut state = TrainingState::new(plans.layout, vec![0.0; D]).unwrap();
        let before = state.clone();
        let mut sum = ReleasedSum::new(D, LOCAL_STEPS);
        sum.add_device(&[1 << 40; D]).unwrap();
        // The step itself would be finite: m / sqrt(v) is of size 1.
        assert!(state.advance(plans, &Mask::full(D), &standardisation, &sum).is_err());
        assert_eq!(state, before);
    });
}
