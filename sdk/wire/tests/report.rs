//! Signed privacy reports: whatever is changed in one, with or without a new signature,
//! is found and named.
#![allow(clippy::unwrap_used)]

use adafed_algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, SgdSettings, TensorLayout,
};
use adafed_privacy::report::{PrivacyReport, Source};
use adafed_privacy::{
    Adjacency, EphemeralStore, Ledger, Policy, PrivacyPhase, PrivacyPlan, ResolutionBits,
    TrustModel,
};
use adafed_wire::{DeviceKey, Error, RoundPlan, SignedReport, TaskPlan};
use serde_json::Value;

fn privacy() -> PrivacyPlan {
    let phase =
        |rounds, sigma: &str| PrivacyPhase { rounds, noise_multiplier: sigma.parse().unwrap() };
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: "0.05".parse().unwrap(),
        nominal_examples: 600,
        clip: "0.5".parse().unwrap(),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: "0.00001".parse().unwrap(),
        local_steps: 2,
        warmup: phase(5, "1.5"),
        main: phase(20, "1.1"),
    }
}

fn plan() -> TaskPlan {
    TaskPlan {
        task: "digits".parse().unwrap(),
        model: "{\"input\":[3]}".into(),
        layout: Layout {
            tensors: vec![TensorLayout { name: "0.weight".into(), shape: vec![10, 3] }],
        },
        privacy: privacy(),
        algorithm: AlgorithmPlan {
            importance: ImportanceRule::Debiased,
            random_seed: 7,
            retention: "0.3:0.9:linear".parse().unwrap(),
            scale: "minimal:row".parse().unwrap(),
            optimizer: SgdSettings { learning_rate: 0.3, final_share: 0.7, momentum: 0.5 },
            local_learning_rate: 0.3,
        },
        rounds: RoundPlan {
            cohort: 4,
            report_goal: 3,
            least_reports: 2,
            deadline_ms: 600_000,
            retry_after_ms: 10,
        },
        federation: FederationPlan::default(),
    }
}

fn key() -> DeviceKey {
    DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap()
}

fn signed_by(key: &DeviceKey) -> SignedReport {
    let policy = Policy::new("8".parse().unwrap(), "0.00001".parse().unwrap()).unwrap();
    let plan = plan();
    let mut ledger = Ledger::open(EphemeralStore::default(), policy).unwrap();
    ledger.accept("digits", &plan.digest().unwrap().to_string(), &plan.privacy).unwrap();
    (0..9).for_each(|round| drop(ledger.charge("digits", round).unwrap()));
    let report = PrivacyReport::new(&ledger, |_| Some(plan.sources()));
    SignedReport::sign(report, vec![plan], key).unwrap()
}

fn signed() -> SignedReport {
    signed_by(&key())
}

fn resigned(report: SignedReport) -> SignedReport {
    SignedReport::sign(report.report, report.plans, &key()).unwrap()
}

/// Paths of a document's leaves, as JSON pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

fn paths(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    leaves(value, "", &mut found);
    found
}

/// `/report/tasks/0/spent` as `report.tasks[0].spent`.
fn field(pointer: &str) -> String {
    pointer[1..].split('/').fold(String::new(), |mut field, part| {
        match part.parse::<usize>() {
            Ok(index) => field += &format!("[{index}]"),
            Err(_) if field.is_empty() => field += part,
            Err(_) => field += &format!(".{part}"),
        }
        field
    })
}

fn changed_number(value: &Value) -> Option<Value> {
    match (value.as_u64(), value.as_f64()) {
        (Some(n), _) => Some((n + 1).into()),
        (None, Some(x)) => Some((x * (1.0 + 1e-7)).into()),
        _ => None,
    }
}

#[test]
fn an_honest_report_is_true_however_it_is_laid_out() {
    let report = signed();
    assert!(report.check().is_true(), "{:?}", report.check());
    let pretty = report.to_json().unwrap();
    assert!(pretty.ends_with("}\n") && pretty.contains("\n  \"report\""));
    let value: Value = serde_json::from_str(&pretty).unwrap();
    for text in [pretty.clone(), value.to_string(), pretty.replace("0.5,", "0.500,")] {
        let back = SignedReport::from_json(&text).unwrap();
        assert_eq!(back, report);
        assert!(back.check().is_true());
    }
}

#[test]
fn every_changed_number_is_named_though_it_was_signed_again() {
    let json = serde_json::to_value(signed()).unwrap();
    let mut numbers = 0;
    for path in paths(&json) {
        let Some(other) = changed_number(json.pointer(&path).unwrap()) else { continue };
        numbers += 1;
        let mut changed = json.clone();
        *changed.pointer_mut(&path).unwrap() = other;
        let Ok(report) = SignedReport::from_json(&changed.to_string()) else {
            assert_eq!(path, "/report/format");
            continue;
        };
        let check = resigned(report).check();
        assert!(check.signature && !check.is_true(), "{path}");
        let path = field(&path);
        let names = |d: &str| {
            path.starts_with(d)
                || (path.starts_with("report.policy.") && d == "report.policy_digest")
        };
        assert!(check.differences().any(|d| names(&d.field)), "{path}: {check:?}");
    }
    assert!(numbers > 60, "{numbers}");
}

#[test]
fn whatever_is_changed_without_the_key_breaks_the_signature() {
    let json = serde_json::to_value(signed()).unwrap();
    for path in paths(&json) {
        let mut changed = json.clone();
        let leaf = changed.pointer_mut(&path).unwrap();
        *leaf = match (changed_number(leaf), leaf.as_str()) {
            (Some(number), _) => number,
            (None, Some(text)) => format!("{text} ").into(),
            _ => continue,
        };
        match SignedReport::from_json(&changed.to_string()) {
            Ok(report) => assert!(!report.check().signature, "{path}"),
            Err(e) => assert_eq!(e.code(), "wire/malformed", "{path}"),
        }
    }
}

#[test]
fn another_devices_key_or_name_does_not_pass() {
    let (honest, other) = (signed(), signed());
    let mut taken = honest.clone();
    (taken.device, taken.public_key) = (other.device, other.public_key);
    assert!(!taken.check().signature);
    let mut renamed = resigned(honest.clone());
    renamed.device = honest.device;
    let check = renamed.check();
    assert!(!check.signature);
    assert_eq!((check.device.len(), check.device[0].field.as_str()), (1, "device"));
}

#[test]
fn plans_that_are_missing_idle_or_unusable_are_named() {
    let report = signed();
    let with = |plans: Vec<TaskPlan>| {
        let changed = SignedReport { plans, ..report.clone() };
        let check = resigned(changed).check();
        assert!(!check.is_true());
        check.plans.iter().map(|d| d.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with(vec![]), ["report.tasks[0].plan_digest"]);
    let mut idle = plan();
    idle.task = "other".parse().unwrap();
    assert_eq!(with(vec![plan(), idle]), ["plans[1]"]);
    let mut huge = plan();
    huge.layout.tensors[0].shape = vec![usize::MAX, usize::MAX];
    assert_eq!(with(vec![huge]), ["plans[0]"]);
    let mut random = plan();
    random.algorithm.importance = ImportanceRule::Random;
    assert!(with(vec![random]).contains(&"report.tasks[0].sources.mask".to_owned()));
}

#[test]
fn sources_follow_from_the_plan() {
    let mut plan = plan();
    assert_eq!((plan.sources().mask, plan.sources().scale), (Source::Released, Source::Released));
    plan.algorithm.importance = ImportanceRule::Random;
    plan.algorithm.scale = "none".parse().unwrap();
    assert_eq!((plan.sources().mask, plan.sources().scale), (Source::Public, Source::Unused));
    plan.algorithm.scale.centre = true;
    plan.algorithm.retention = "1".parse().unwrap();
    assert_eq!((plan.sources().mask, plan.sources().scale), (Source::Unused, Source::Released));
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    let json = serde_json::to_value(signed()).unwrap();
    for path in paths(&json) {
        let mut changed = json.clone();
        let object = changed.pointer_mut(path.rsplit_once('/').unwrap().0).unwrap();
        if let Some(object) = object.as_object_mut() {
            object.insert("shuffled".into(), true.into());
            let error = SignedReport::from_json(&changed.to_string()).unwrap_err();
            assert!(error.to_string().contains("shuffled"), "{path}: {error}");
        }
    }
}

#[test]
fn a_file_cut_short_is_malformed() {
    let text = signed().to_json().unwrap();
    for end in (0..text.len() - 2).step_by(97).filter(|&end| text.is_char_boundary(end)) {
        let error = SignedReport::from_json(&text[..end]).unwrap_err();
        assert!(matches!(error, Error::Malformed { what: "privacy report", .. }), "{end}: {error}");
    }
    assert!(SignedReport::from_json(&(text + "{}")).is_err());
}
