//! What the format's second version added, and what it left as it was.

#![allow(clippy::unwrap_used)]

use adafed_algorithm::{
    Adaptivity, Aggregation, Buffer, FederationPlan, MaskRefresh, SecondMomentSettings, Weights,
};
use adafed_wire::{
    CreateTask, EXTENDED_VERSION, Message, TaskPlan, TaskSettings, VERSION, decode, encode,
};
use proptest::prelude::*;

/// Bytes of a plan that was written before there was a federation plan.
fn golden() -> Vec<u8> {
    hex::decode(include_str!("golden/plan-v1.hex").trim()).unwrap()
}

fn plan() -> TaskPlan {
    decode(&golden()).unwrap()
}

fn full() -> FederationPlan {
    let moment = SecondMomentSettings { beta2: 0.99, tau: 1e-3, debiased: true };
    FederationPlan {
        proximal: 0.1,
        adaptivity: Adaptivity::Yogi(moment),
        aggregation: Aggregation::Mean,
        norm_bound: Some(3.0),
        weights: Weights::Public { cap: 7 },
        buffer: Some(Buffer { most_staleness: 2, exponent: 0.5 }),
        refresh: Some(MaskRefresh { every: 5, exploration: 0.1, decay: 0.9 }),
    }
}

fn with(federation: FederationPlan) -> TaskPlan {
    TaskPlan { federation, ..plan() }
}

#[test]
fn a_plan_of_the_first_version_is_read_and_written_as_it_was() {
    let json: TaskPlan = serde_json::from_str(include_str!("golden/plan-v1.json")).unwrap();
    assert_eq!(plan(), json);
    assert!(plan().federation.is_default());
    assert_eq!(encode(&plan()).unwrap(), golden());
    let text = serde_json::to_string_pretty(&plan()).unwrap();
    assert_eq!(text, include_str!("golden/plan-v1.json").trim());
}

#[test]
fn a_cut_or_longer_body_of_the_first_version_is_refused() {
    // What the reader adds never makes up for what is missing.
    for cut in 1..golden().len() {
        assert!(decode::<TaskPlan>(&golden()[..golden().len() - cut]).is_err(), "{cut}");
    }
    for more in 1..20 {
        assert!(decode::<TaskPlan>(&[golden(), vec![0; more]].concat()).is_err(), "{more}");
    }
}

#[test]
fn what_was_added_is_the_encoding_of_the_default() {
    let extended = encode(&with(full())).unwrap();
    assert_eq!((golden()[0], extended[0]), (VERSION, EXTENDED_VERSION));
    let plain = [&golden()[1..], TaskPlan::ADDED].concat();
    let mut bytes = vec![EXTENDED_VERSION];
    bytes.extend(plain);
    let error = decode::<TaskPlan>(&bytes).unwrap_err().to_string();
    assert!(error.contains("version 2 is not"), "read to its end, then refused: {error}");
}

#[test]
fn every_federation_plan_comes_back_in_bytes_and_in_json() {
    let rules = [
        Aggregation::Mean,
        Aggregation::Median,
        Aggregation::TrimmedMean { share: 0.25 },
        Aggregation::MultiKrum { hostile: 1, keep: 3 },
    ];
    let robust = rules.map(|aggregation| FederationPlan { aggregation, ..FederationPlan::DEFAULT });
    for federation in robust.into_iter().chain([full()]) {
        let plan = with(federation);
        assert_eq!(decode::<TaskPlan>(&encode(&plan).unwrap()).unwrap(), plan);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<TaskPlan>(&json).unwrap(), plan);
        let create =
            CreateTask { plan, parameters: vec![1.0, -2.5], settings: TaskSettings::default() };
        assert_eq!(decode::<CreateTask>(&encode(&create).unwrap()).unwrap(), create);
        let json = serde_json::to_string(&create).unwrap();
        assert_eq!(serde_json::from_str::<CreateTask>(&json).unwrap(), create);
    }
}

#[test]
fn a_task_creation_of_the_first_version_is_read_and_written_as_it_was() {
    // A plan's body, the number of parameters, and 1.0 as little-endian f32.
    let bytes = [&golden()[..], &[1, 0, 0, 128, 63]].concat();
    let create =
        CreateTask { plan: plan(), parameters: vec![1.0], settings: TaskSettings::default() };
    assert_eq!(decode::<CreateTask>(&bytes).unwrap(), create);
    assert_eq!(encode(&create).unwrap(), bytes);
}

#[test]
fn a_default_that_is_spelt_out_is_the_default() {
    let mut json: serde_json::Value =
        serde_json::from_str(include_str!("golden/plan-v1.json")).unwrap();
    json["federation"] = serde_json::json!({ "aggregation": "mean" });
    let spelt: TaskPlan = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(spelt.digest().unwrap(), plan().digest().unwrap());
    for unknown in [
        serde_json::json!({ "median": true }),
        serde_json::json!({ "aggregation": { "trimmed_mean": { "share": 0.1, "each": 1 } } }),
        serde_json::json!({ "buffer": { "most_staleness": 1, "exponent": 0.5, "rounds": 2 } }),
        serde_json::json!({ "adaptivity": { "adam": { "beta2": 0.9, "tau": 1e-3 } } }),
    ] {
        json["federation"] = unknown.clone();
        assert!(serde_json::from_value::<TaskPlan>(json.clone()).is_err(), "{unknown}");
    }
}

#[test]
fn a_message_without_additions_has_one_version() {
    let mut bytes = encode(&adafed_wire::Receipt { duplicate: true }).unwrap();
    bytes[0] = EXTENDED_VERSION;
    let error = decode::<adafed_wire::Receipt>(&bytes).unwrap_err().to_string();
    assert!(error.contains("version 2, expected 1"), "{error}");
}

/// Changes a plan of cohort 3, goal 2, at least 1 report; the refusal.
fn refused(change: impl FnOnce(&mut TaskPlan)) -> String {
    let mut plan = plan();
    change(&mut plan);
    plan.check().unwrap_err().to_string()
}

#[test]
fn what_a_federation_plan_needs_of_the_others_is_named() {
    assert!(plan().check().is_ok());
    let aggregation = |plan: &mut TaskPlan, rule| plan.federation.aggregation = rule;
    let krum = Aggregation::MultiKrum { hostile: 0, keep: 1 };
    assert!(refused(|p| aggregation(p, krum)).contains("multi-Krum"));
    let trimmed = Aggregation::TrimmedMean { share: 0.4 };
    assert!(refused(|p| aggregation(p, trimmed)).contains("trimmed"));
    assert!(refused(|p| p.federation.norm_bound = Some(0.5)).contains("norm bound"));
    let few = refused(|p| (p.federation.proximal, p.privacy.local_steps) = (0.1, 1));
    assert!(few.contains("local steps"), "{few}");
    let full = refused(|p| {
        p.federation.refresh = Some(MaskRefresh { every: 5, exploration: 0.1, decay: 0.9 });
        p.algorithm.retention = "1".parse().unwrap();
    });
    assert!(full.contains("retention"), "{full}");
    let large = refused(|p| {
        aggregation(p, Aggregation::Median);
        (p.rounds.cohort, p.rounds.report_goal) = (2_000_000, 2_000_000);
    });
    assert!(large.contains("report goal"), "{large}");
    let many = refused(|p| {
        aggregation(p, krum);
        (p.rounds.cohort, p.rounds.report_goal, p.rounds.least_reports) = (2_000, 2_000, 10);
    });
    assert!(many.contains("multi-Krum"), "{many}");
}

proptest! {
    #[test]
    fn damaged_plans_are_refused_or_read_but_never_have_two_encodings(
        at in 0_usize..1_000, byte in any::<u8>(), cut in 0_usize..60,
    ) {
        let mut bytes = encode(&with(full())).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(plan) = decode::<TaskPlan>(&bytes) {
            prop_assert_eq!(bytes[0] == EXTENDED_VERSION, !plan.federation.is_default());
        }
    }
}

#[test]
fn settings_of_a_new_task_come_back_as_they_were() {
    for settings in [
        TaskSettings::default(),
        TaskSettings { grace_ms: 9, device_epsilon_cap: Some(2.5), ..TaskSettings::default() },
    ] {
        let create = CreateTask { plan: plan(), parameters: vec![1.0], settings };
        assert_eq!(decode::<CreateTask>(&encode(&create).unwrap()).unwrap(), create);
        let json = serde_json::to_string(&create).unwrap();
        assert_eq!(serde_json::from_str::<CreateTask>(&json).unwrap(), create);
    }
}
