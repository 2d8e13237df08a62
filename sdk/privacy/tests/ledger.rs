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
    let steps = PrivacyPlan { local_steps: 20_000, ..plan() };
    for (plan, what) in
        [(weak(0.6), "epsilon"), (weak(0.4), "noise multiplier"), (steps, "local steps")]
    {
        let error = opened(&store).accept("t", "d", &plan).unwrap_err();
        let kind = matches!(error, Error::Policy { .. } | Error::Budget { .. });
        assert!(kind && error.to_string().contains(what), "{error}");
    }
    assert_eq!(store.text.borrow().lines().count(), 1);
}

#[test]
fn a_refusal_says_what_was_asked_what_is_left_and_what_would_fit() {
    let (store, sigma) = (MemoryStore::default(), plan().main.noise_multiplier);
    let mut ledger = accepted(&store);
    let long = PrivacyPlan {
        main: adafed_privacy::PrivacyPhase { rounds: 5_000, noise_multiplier: sigma },
        ..plan()
    };
    let error = ledger.accept("u", "d", &long).unwrap_err();
    let Error::Budget { asked, spent, total, cap, noise_multiplier, rounds, .. } = error.clone()
    else {
        panic!("{error}")
    };
    assert!(asked > 8.0 && spent > 0.0 && total > asked.max(spent) && cap == 8.0, "{error}");
    // What it says would fit does, and a little less does not.
    let with = |rounds: u64, factor: f64| {
        let sigma = NoiseMultiplier::new(noise_multiplier.unwrap() * factor).unwrap();
        let phase = |rounds| adafed_privacy::PrivacyPhase { rounds, noise_multiplier: sigma };
        PrivacyPlan { warmup: phase(5), main: phase(rounds), ..plan() }
    };
    assert!(ledger.accept("u", "d", &with(5_000, 0.99)).is_err());
    let cut = |rounds: u64| PrivacyPlan {
        main: adafed_privacy::PrivacyPhase { rounds: rounds - 5, noise_multiplier: sigma },
        ..plan()
    };
    assert!(ledger.accept("u", "d", &cut(rounds + 1)).is_err());
    let mut twin = accepted(&MemoryStore::default());
    twin.accept("u", "d", &cut(rounds)).unwrap();
    ledger.accept("u", "d", &with(5_000, 1.0)).unwrap();
    assert!(ledger.committed_epsilon() <= 8.0 && ledger.committed_epsilon() > 7.9);
    // Nothing more fits, and that is said too.
    let error = ledger.accept("v", "d", &plan()).unwrap_err().to_string();
    assert!(error.contains("owner"), "{error}");
}

#[test]
fn the_filter_admits_tasks_in_any_order_up_to_the_same_total() {
    let (store, mut ledger) = (MemoryStore::default(), opened(&MemoryStore::default()));
    let mut names = 0;
    while ledger.accept(&format!("t{names}"), "d", &plan()).is_ok() {
        names += 1;
    }
    // The committed total stands where the cap is held against it.
    assert!(ledger.committed_epsilon() <= 8.0, "{}", ledger.committed_epsilon());
    let mut reversed = opened(&store);
    for name in (0..names).rev() {
        reversed.accept(&format!("t{name}"), "d", &plan()).unwrap();
    }
    assert!(reversed.accept("one more", "d", &plan()).is_err());
    assert_eq!(reversed.committed_epsilon().to_bits(), ledger.committed_epsilon().to_bits());
}

#[test]
fn too_few_examples_are_refused() {
    let policy = adafed_privacy::Policy { least_examples: 50, ..policy() };
    let error = policy.admit_examples(49).unwrap_err().to_string();
    assert!(error.contains("49") && error.contains("50"), "{error}");
    policy.admit_examples(50).unwrap();
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
fn a_damaged_last_line_is_dropped_only_if_nobody_was_told_of_it() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    *store.counters_left.borrow_mut() = Some(0);
    assert!(ledger.charge("t", 0).is_err());
    *store.counters_left.borrow_mut() = None;
    // The record is whole on disk or not; no counter names it, and there was no permit.
    let whole = store.text.borrow().clone();
    *store.text.borrow_mut() = whole.replace("\"round\":0", "\"round\":7");
    assert!(opened(&store).charged_rounds("t").next().is_none());
    *store.text.borrow_mut() = whole;
    assert_eq!(opened(&store).charged_rounds("t").collect::<Vec<_>>(), [0]);
    // Now it is acknowledged.
    let damaged = store.text.borrow().replace("\"round\":0", "\"round\":7");
    *store.text.borrow_mut() = damaged;
    assert!(Ledger::open(store.clone(), policy()).is_err());
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

#[test]
fn every_flipped_byte_is_noticed() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    let permit = ledger.charge("t", 0).unwrap();
    ledger.record_release(permit, "aa").unwrap();
    let text = store.text.borrow().clone();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        // Stays text: a store of text cannot return anything else.
        bytes[at] ^= 1;
        *store.text.borrow_mut() = String::from_utf8(bytes).unwrap();
        assert!(Ledger::open(store.clone(), policy()).is_err(), "byte {at}");
    }
}

#[test]
fn records_that_were_cut_off_are_noticed_wherever_the_cut_is() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    (0..3).for_each(|round| drop(ledger.charge("t", round).unwrap()));
    let text = store.text.borrow().clone();
    for keep in 0..text.len() {
        *store.text.borrow_mut() = text[..keep].to_owned();
        let error = Ledger::open(store.clone(), policy()).unwrap_err().to_string();
        assert!(error.contains("record"), "{keep}: {error}");
    }
}

#[test]
fn an_older_copy_put_back_is_noticed() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    let older = store.text.borrow().clone();
    let permit = ledger.charge("t", 0).unwrap();
    ledger.record_release(permit, "aa").unwrap();
    *store.text.borrow_mut() = older.clone();
    let error = Ledger::open(store.clone(), policy()).unwrap_err().to_string();
    assert!(error.contains("older copy"), "{error}");
    // Nor may a copy go its own way and catch up.
    let copy = MemoryStore { text: std::rc::Rc::new(older.into()), ..MemoryStore::default() };
    *copy.counter.borrow_mut() = None;
    assert!(Ledger::open(copy.clone(), policy()).is_err(), "a counter was removed");
}

#[test]
fn a_copy_that_went_its_own_way_is_noticed() {
    let (here, there) = (MemoryStore::default(), MemoryStore::default());
    let (mut one, mut other) = (accepted(&here), accepted(&there));
    drop(one.charge("t", 0).unwrap());
    drop(other.charge("t", 7).unwrap());
    *here.text.borrow_mut() = there.text.borrow().clone();
    let error = Ledger::open(here.clone(), policy()).unwrap_err().to_string();
    assert!(error.contains("another ledger"), "{error}");
}

#[test]
fn a_counter_that_could_not_be_kept_gives_no_permit_but_keeps_the_charge() {
    let store = MemoryStore::default();
    let mut ledger = accepted(&store);
    *store.counters_left.borrow_mut() = Some(0);
    assert!(ledger.charge("t", 0).is_err());
    assert!(ledger.charge("t", 0).is_err(), "still no permit");
    assert!(ledger.charge("t", 1).is_err());
    assert_eq!(ledger.charged_rounds("t").collect::<Vec<_>>(), [0]);
    // A crash here is one record ahead of the counter, which is mended.
    *store.counters_left.borrow_mut() = None;
    assert_eq!(opened(&store).charged_rounds("t").collect::<Vec<_>>(), [0]);
    ledger.charge("t", 0).unwrap();
    ledger.charge("t", 1).unwrap();
    assert_eq!(opened(&store).charged_rounds("t").collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_ledger_of_a_newer_format_is_left_alone() {
    let store = MemoryStore::default();
    drop(opened(&store));
    let newer = r#"{"kind":"opened","format":2}"#;
    let hash = ring::digest::digest(&ring::digest::SHA256, format!("\n{newer}").as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    *store.text.borrow_mut() =
        format!("{{\"previous\":\"\",\"hash\":\"{hash}\",\"record\":{newer}}}\n");
    *store.counter.borrow_mut() = None;
    let error = Ledger::open(store.clone(), policy()).unwrap_err().to_string();
    assert!(error.contains("format 2") && !error.contains("damaged"), "{error}");
}
