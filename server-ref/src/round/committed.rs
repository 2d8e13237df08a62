//! Committed: the model has taken its step.

use super::{Event, Round, Transition, over};

pub(super) fn step(round: Round, event: Event) -> Transition {
    over(round, event)
}
