//! Collecting: every seat is taken, updates come in.

use adafed_wire::RoundPlan;

use super::{Answer, Effect, Event, Phase, Round, Standing, Transition};

pub(super) fn step(round: Round, plan: &RoundPlan, event: Event, now_ms: u64) -> Transition {
    let due = round.is_due(now_ms);
    match event {
        // Asked again after a lost answer: the same seat, no second charge.
        Event::CheckIn(Standing::Assigned) if !due => round.answer(Answer::Join),
        Event::CheckIn(_) => round.answer(Answer::Wait),
        Event::Report(..) if due => round.answer(Answer::Closed),
        Event::Report(..) => accept(round, plan),
        Event::Tick if due => close(round, plan),
        Event::Tick | Event::Aggregated | Event::Unusable => round.unchanged(),
    }
}

fn accept(round: Round, plan: &RoundPlan) -> Transition {
    let reports = round.reports + 1;
    let counted = Round { reports, ..round };
    let mut effects = vec![Effect::Accept, Effect::Answer(Answer::Taken { duplicate: false })];
    if reports < plan.report_goal {
        return (counted, effects);
    }
    effects.push(Effect::Aggregate);
    counted.phase(Phase::Aggregating, effects)
}

fn close(round: Round, plan: &RoundPlan) -> Transition {
    if round.reports >= plan.least_reports {
        return round.phase(Phase::Aggregating, vec![Effect::Aggregate]);
    }
    round.phase(Phase::Abandoned, vec![Effect::Skip])
}
