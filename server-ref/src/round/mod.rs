//! The round machine: `(state, event) -> (state, effects)`, without I/O, one phase a
//! file.
//!
//! ```text
//! selecting -> collecting -> aggregating -> committed
//!     |            |              |
//!     +------------+--------------+-------> abandoned
//! ```
//!
//! The machine holds counts only. Whether a device is assigned or has reported comes
//! with the event, read in the transaction that writes the effects, so that a step
//! costs the same in a round of ten devices and of ten thousand.
//!
//! # Guarantee
//! `Aggregate` is asked for at most once a round, `Assign` at most once a device and
//! round, `Accept` only for an assigned device that has not reported. The property
//! tests of this folder check it under random events.

mod abandoned;
mod aggregating;
mod collecting;
mod committed;
mod phase;
mod selecting;
#[cfg(test)]
mod tests;

use adafed_wire::{Digest, RoundPlan};

pub use phase::Phase;

/// A round, without the names of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) phase: Phase,
    pub(crate) assigned: u32,
    pub(crate) reports: u32,
    /// Set by the first assignment.
    pub(crate) deadline_ms: Option<u64>,
}

/// What the device of an event has done in the round before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Stranger,
    Assigned,
    Reported(Digest),
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A device asks for work.
    CheckIn(Standing),
    /// A device sends an update with this digest.
    Report(Standing, Digest),
    /// Time has passed.
    Tick,
    /// The model has taken the round's step.
    Aggregated,
    /// The sum would have left a model that is not finite.
    Unusable,
}

/// Something to be done, in the transaction that stores the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Record the device's permission to release, which is its privacy charge.
    Assign,
    /// Keep the update.
    Accept,
    /// Sum the updates and take the step.
    Aggregate,
    /// Go on to the next round without a step.
    Skip,
    /// Answer the device.
    Answer(Answer),
}

/// What a device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Join,
    Wait,
    Taken { duplicate: bool },
    Closed,
    NotAssigned,
    OtherUpdate { kept: Digest },
}

/// A new state and what comes with it.
pub(crate) type Transition = (Round, Vec<Effect>);

impl Round {
    /// A round nobody has checked in to.
    pub(crate) const fn open() -> Self {
        Self { phase: Phase::Selecting, assigned: 0, reports: 0, deadline_ms: None }
    }

    /// Takes one event in. The only place that runs phases.
    pub(crate) fn step(self, plan: &RoundPlan, event: Event, now_ms: u64) -> Transition {
        if let Some(answer) = repeated(event) {
            return self.answer(answer);
        }
        match self.phase {
            Phase::Selecting => selecting::step(self, plan, event, now_ms),
            Phase::Collecting => collecting::step(self, plan, event, now_ms),
            Phase::Aggregating => aggregating::step(self, event),
            Phase::Committed => committed::step(self, event),
            Phase::Abandoned => abandoned::step(self, event),
        }
    }

    /// Whether a tick at `now_ms` would close the round.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        match self.phase {
            Phase::Selecting | Phase::Collecting => self.deadline_ms.is_some_and(|t| t <= now_ms),
            Phase::Aggregating => true,
            Phase::Committed | Phase::Abandoned => false,
        }
    }

    fn answer(self, answer: Answer) -> Transition {
        (self, vec![Effect::Answer(answer)])
    }

    fn unchanged(self) -> Transition {
        (self, Vec::new())
    }

    fn phase(self, phase: Phase, effects: Vec<Effect>) -> Transition {
        (Self { phase, ..self }, effects)
    }
}

/// Answers that are the same in every phase: those about what a device did before.
fn repeated(event: Event) -> Option<Answer> {
    match event {
        Event::Report(Standing::Stranger, _) => Some(Answer::NotAssigned),
        Event::Report(Standing::Reported(kept), sent) if kept == sent => {
            Some(Answer::Taken { duplicate: true })
        }
        Event::Report(Standing::Reported(kept), _) => Some(Answer::OtherUpdate { kept }),
        Event::CheckIn(Standing::Reported(_)) => Some(Answer::Wait),
        _ => None,
    }
}

/// Answers of a round that takes nothing any more.
fn over(round: Round, event: Event) -> Transition {
    match event {
        Event::CheckIn(_) => round.answer(Answer::Wait),
        Event::Report(..) => round.answer(Answer::Closed),
        Event::Tick | Event::Aggregated | Event::Unusable => round.unchanged(),
    }
}
