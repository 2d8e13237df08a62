//! What a hostile server, file or number may not achieve.

#![allow(clippy::unwrap_used)]

mod common;

use adafed_privacy::accounting::{RdpAccountant, pld};
use adafed_privacy::{
    Adjacency, Composition, Delta, Epsilon, Error, Event, Ledger, NoiseMultiplier, Policy,
    PrivacyPhase, PrivacyPlan, SamplingRate,
};
use common::{MemoryStore, plan, policy};
use ring::digest::{SHA256, digest};

fn event(rate: f64, sigma: f64, count: u64) -> Event {
    let rate = SamplingRate::new(rate).unwrap();
    Event::poisson_gaussian(Adjacency::AddRemove, rate, NoiseMultiplier::new(sigma).unwrap(), count)
}

/// The backward loss is all but constant (width 1e-18, n times 3e-9), and the tilt 6e17: grid
/// indices pass 2^63.
#[test]
fn grid_indices_beyond_exact_integers_are_no_panic_and_no_bound() {
    let all: Composition =
        [event(3.291_269_315_350_196e-9, 0.012_584_001_663_447_506, 2742)].into_iter().collect();
    assert!(pld::epsilon(&all, Delta::new(9.999_988_280_590_155e-6).unwrap()) >= 0.0);
}

/// At a rate whose inverse overflows the closed bound is inf * 0.
#[test]
fn a_divergence_that_is_no_number_is_not_taken_for_none() {
    let mut rdp = RdpAccountant::new();
    rdp.compose(&event(1e-309, 0.01, 1));
    assert!(rdp.rdp().iter().all(|&r| r > 1.0), "{:?}", rdp.rdp());
}

/// Total variation of one step, q (2 Phi(1/sigma) - 1) at sigma = 0.8, within 1e-9; losses are
/// as small as q.
#[test]
fn a_replacement_at_a_tiny_rate_is_not_underrated() {
    for rate in [1e-16, 1e-30, 2e-69] {
        let step = Event { adjacency: Adjacency::ReplaceOne, ..event(rate, 0.8, 1) };
        let all: Composition = [step].into_iter().collect();
        let delta = pld::delta(&all, Epsilon::new(0.0).unwrap());
        assert!(delta >= rate * 0.788_700_452, "{rate}: {delta}");
    }
}

/// An owner who takes a task off the list, or asks for more noise, expects releases to stop.
#[test]
fn a_tighter_policy_also_stops_tasks_accepted_before() {
    let store = MemoryStore::default();
    Ledger::open(store.clone(), policy()).unwrap().accept("t", "d", &plan()).unwrap();
    let tight =
        Policy { tasks: Some(Vec::new()), epsilon_cap: Epsilon::new(0.1).unwrap(), ..policy() };
    let mut ledger = Ledger::open(store, tight).unwrap();
    assert!(ledger.accept("t", "d", &plan()).is_err() || ledger.charge("t", 0).is_err());
}

/// A policy read from a file goes past the checks of `Policy::new`.
#[test]
fn a_policy_whose_delta_allows_everything_is_refused() {
    let mut json = serde_json::to_value(policy()).unwrap();
    json["delta"] = 1.0.into();
    assert!(serde_json::from_value::<Policy>(json).is_err());
}

fn chained(records: &[serde_json::Value]) -> (String, adafed_privacy::Counter) {
    let (mut text, mut last) = (String::new(), String::new());
    for record in records {
        let typed: adafed_privacy::Record = serde_json::from_value(record.clone()).unwrap();
        let body = serde_json::to_string(&typed).unwrap();
        let hash = hex::encode(digest(&SHA256, format!("{last}\n{body}").as_bytes()));
        text += &format!("{{\"previous\":\"{last}\",\"hash\":\"{hash}\",\"record\":{body}}}\n");
        last = hash;
    }
    (text, adafed_privacy::Counter { records: records.len() as u64, last })
}

/// A second acceptance in the file drops what was charged and released before it.
#[test]
fn records_that_no_ledger_writes_are_damage() {
    let plan = serde_json::to_value(plan()).unwrap();
    let event = serde_json::to_value(common::plan().round_event(0)).unwrap();
    let opened = serde_json::json!({"kind": "opened", "format": 1});
    let accepted =
        serde_json::json!({"kind": "accepted", "task": "t", "digest": "d", "plan": plan});
    let charged = serde_json::json!({"kind": "charged", "task": "t", "round": 0, "event": event});
    let other = serde_json::json!({"kind": "charged", "task": "t", "round": 0,
        "event": {"adjacency": "add_remove", "count": 0,
            "mechanism": {"laplace": {"noise_multiplier": 1e9}}}});
    let beyond = serde_json::json!({"kind": "charged", "task": "t", "round": 99, "event": event});
    let released =
        serde_json::json!({"kind": "released", "task": "t", "round": 0, "content": "aa"});
    let uncharged = [opened.clone(), accepted.clone(), released.clone()];
    let twice = [opened.clone(), accepted.clone(), charged, released, accepted.clone()];
    let disagrees = [opened.clone(), accepted.clone(), other];
    let no_such_round = [opened, accepted, beyond];
    for (what, records) in [
        ("accepted twice", &twice[..]),
        ("charged what the plan does not say", &disagrees[..]),
        ("a round beyond the plan", &no_such_round[..]),
        ("released without a charge", &uncharged[..]),
    ] {
        let store = MemoryStore::default();
        let (text, counter) = chained(records);
        *store.text.borrow_mut() = text;
        *store.counter.borrow_mut() = Some(counter);
        assert!(Ledger::open(store, policy()).is_err(), "{what}");
    }
}

/// The advice in a refusal must not ask the tight accountant again and again: with these
/// numbers each question takes half a second.
#[test]
fn a_plan_made_to_be_slow_is_refused() {
    let sigma = |x| NoiseMultiplier::new(x).unwrap();
    let hostile = PrivacyPlan {
        rate: SamplingRate::new(0.000_467_632_6).unwrap(),
        local_steps: 1,
        warmup: PrivacyPhase { rounds: 461_143_893_716, noise_multiplier: sigma(2.406_879) },
        main: PrivacyPhase { rounds: 257_989_872, noise_multiplier: sigma(180.123_352) },
        ..plan()
    };
    let mut ledger = Ledger::open(MemoryStore::default(), policy()).unwrap();
    assert!(matches!(ledger.accept("t", "d", &hostile), Err(Error::Budget { .. })));
}
