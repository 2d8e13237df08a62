//! Laws of the ledger and the policy: what a server or a crash may not achieve.

#![allow(clippy::unwrap_used)]

mod common;

use adafed_privacy::{Error, Ledger, NoiseMultiplier, PrivacyPlan};
use common::{MemoryStore, plan, policy};

fn opened(store: &MemoryStore) -> Ledger<MemoryStore> {
    Ledger::open(store.clone(), policy()).unwrap()
}

fn accepted(store: &MemoryStore) -> Ledger<MemoryStore> {
    let mut ledger = opened(store);
    ledger.accept("t", "d", &plan()).unwrap();
    ledger
}

#[test]
fn a_charge_survives_reopening_and_is_not_repeated() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    ledger.charge("t", 3).unwrap();
    drop(ledger);
    let mut ledger = opened(&store);
    assert_eq!(ledger.composition("t").events()[0].count, 2);
    ledger.charge("t", 3).unwrap();
    assert_eq!(ledger.composition("t").events()[0].count, 2);
}

#[test]
fn a_released_round_gets_no_second_permit() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    let permit = ledger.charge("t", 0).unwrap();
    let twin = ledger.charge("t", 0).unwrap();
    ledger.record_release(permit, "aa").unwrap();
    let error = ledger.record_release(twin, "bb").unwrap_err();
    assert!(matches!(error, Error::AlreadyReleased { round: 0, .. }), "{error}");
    assert!(matches!(opened(&store).charge("t", 0), Err(Error::AlreadyReleased { .. })));
    assert_eq!(opened(&store).released("t", 0), Some("aa"));
}

#[test]
fn a_plan_beyond_the_policy_is_refused_and_leaves_no_trace() {
    let store = MemoryStore::default();
    let weak = |sigma: f64| PrivacyPlan {
        main: adafed_privacy::PrivacyPhase {
            rounds: 1_000,
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
        },
        ..plan()
    };
    for (plan, what) in [(weak(0.6), "epsilon"), (weak(0.4), "noise multiplier")] {
        let error = opened(&store).accept("t", "d", &plan).unwrap_err();
        assert!(
            matches!(error, Error::Policy { .. }) && error.to_string().contains(what),
            "{error}"
        );
    }
    assert!(store.text.borrow().is_empty());
}

#[test]
fn a_task_not_on_the_list_is_refused() {
    let policy = adafed_privacy::Policy { tasks: Some(vec!["other".into()]), ..policy() };
    let mut ledger = Ledger::open(MemoryStore::default(), policy).unwrap();
    assert!(matches!(ledger.accept("t", "d", &plan()), Err(Error::Policy { .. })));
}

#[test]
fn the_cap_counts_all_tasks_together() {
    let store = MemoryStore::default();
    let mut ledger = opened(&store);
    let mut joined = 0;
    while joined < 1_000 && ledger.accept(&format!("t{joined}"), "d", &plan()).is_ok() {
        joined += 1;
    }
    assert!((1..1_000).contains(&joined), "the cap never bit: {joined} tasks");
}

#[test]
fn a_task_cannot_change_its_plan() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    assert!(matches!(ledger.accept("t", "e", &plan()), Err(Error::PlanChanged { .. })));
    ledger.accept("t", "d", &plan()).unwrap();
}

#[test]
fn rounds_outside_the_plan_cannot_be_charged() {
    let mut ledger = accepted(&MemoryStore::default());
    assert!(matches!(ledger.charge("t", 25), Err(Error::NotCharged { .. })));
    assert!(matches!(ledger.charge("u", 0), Err(Error::NotCharged { .. })));
}

#[test]
fn a_failed_write_gives_no_permit_and_no_charge() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    *store.full.borrow_mut() = true;
    let error = ledger.charge("t", 0).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(ledger.composition("t").is_empty());
}

#[test]
fn a_torn_last_line_is_dropped_and_the_ledger_goes_on() {
    let store = MemoryStore::default();
    accepted(&store).charge("t", 0).unwrap();
    let whole = store.text.borrow().len();
    store.text.borrow_mut().push_str("{\"previous\":\"ab");
    let mut ledger = opened(&store);
    assert_eq!(store.text.borrow().len(), whole);
    ledger.charge("t", 1).unwrap();
    assert_eq!(opened(&store).charged_rounds("t").collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_edited_or_removed_record_is_noticed() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    (0..3).for_each(|round| drop(ledger.charge("t", round).unwrap()));
    let text = store.text.borrow().clone();
    let edited = text.replace("\"round\":1", "\"round\":9");
    let without_second: String =
        text.lines().enumerate().filter(|(i, _)| *i != 1).map(|(_, l)| format!("{l}\n")).collect();
    for damaged in [edited, without_second] {
        *store.text.borrow_mut() = damaged;
        let error = Ledger::open(store.clone(), policy()).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
