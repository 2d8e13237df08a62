//! The machine against a naive record of everything it asked for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use adafed_wire::{RoundPlan, TaskSettings};

use super::*;

const SETTINGS: TaskSettings = TaskSettings {
    start_ms: None,
    stop_ms: None,
    least_client: None,
    most_client: None,
    separation_ms: 0,
    most_reports: None,
    grace_ms: 0,
    retry: None,
    population: None,
    device_epsilon_cap: None,
    task_epsilon_cap: None,
};

fn rules(plan: &RoundPlan) -> Rules<'_> {
    Rules { plan, settings: &SETTINGS, seating: true }
}

/// A device that nothing keeps out.
const fn asker(standing: Standing) -> Asker {
    Asker { standing, seated_ms: None, client_taken: true, within_cap: true }
}

fn plan(cohort: u32, report_goal: u32, least_reports: u32) -> RoundPlan {
    RoundPlan { cohort, report_goal, least_reports, deadline_ms: 100, retry_after_ms: 10 }
}

/// What a database would hold.
#[derive(Default)]
struct Log {
    standings: BTreeMap<u8, Standing>,
    stale: BTreeMap<u8, Standing>,
    charged: u32,
    aggregates: u32,
    skips: u32,
}

impl Log {
    fn standing(&self, device: u8) -> Standing {
        self.standings.get(&device).copied().unwrap_or(Standing::Stranger)
    }

    fn run(&mut self, round: Round, plan: &RoundPlan, op: Op, now_ms: u64) -> Round {
        self.run_by(&rules(plan), round, op, now_ms)
    }

    fn run_by(&mut self, rules: &Rules<'_>, round: Round, op: Op, now_ms: u64) -> Round {
        let digest = |body| Digest::of(&[body]);
        let (device, event) = match op {
            Op::CheckIn(d) => (d, Event::CheckIn(asker(self.standing(d)))),
            Op::Report(d, b) => (d, Event::Report(self.standing(d), digest(b), Age::Fresh)),
            // A device of its own, seated in an earlier round.
            Op::Stale(d, b) => {
                let standing = self.stale.get(&d).copied().unwrap_or(Standing::Assigned);
                (d, Event::Report(standing, digest(b), Age::Stale))
            }
            Op::Wait(_) => (0, Event::Tick),
            Op::Cancel => (0, Event::Cancel),
            Op::Aggregated => (0, Event::Aggregated),
            Op::Unusable => (0, Event::Unusable),
        };
        let (next, effects) = round.step(rules, event, now_ms);
        effects.into_iter().for_each(|effect| self.record(device, event, effect));
        next
    }

    fn record(&mut self, device: u8, event: Event, effect: Effect) {
        match (effect, event) {
            (Effect::Assign, _) => {
                assert_eq!(self.standing(device), Standing::Stranger);
                self.standings.insert(device, Standing::Assigned);
                self.charged += 1;
            }
            (Effect::Accept, Event::Report(standing, digest, Age::Stale)) => {
                assert_eq!(standing, Standing::Assigned);
                self.stale.insert(device, Standing::Reported(digest));
            }
            (Effect::Accept, Event::Report(standing, digest, Age::Fresh)) => {
                assert_eq!(standing, Standing::Assigned);
                self.standings.insert(device, Standing::Reported(digest));
            }
            (Effect::Accept, _) => panic!("something other than a report was accepted"),
            (Effect::Aggregate, _) => self.aggregates += 1,
            (Effect::Skip, _) => self.skips += 1,
            (Effect::Answer(_), _) => {}
        }
    }

    fn reported(&self) -> usize {
        self.standings.values().filter(|s| matches!(s, Standing::Reported(_))).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    CheckIn(u8),
    Report(u8, u8),
    Stale(u8, u8),
    Wait(u64),
    Cancel,
    Aggregated,
    Unusable,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..8_u8).prop_map(Op::CheckIn),
        6 => (0..8_u8, 0..2_u8).prop_map(|(d, b)| Op::Report(d, b)),
        2 => (0..8_u8, 0..2_u8).prop_map(|(d, b)| Op::Stale(d, b)),
        1 => Just(Op::Cancel),
        3 => (0..60_u64).prop_map(Op::Wait),
        1 => Just(Op::Aggregated),
        1 => Just(Op::Unusable),
    ]
}

proptest! {
    #[test]
    fn a_round_charges_counts_and_aggregates_at_most_once(
        ops in prop::collection::vec(op(), 0..80), sizes in [1..5_u32, 1..5_u32, 1..5_u32],
        grace_ms in 0..50_u64, seating in any::<bool>(),
    ) {
        let mut sizes = sizes;
        sizes.sort_unstable();
        let plan = plan(sizes[2], sizes[1], sizes[0]);
        let settings = TaskSettings { grace_ms, ..SETTINGS };
        let rules = Rules { plan: &plan, settings: &settings, seating };
        let (mut log, mut round, mut now_ms) = (Log::default(), Round::open(), 1_000);
        for op in ops {
            if let Op::Wait(ms) = op {
                now_ms += ms;
            }
            let before = round;
            round = log.run_by(&rules, round, op, now_ms);
            prop_assert!(!before.phase.is_closed() || round == before, "closed rounds stay");
            prop_assert_eq!(round.assigned, log.charged, "a charge is never taken back");
            prop_assert_eq!(round.reports as usize, log.reported());
            prop_assert_eq!(round.stale_reports as usize, log.stale.len());
            let seats = if seating { plan.cohort } else { 0 };
            prop_assert!(round.assigned <= seats);
            let most = if grace_ms > 0 { plan.cohort } else { plan.report_goal };
            prop_assert!(round.counted() <= most.max(plan.report_goal));
            prop_assert_eq!(round.assigned == 0, round.deadline_ms.is_none());
            prop_assert!(log.aggregates <= 1 && log.skips <= 1);
            prop_assert!(round.phase != Phase::Committed || log.aggregates == 1 && log.skips == 0);
            prop_assert_eq!(round.phase == Phase::Abandoned, log.skips == 1);
        }
    }
}

fn assigned(plan: &RoundPlan, devices: u8) -> (Log, Round) {
    let mut log = Log::default();
    let round =
        (0..devices).fold(Round::open(), |round, d| log.run(round, plan, Op::CheckIn(d), 1_000));
    (log, round)
}

#[test]
fn the_cohort_is_full_at_its_size() {
    let plan = plan(2, 2, 1);
    let (mut log, round) = assigned(&plan, 2);
    assert_eq!(round.phase, Phase::Collecting);
    let round = log.run(round, &plan, Op::CheckIn(7), 1_001);
    assert_eq!((round.assigned, log.standing(7)), (2, Standing::Stranger));
}

#[test]
fn the_deadline_counts_from_the_first_assignment() {
    let plan = plan(3, 2, 1);
    let (mut log, round) = assigned(&plan, 1);
    let round = log.run(round, &plan, Op::CheckIn(1), 1_090);
    assert_eq!(round.deadline_ms, Some(1_100));
    assert!(!round.is_due(1_099) && round.is_due(1_100));
    assert!(!Round::open().is_due(u64::MAX), "a round without devices waits for ever");
}

#[test]
fn a_deadline_with_enough_reports_aggregates_and_with_fewer_abandons() {
    let plan = plan(3, 3, 2);
    for (reports, phase) in [(1, Phase::Abandoned), (2, Phase::Aggregating)] {
        let (mut log, round) = assigned(&plan, 3);
        let round = (0..reports).fold(round, |r, d| log.run(r, &plan, Op::Report(d, 0), 1_050));
        let round = log.run(round, &plan, Op::Wait(0), 1_100);
        assert_eq!(round.phase, phase);
        assert_eq!(log.charged, 3, "the charges stay");
    }
}

#[test]
fn a_report_at_the_deadline_is_late() {
    let plan = plan(1, 1, 1);
    let (_, round) = assigned(&plan, 1);
    let event = Event::Report(Standing::Assigned, Digest::of(b""), Age::Fresh);
    assert_eq!(round.step(&rules(&plan), event, 1_100).1, [Effect::Answer(Answer::Closed)]);
}

#[test]
fn a_repeated_report_is_known_in_every_phase() {
    let plan = plan(2, 2, 1);
    let (kept, other) = (Digest::of(b"kept"), Digest::of(b"other"));
    for phase in [Phase::Selecting, Phase::Collecting, Phase::Aggregating, Phase::Committed] {
        let round = Round { phase, assigned: 1, reports: 1, deadline_ms: Some(5), ..Round::open() };
        let event = |sent| Event::Report(Standing::Reported(kept), sent, Age::Fresh);
        let answer = |sent| round.step(&rules(&plan), event(sent), 0);
        assert_eq!(answer(kept).1, [Effect::Answer(Answer::Taken { duplicate: true })]);
        assert_eq!(answer(other).1, [Effect::Answer(Answer::OtherUpdate { kept })]);
    }
}

#[test]
fn stragglers_count_within_the_grace_and_no_longer() {
    let plan = plan(3, 1, 1);
    let settings = TaskSettings { grace_ms: 20, ..SETTINGS };
    let rules = Rules { settings: &settings, ..rules(&plan) };
    let (mut log, round) = assigned(&plan, 3);
    let round = log.run_by(&rules, round, Op::Report(0, 0), 1_010);
    assert_eq!((round.phase, round.goal_ms), (Phase::Collecting, Some(1_010)));
    assert_eq!(round.deadline_ms, Some(1_030), "brought forward");
    let round = log.run_by(&rules, round, Op::Report(1, 0), 1_029);
    assert_eq!((round.reports, round.deadline_ms), (2, Some(1_030)));
    let late = log.run_by(&rules, round, Op::Report(2, 0), 1_030);
    assert_eq!(late.reports, 2);
    assert_eq!(log.run_by(&rules, round, Op::Wait(0), 1_030).phase, Phase::Aggregating);
    let all = log.run_by(&rules, round, Op::Report(2, 0), 1_029);
    assert_eq!(all.phase, Phase::Aggregating, "nobody is left to wait for");
}

#[test]
fn a_round_closes_at_its_most_reports() {
    let plan = plan(4, 2, 1);
    let settings = TaskSettings { grace_ms: 90, most_reports: Some(3), ..SETTINGS };
    let rules = Rules { settings: &settings, ..rules(&plan) };
    let (mut log, round) = assigned(&plan, 4);
    let run = |round, device| log.run_by(&rules, round, Op::Report(device, 0), 1_010);
    let round = (0..3).fold(round, run);
    assert_eq!((round.phase, round.reports), (Phase::Aggregating, 3));
}

#[test]
fn late_updates_count_towards_the_goal_without_a_seat() {
    let plan = plan(2, 2, 1);
    let mut log = Log::default();
    let run = |round, device| log.run(round, &plan, Op::Stale(device, 0), 1_000);
    let round = (0..2).fold(Round::open(), run);
    assert_eq!((round.phase, round.assigned, round.stale_reports), (Phase::Aggregating, 0, 2));
}

#[test]
fn whom_the_rules_keep_out_is_told_why() {
    let plan = plan(2, 1, 1);
    let settings =
        TaskSettings { start_ms: Some(500), stop_ms: Some(2_000), separation_ms: 300, ..SETTINGS };
    let rules = Rules { settings: &settings, ..rules(&plan) };
    let paused = Rules { seating: false, ..rules };
    let stranger = asker(Standing::Stranger);
    let rested = |seated_ms| Asker { seated_ms: Some(seated_ms), ..stranger };
    let old = Asker { client_taken: false, ..stranger };
    let spent = Asker { within_cap: false, ..stranger };
    for (rules, asker, now_ms, answer) in [
        (&rules, stranger, 499, Answer::Wait(Reason::NotBefore(500))),
        (&rules, stranger, 500, Answer::Join),
        (&rules, stranger, 2_000, Answer::Wait(Reason::Closed)),
        (&rules, rested(800), 1_099, Answer::Wait(Reason::NotBefore(1_100))),
        (&rules, rested(800), 1_100, Answer::Join),
        (&rules, old, 1_000, Answer::Wait(Reason::Client)),
        (&rules, spent, 1_000, Answer::Wait(Reason::Closed)),
        (&paused, stranger, 1_000, Answer::Wait(Reason::Closed)),
    ] {
        let (round, effects) = Round::open().step(rules, Event::CheckIn(asker), now_ms);
        assert_eq!(effects.last(), Some(&Effect::Answer(answer)), "{asker:?} at {now_ms}");
        assert_eq!(round.assigned, u32::from(answer == Answer::Join));
    }
}

#[test]
fn a_seated_device_goes_on_whatever_keeps_others_out() {
    let plan = plan(2, 1, 1);
    let (_, round) = assigned(&plan, 1);
    let paused = Rules { seating: false, ..rules(&plan) };
    let again = Event::CheckIn(asker(Standing::Assigned));
    assert_eq!(round.step(&paused, again, 1_010).1, [Effect::Answer(Answer::Join)]);
    let report = Event::Report(Standing::Assigned, Digest::of(b""), Age::Fresh);
    assert!(round.step(&paused, report, 1_010).1.contains(&Effect::Accept));
}
