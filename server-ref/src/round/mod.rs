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
//! In a buffered task a round also takes updates of rounds before it: they count towards its
//! goal, and for their devices' own rounds nothing changes.
//!
//! # Guarantee
//! `Aggregate` is asked for at most once a round, `Assign` at most once a device and
//! round and never to one that the rules keep out, `Accept` only for an assigned device that
//! has not reported. The property tests of this folder check it under random events.

mod abandoned;
mod aggregating;
mod collecting;
mod committed;
mod phase;
mod retry;
mod rules;
mod selecting;
#[cfg(test)]
mod tests;

use adafed_wire::Digest;

pub use phase::Phase;
pub(crate) use retry::retry_after_ms;
pub(crate) use rules::{Asker, Rules};

/// A round, without the names of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) phase: Phase,
    pub(crate) assigned: u32,
    /// Updates of its own devices.
    pub(crate) reports: u32,
    /// Updates of earlier rounds that count here.
    pub(crate) stale_reports: u32,
    /// Set by the first assignment, brought forward by the goal.
    pub(crate) deadline_ms: Option<u64>,
    /// When the report goal was reached.
    pub(crate) goal_ms: Option<u64>,
}

/// What the device of an event has done in the round before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Stranger,
    Assigned,
    Reported(Digest),
}

/// Whether an update belongs to the round that it is to count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Fresh,
    /// Of an earlier round, near enough for the task's buffer.
    Stale,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A device asks for work.
    CheckIn(Asker),
    /// A device sends an update with this digest; its standing is that in the update's round.
    Report(Standing, Digest, Age),
    /// Time has passed.
    Tick,
    /// The operator ends the task.
    Cancel,
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
    Wait(Reason),
    Taken { duplicate: bool },
    Closed,
    NotAssigned,
    OtherUpdate { kept: Digest },
}

/// Why a device is not seated, which decides when it asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No seat, or nothing more to do in this round.
    NoSeat,
    /// Not before this time: the task has not begun, or the device's last round is too near.
    NotBefore(u64),
    /// Not for now: the task is paused, its time is up, or the device is at its cap.
    Closed,
    /// The device's SDK is too old or too new.
    Client,
}

/// A new state and what comes with it.
pub(crate) type Transition = (Round, Vec<Effect>);

impl Round {
    /// A round nobody has checked in to.
    pub(crate) const fn open() -> Self {
        Self {
            phase: Phase::Selecting,
            assigned: 0,
            reports: 0,
            stale_reports: 0,
            deadline_ms: None,
            goal_ms: None,
        }
    }

    /// Takes one event in. The only place that runs phases.
    pub(crate) fn step(self, rules: &Rules<'_>, event: Event, now_ms: u64) -> Transition {
        if let Some(answer) = repeated(event) {
            return self.answer(answer);
        }
        match self.phase {
            Phase::Selecting => selecting::step(self, rules, event, now_ms),
            Phase::Collecting => collecting::step(self, rules, event, now_ms),
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

    /// Updates that go into the round's aggregate.
    pub(crate) const fn counted(&self) -> u32 {
        self.reports.saturating_add(self.stale_reports)
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
        Event::Report(Standing::Stranger, ..) => Some(Answer::NotAssigned),
        Event::Report(Standing::Reported(kept), sent, _) if kept == sent => {
            Some(Answer::Taken { duplicate: true })
        }
        Event::Report(Standing::Reported(kept), ..) => Some(Answer::OtherUpdate { kept }),
        Event::CheckIn(Asker { standing: Standing::Reported(_), .. }) => {
            Some(Answer::Wait(Reason::NoSeat))
        }
        _ => None,
    }
}

/// Answers of a round that takes nothing any more.
fn over(round: Round, event: Event) -> Transition {
    match event {
        Event::CheckIn(_) => round.answer(Answer::Wait(Reason::NoSeat)),
        Event::Report(..) => round.answer(Answer::Closed),
        Event::Tick | Event::Cancel | Event::Aggregated | Event::Unusable => round.unchanged(),
    }
}
