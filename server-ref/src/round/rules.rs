//! Whom a round seats, and when it closes: the plan's numbers and the operator's settings.

use adafed_wire::{RoundPlan, TaskSettings};

use super::{Reason, Standing};

/// What a round is run by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) plan: &'a RoundPlan,
    pub(crate) settings: &'a TaskSettings,
    /// Whether the operator lets the task seat devices.
    pub(crate) seating: bool,
}

/// What is known of a device that asks for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) standing: Standing,
    /// When it was seated last, in any round of the task.
    pub(crate) seated_ms: Option<u64>,
    /// Whether its SDK is of a version that the task takes.
    pub(crate) client_taken: bool,
    /// Whether its epsilon stays within the device cap with one more round.
    pub(crate) within_cap: bool,
}

impl Rules<'_> {
    /// Why the device is not seated, whatever seats there are; `None` when it may be.
    pub(super) fn keeps_out(&self, asker: &Asker, now_ms: u64) -> Option<Reason> {
        let stopped = self.settings.stop_ms.is_some_and(|stop| stop <= now_ms);
        if !asker.client_taken {
            return Some(Reason::Client);
        }
        if !self.seating || stopped || !asker.within_cap {
            return Some(Reason::Closed);
        }
        let rested = asker.seated_ms.map(|t| t.saturating_add(self.settings.separation_ms));
        let earliest = self.settings.start_ms.max(rested)?;
        (now_ms < earliest).then_some(Reason::NotBefore(earliest))
    }

    /// Most updates that the round takes.
    pub(super) fn most_reports(&self) -> u32 {
        self.settings.most_reports.unwrap_or(self.plan.cohort)
    }
}
