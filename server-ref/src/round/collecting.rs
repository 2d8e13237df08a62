//! Collecting: every seat is taken, updates come in.

use super::{Age, Answer, Asker, Effect, Event, Phase, Reason, Round, Rules, Standing, Transition};

pub(super) fn step(round: Round, rules: &Rules<'_>, event: Event, now_ms: u64) -> Transition {
    let due = round.is_due(now_ms);
    match event {
        // Asked again after a lost answer: the same seat, no second charge.
        Event::CheckIn(Asker { standing: Standing::Assigned, .. }) if !due => {
            round.answer(Answer::Join)
        }
        Event::CheckIn(_) => round.answer(Answer::Wait(Reason::NoSeat)),
        Event::Report(..) if due => round.answer(Answer::Closed),
        Event::Report(.., age) => accept(round, rules, age, now_ms),
        Event::Cancel => round.phase(Phase::Abandoned, vec![Effect::Skip]),
        Event::Tick if due => close(round, rules),
        Event::Tick | Event::Aggregated | Event::Unusable => round.unchanged(),
    }
}

fn accept(round: Round, rules: &Rules<'_>, age: Age, now_ms: u64) -> Transition {
    let counted = match age {
        Age::Fresh => Round { reports: round.reports + 1, ..round },
        Age::Stale => Round { stale_reports: round.stale_reports + 1, ..round },
    };
    let mut effects = vec![Effect::Accept, Effect::Answer(Answer::Taken { duplicate: false })];
    if counted.counted() < rules.plan.report_goal {
        return (counted, effects);
    }
    // Without devices of its own there is nobody to wait for.
    let stragglers = counted.assigned > counted.reports && rules.settings.grace_ms > 0;
    if stragglers && counted.counted() < rules.most_reports() {
        return (wait_for_stragglers(counted, rules, now_ms), effects);
    }
    effects.push(Effect::Aggregate);
    let goal_ms = counted.goal_ms.or(Some(now_ms));
    Round { goal_ms, ..counted }.phase(Phase::Aggregating, effects)
}

/// The goal is reached: what comes within the grace still counts.
fn wait_for_stragglers(round: Round, rules: &Rules<'_>, now_ms: u64) -> Round {
    let goal_ms = round.goal_ms.unwrap_or(now_ms);
    let end_ms = goal_ms.saturating_add(rules.settings.grace_ms);
    let deadline_ms = round.deadline_ms.map_or(end_ms, |deadline| deadline.min(end_ms));
    Round { goal_ms: Some(goal_ms), deadline_ms: Some(deadline_ms), ..round }
}

fn close(round: Round, rules: &Rules<'_>) -> Transition {
    if round.counted() >= rules.plan.least_reports {
        return round.phase(Phase::Aggregating, vec![Effect::Aggregate]);
    }
    round.phase(Phase::Abandoned, vec![Effect::Skip])
}
