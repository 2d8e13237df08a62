//! The dashboard: pages for people, made on the server from the same reports that the JSON
//! interface tells. Pure: reports and the time go in, a page comes out.
//!
//! A page is whole without its script. The script, a few lines, puts in the page of two
//! seconds later.

mod chart;
mod charts;
mod format;
mod layout;
mod live;
mod overview;
mod parts;
mod privacy;
mod rounds;
mod task;
#[cfg(test)]
mod tests;

use adafed_wire::TaskPlan;

use crate::report::{Evaluation, PrivacyReport, RoundReport, TaskStatus};

pub(crate) use layout::{POLICY, error as error_page};
pub(crate) use overview::page as overview;
pub(crate) use task::page as task_page;

/// What the overview shows of a task.
#[derive(Clone, Debug)]
pub(crate) struct TaskView {
    /// Where it stands.
    pub(crate) status: TaskStatus,
    /// Its rounds so far, in order.
    pub(crate) rounds: Vec<RoundReport>,
    /// What evaluators said, in any order.
    pub(crate) evaluations: Vec<Evaluation>,
}

impl TaskView {
    /// The evaluation of the newest model; of several, the one that came last.
    fn last_evaluation(&self) -> Option<&Evaluation> {
        self.evaluations.iter().max_by_key(|e| (e.round, e.reported_ms))
    }

    /// The round that is open, or the last one.
    fn current(&self) -> Option<&RoundReport> {
        self.rounds.last()
    }
}

/// What a task's page shows beyond that.
#[derive(Clone, Debug)]
pub(crate) struct TaskDetail {
    /// What the overview shows.
    pub(crate) view: TaskView,
    /// What it has cost its devices.
    pub(crate) privacy: PrivacyReport,
    /// Its plan.
    pub(crate) plan: TaskPlan,
}

/// Bytes that rounds took, and what the same updates had been as dense floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    up: u64,
    dense: u64,
    down: u64,
}

impl Traffic {
    fn of(rounds: &[RoundReport]) -> Self {
        rounds.iter().fold(Self::default(), |sum, round| Self {
            up: sum.up.saturating_add(round.bytes_up),
            dense: sum.dense.saturating_add(round.bytes_dense),
            down: sum.down.saturating_add(round.bytes_down),
        })
    }

    /// Bytes that were not sent; 0 where an update was larger than its dense form.
    fn saved(self) -> u64 {
        self.dense.saturating_sub(self.up)
    }

    /// What was sent, as a share of the dense form.
    fn share(self) -> f64 {
        if self.dense == 0 { 1.0 } else { self.up as f64 / self.dense as f64 }
    }
}
