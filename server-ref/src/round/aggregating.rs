//! Aggregating: the set of updates is fixed. The phase is stored, so that a server that
//! dies here finishes the round when it comes back.

use super::{Effect, Event, Phase, Round, Transition, over};

pub(super) fn step(round: Round, event: Event) -> Transition {
    match event {
        Event::Aggregated => round.phase(Phase::Committed, Vec::new()),
        Event::Unusable => round.phase(Phase::Abandoned, vec![Effect::Skip]),
        other => over(round, other),
    }
}
