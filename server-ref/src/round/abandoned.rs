//! Abandoned: the round's number is used up. A device gives one release a round, and
//! those who were asked may have given it, so the number is never tried again and the
//! charges stay.

use super::{Event, Round, Transition, over};

pub(super) fn step(round: Round, event: Event) -> Transition {
    over(round, event)
}
