//! Selecting: there are free seats.

use adafed_wire::RoundPlan;

use super::{Answer, Effect, Event, Phase, Round, Standing, Transition, collecting};

pub(super) fn step(round: Round, plan: &RoundPlan, event: Event, now_ms: u64) -> Transition {
    match event {
        Event::CheckIn(Standing::Stranger) if !round.is_due(now_ms) => seat(round, plan, now_ms),
        // An update may arrive while others are still being asked; it is treated as later.
        _ => collecting::step(round, plan, event, now_ms),
    }
}

fn seat(round: Round, plan: &RoundPlan, now_ms: u64) -> Transition {
    let deadline_ms = round.deadline_ms.unwrap_or(now_ms.saturating_add(plan.deadline_ms));
    let assigned = round.assigned + 1;
    let phase = if assigned < plan.cohort { Phase::Selecting } else { Phase::Collecting };
    let seated = Round { phase, assigned, deadline_ms: Some(deadline_ms), ..round };
    (seated, vec![Effect::Assign, Effect::Answer(Answer::Join)])
}
