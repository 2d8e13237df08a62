//! Selecting: there are free seats.

use super::{Answer, Asker, Effect, Event, Phase, Round, Rules, Standing, Transition, collecting};

pub(super) fn step(round: Round, rules: &Rules<'_>, event: Event, now_ms: u64) -> Transition {
    match event {
        Event::CheckIn(asker) if is_candidate(&asker, &round, now_ms) => {
            match rules.keeps_out(&asker, now_ms) {
                None => seat(round, rules, now_ms),
                Some(reason) => round.answer(Answer::Wait(reason)),
            }
        }
        // An update may arrive while others are still being asked; it is treated as later.
        _ => collecting::step(round, rules, event, now_ms),
    }
}

fn is_candidate(asker: &Asker, round: &Round, now_ms: u64) -> bool {
    asker.standing == Standing::Stranger && !round.is_due(now_ms)
}

fn seat(round: Round, rules: &Rules<'_>, now_ms: u64) -> Transition {
    let plan = rules.plan;
    let deadline_ms = round.deadline_ms.unwrap_or(now_ms.saturating_add(plan.deadline_ms));
    let assigned = round.assigned + 1;
    let phase = if assigned < plan.cohort { Phase::Selecting } else { Phase::Collecting };
    let seated = Round { phase, assigned, deadline_ms: Some(deadline_ms), ..round };
    (seated, vec![Effect::Assign, Effect::Answer(Answer::Join)])
}
