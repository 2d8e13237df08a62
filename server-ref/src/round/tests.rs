//! The machine against a naive record of everything it asked for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn plan(cohort: u32, report_goal: u32, least_reports: u32) -> RoundPlan {
    RoundPlan { cohort, report_goal, least_reports, deadline_ms: 100, retry_after_ms: 10 }
}

/// What a database would hold.
#[derive(Default)]
struct Log {
    standings: BTreeMap<u8, Standing>,
    charged: u32,
    aggregates: u32,
    skips: u32,
}

impl Log {
    fn standing(&self, device: u8) -> Standing {
        self.standings.get(&device).copied().unwrap_or(Standing::Stranger)
    }

    fn run(&mut self, round: Round, plan: &RoundPlan, op: Op, now_ms: u64) -> Round {
        let (device, event) = match op {
            Op::CheckIn(d) => (d, Event::CheckIn(self.standing(d))),
            Op::Report(d, body) => (d, Event::Report(self.standing(d), Digest::of(&[body]))),
            Op::Wait(_) => (0, Event::Tick),
            Op::Aggregated => (0, Event::Aggregated),
            Op::Unusable => (0, Event::Unusable),
        };
        let (next, effects) = round.step(plan, event, now_ms);
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
            (Effect::Accept, Event::Report(standing, digest)) => {
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
    Wait(u64),
    Aggregated,
    Unusable,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..8_u8).prop_map(Op::CheckIn),
        6 => (0..8_u8, 0..2_u8).prop_map(|(d, b)| Op::Report(d, b)),
        3 => (0..60_u64).prop_map(Op::Wait),
        1 => Just(Op::Aggregated),
        1 => Just(Op::Unusable),
    ]
}

proptest! {
    #[test]
    fn a_round_charges_counts_and_aggregates_at_most_once(
        ops in prop::collection::vec(op(), 0..80), sizes in [1..5_u32, 1..5_u32, 1..5_u32],
    ) {
        let mut sizes = sizes;
        sizes.sort_unstable();
        let plan = plan(sizes[2], sizes[1], sizes[0]);
        let (mut log, mut round, mut now_ms) = (Log::default(), Round::open(), 1_000);
        for op in ops {
            if let Op::Wait(ms) = op {
                now_ms += ms;
            }
            let before = round;
            round = log.run(round, &plan, op, now_ms);
            prop_assert!(!before.phase.is_closed() || round == before, "closed rounds stay");
            prop_assert_eq!(round.assigned, log.charged, "a charge is never taken back");
            prop_assert_eq!(round.reports as usize, log.reported());
            prop_assert!(round.assigned <= plan.cohort && round.reports <= plan.report_goal);
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
    let event = Event::Report(Standing::Assigned, Digest::of(b""));
    assert_eq!(round.step(&plan, event, 1_100).1, [Effect::Answer(Answer::Closed)]);
}

#[test]
fn a_repeated_report_is_known_in_every_phase() {
    let plan = plan(2, 2, 1);
    let (kept, other) = (Digest::of(b"kept"), Digest::of(b"other"));
    for phase in [Phase::Selecting, Phase::Collecting, Phase::Aggregating, Phase::Committed] {
        let round = Round { phase, assigned: 1, reports: 1, deadline_ms: Some(5) };
        let answer = |sent| round.step(&plan, Event::Report(Standing::Reported(kept), sent), 0);
        assert_eq!(answer(kept).1, [Effect::Answer(Answer::Taken { duplicate: true })]);
        assert_eq!(answer(other).1, [Effect::Answer(Answer::OtherUpdate { kept })]);
    }
}
