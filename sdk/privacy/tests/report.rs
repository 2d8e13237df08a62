//! The privacy report: what it says of a ledger, and that nothing in it can be changed
//! without a difference at that place.
#![allow(clippy::unwrap_used)]

mod common;

use adafed_privacy::report::{Bound, Difference, PrivacyReport, Source, Sources};
use adafed_privacy::{Event, Ledger, NoiseMultiplier, PrivacyPlan, accounting};
use common::{MemoryStore, plan, policy};
use serde_json::{Value, json};

const SOURCES: Sources = Sources { mask: Source::Released, scale: Source::Unused };

fn ledger(tasks: &[(&str, PrivacyPlan, u64)]) -> Ledger<MemoryStore> {
    let mut policy = policy();
    policy.epsilon_cap = "1e9".parse().unwrap();
    policy.least_noise_multiplier = "1e-6".parse().unwrap();
    let mut ledger = Ledger::open(MemoryStore::default(), policy).unwrap();
    for (task, plan, rounds) in tasks {
        ledger.accept(task, &format!("digest-of-{task}"), plan).unwrap();
        (0..*rounds).for_each(|round| drop(ledger.charge(task, round).unwrap()));
    }
    ledger
}

fn report(tasks: &[(&str, PrivacyPlan, u64)]) -> PrivacyReport {
    PrivacyReport::new(&ledger(tasks), |_| Some(SOURCES))
}

/// A warm-up with noise of its own, so that a report has two kinds of events.
fn two_phases() -> PrivacyPlan {
    let mut plan = plan();
    plan.warmup.noise_multiplier = NoiseMultiplier::new(1.5).unwrap();
    plan
}

fn fields(differences: &[Difference]) -> Vec<&str> {
    differences.iter().map(|d| d.field.as_str()).collect()
}

#[test]
fn a_report_says_what_the_ledger_holds() {
    let ledger = ledger(&[("digits", two_phases(), 9)]);
    let report = PrivacyReport::new(&ledger, |_| Some(SOURCES));
    assert_eq!(report.check(), []);
    let task = &report.tasks[0];
    assert_eq!((task.rounds_charged.warmup, task.rounds_charged.main), (5, 4));
    assert_eq!(task.steps_charged, 18);
    assert_eq!(task.events, ledger.composition("digits").events());
    let (events, delta) = (ledger.composition("digits"), task.plan.delta);
    let bound = accounting::epsilon(&events, delta);
    assert_eq!(task.spent.epsilon.value(), bound.epsilon);
    assert_eq!(task.spent.accountant, bound.accountant);
    assert_eq!(task.spent.rdp.value(), accounting::rdp_epsilon(&events, delta));
    assert_eq!(task.spent.pld.value(), accounting::pld_epsilon(&events, delta));
    assert!(task.spent.sampler_charge.value() > 0.0);
    assert_eq!(report.committed.epsilon.value(), task.plan.epsilon().epsilon);
    assert_eq!(report.ledger_head, ledger.head());
    assert!(report.within_cap && report.spent.epsilon < report.committed.epsilon);
}

#[test]
fn reports_of_no_task_and_of_no_charge_are_true() {
    for report in [report(&[]), report(&[("digits", plan(), 0)])] {
        assert_eq!(report.check(), []);
        assert_eq!(report.spent.epsilon.value(), 0.0);
    }
}

#[test]
fn several_tasks_are_bounded_by_renyi_divergences() {
    let report = report(&[("a", plan(), 25), ("b", two_phases(), 25)]);
    assert_eq!(report.check(), []);
    assert_eq!(report.tasks[0].spent.accountant, accounting::Accountant::Pld);
    assert_eq!(report.spent.accountant, accounting::Accountant::Rdp);
    assert!(report.spent.pld < report.spent.epsilon);
}

#[test]
fn a_report_that_follows_another_is_the_same_as_a_new_one() {
    let mut ledger = ledger(&[("a", plan(), 7)]);
    let earlier = PrivacyReport::new(&ledger, |_| Some(SOURCES));
    ledger.charge("a", 7).map(drop).unwrap();
    let fresh = PrivacyReport::new(&ledger, |_| Some(SOURCES));
    assert_eq!(PrivacyReport::following(Some(&earlier), &ledger, |_| Some(SOURCES)), fresh);
    ledger.accept("b", "digest-of-b", &two_phases()).unwrap();
    let fresh = PrivacyReport::new(&ledger, |_| Some(SOURCES));
    assert_eq!(PrivacyReport::following(Some(&earlier), &ledger, |_| Some(SOURCES)), fresh);
    assert_ne!(fresh.committed, earlier.committed);
}

#[test]
fn a_report_comes_back_from_json_to_the_bit() {
    let report = report(&[("a", plan(), 7), ("b", two_phases(), 25)]);
    let text = serde_json::to_string_pretty(&report).unwrap();
    let back: PrivacyReport = serde_json::from_str(&text).unwrap();
    assert_eq!(back, report);
    assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&report).unwrap());
}

#[test]
fn infinity_survives_json_and_no_other_text_does() {
    let mut loud = plan();
    let sigma = NoiseMultiplier::new(1e-3).unwrap();
    loud.warmup.noise_multiplier = sigma;
    loud.main.noise_multiplier = sigma;
    let mut ledger = ledger(&[]);
    // Beyond any cap, so the plan is put into a report that had another one.
    ledger.accept("a", "digest", &plan()).unwrap();
    ledger.charge("a", 0).map(drop).unwrap();
    let mut json = serde_json::to_value(PrivacyReport::new(&ledger, |_| None)).unwrap();
    json["tasks"][0]["plan"] = serde_json::to_value(loud).unwrap();
    json["tasks"][0]["events"][0]["mechanism"]["poisson_gaussian"]["noise_multiplier"] =
        1e-3.into();
    let differences = serde_json::from_value::<PrivacyReport>(json.clone()).unwrap().check();
    let epsilon = differences.iter().find(|d| d.field == "tasks[0].spent.epsilon").unwrap();
    assert_eq!(epsilon.recomputed, "infinity");
    json["tasks"][0]["spent"]["epsilon"] = "infinity".into();
    let back: PrivacyReport = serde_json::from_value(json).unwrap();
    assert_eq!(back.tasks[0].spent.epsilon.value(), f64::INFINITY);
    assert!(!fields(&back.check()).contains(&"tasks[0].spent.epsilon"));
    for bad in [json!("inf"), json!(-1.0), json!(null), json!("1")] {
        assert!(serde_json::from_value::<Bound>(bad.clone()).is_err(), "{bad}");
    }
    assert!(Bound::new(f64::NAN).is_none());
}

#[test]
fn another_format_is_refused_by_name() {
    let mut json = serde_json::to_value(report(&[])).unwrap();
    json["format"] = 2.into();
    let error = serde_json::from_value::<PrivacyReport>(json).unwrap_err().to_string();
    assert!(error.contains("format of the privacy report is 2"), "{error}");
}

/// Every leaf of a document with its path.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    let json = serde_json::to_value(report(&[("a", plan(), 7)])).unwrap();
    let mut paths = Vec::new();
    leaves(&json, "", &mut paths);
    for path in paths {
        let object = path.rsplit_once('/').unwrap().0;
        let mut changed = json.clone();
        if let Some(object) = changed.pointer_mut(object).and_then(Value::as_object_mut) {
            object.insert("shuffled".into(), true.into());
            assert!(serde_json::from_value::<PrivacyReport>(changed).is_err(), "{path}");
        }
    }
}

/// What a change of the leaf must be called: its path, or the figure that follows from it.
fn names(path: &str) -> Vec<String> {
    let dotted = path[1..].replace("/0/", "[0].").replace("/1/", "[1].").replace('/', ".");
    let mut names = vec![dotted.clone()];
    if dotted.starts_with("policy.") {
        names.push("policy_digest".into());
    }
    if dotted.contains("rounds_charged") || dotted.contains("events") {
        names.push("tasks[0].rounds_charged".into());
        names.push("tasks[0].events[0].mechanism".into());
    }
    if dotted.contains(".plan.") {
        // A plan says what a round is charged; clip, nominal size and resolution do not
        // enter and are guarded by the digest of the plan.
        names.extend(["tasks[0].spent.delta", "tasks[0].rounds_charged"].map(str::to_owned));
        names.extend(
            (0..2).map(|i| {
                format!("tasks[0].events[{i}].mechanism.poisson_gaussian.noise_multiplier")
            }),
        );
        names.push("tasks[0].events[0].mechanism.poisson_gaussian.rate".into());
        names.push("tasks[0].events[0].count".into());
        names.push("committed.epsilon".into());
    }
    names
}

#[test]
fn every_changed_number_is_found_by_name() {
    let json = serde_json::to_value(report(&[("a", two_phases(), 9)])).unwrap();
    let mut paths = Vec::new();
    leaves(&json, "", &mut paths);
    let not_charged = ["clip", "nominal_examples", "resolution_bits"];
    let mut changed_numbers = 0;
    for path in paths.iter().filter(|p| !not_charged.iter().any(|n| p.ends_with(n))) {
        let mut changed = json.clone();
        let leaf = changed.pointer_mut(path).unwrap();
        *leaf = match (leaf.as_u64(), leaf.as_f64()) {
            (Some(n), _) => (n + 1).into(),
            (None, Some(x)) => (x * (1.0 + 1e-7)).into(),
            _ => continue,
        };
        changed_numbers += 1;
        let Ok(report) = serde_json::from_value::<PrivacyReport>(changed) else {
            assert_eq!(path, "/format");
            continue;
        };
        let (found, names) = (report.check(), names(path));
        let named = found.iter().any(|d| names.contains(&d.field));
        assert!(named, "{path}: {:?}", fields(&found));
    }
    assert!(changed_numbers > 30, "{changed_numbers}");
}

#[test]
fn a_change_below_the_tolerance_is_none() {
    let mut json = serde_json::to_value(report(&[("a", plan(), 9)])).unwrap();
    let x = json["spent"]["rdp"].as_f64().unwrap();
    json["spent"]["rdp"] = (x * (1.0 + 1e-12)).into();
    assert_eq!(serde_json::from_value::<PrivacyReport>(json).unwrap().check(), []);
}

#[test]
fn changed_words_and_sides_are_found() {
    let report = report(&[("a", plan(), 9)]);
    let mut changed = report.clone();
    changed.not_covered.pop();
    assert_eq!(fields(&changed.check()), ["not_covered"]);
    let mut changed = report.clone();
    changed.noise.sampler = "Box-Muller".into();
    assert_eq!(fields(&changed.check()), ["noise.sampler"]);
    let mut changed = report.clone();
    changed.within_cap = false;
    assert_eq!(fields(&changed.check()), ["within_cap"]);
    let mut changed = report;
    changed.spent.accountant = accounting::Accountant::Rdp;
    assert_eq!(fields(&changed.check()), ["spent.accountant"]);
}

#[test]
fn absurd_reports_are_answered_in_time() {
    let json = serde_json::to_value(report(&[("a", plan(), 9)])).unwrap();
    let counts = [1, u64::MAX];
    for (sigma, rate) in [(0.0, 1.0), (1e-300, 0.5), (1e300, 1e-300), (0.3, 1e-9)] {
        for count in counts {
            let mut changed = json.clone();
            let event = &mut changed["tasks"][0]["events"][0];
            event["count"] = count.into();
            event["mechanism"] =
                json!({"poisson_gaussian": {"rate": rate, "noise_multiplier": sigma}});
            changed["tasks"][0]["plan"]["local_steps"] = 0.into();
            let found = serde_json::from_value::<PrivacyReport>(changed).unwrap().check();
            assert!(fields(&found).contains(&"tasks[0].plan"));
        }
    }
}

#[test]
fn events_that_no_plan_charges_are_not_composed() {
    let mut changed = report(&[("a", plan(), 9)]);
    let honest = changed.tasks[0].events[0];
    changed.tasks[0].events = (1..=100_u64).map(|count| Event { count, ..honest }).collect();
    let found = changed.check();
    assert!(fields(&found).contains(&"tasks[0].events"));
    // The figures are those of the plan's own events.
    assert!(!fields(&found).contains(&"spent.epsilon"));
}
