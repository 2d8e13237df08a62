//! How operators steer a task: what it would cost, its settings, pause, resume and end.

use adafed_wire::{TaskId, TaskPlan, TaskSettings, decode};
use tracing::info;

use super::Service;
use super::admin::open_round;
use super::closing::would_exceed;
use crate::account::forecast;
use crate::aggregate::Opening;
use crate::report::{Forecast, TaskStatus};
use crate::round::Event;
use crate::store::controls::{self, Control, Status};
use crate::store::tasks::{self, StoredState, Task};
use crate::store::{Tx, rounds};
use crate::{Error, blocking};

impl Service {
    /// What a task would cost, and whether it could be created. Nothing is stored.
    ///
    /// # Errors
    /// [`Error::Wire`] names what makes the plan or the settings impossible by themselves.
    pub async fn forecast(
        &self,
        plan: TaskPlan,
        settings: TaskSettings,
    ) -> Result<Forecast, Error> {
        plan.check()?;
        settings.check(&plan.rounds)?;
        blocking(move || forecast(&plan, &settings)).await
    }

    /// Replaces the settings of a task.
    ///
    /// # Errors
    /// [`Error::Wire`] names the setting out of range; [`Error::UnknownTask`];
    /// [`Error::TaskState`] for a task that has ended; those of the database.
    pub async fn set_settings(
        &self,
        task: &TaskId,
        settings: TaskSettings,
    ) -> Result<TaskStatus, Error> {
        let name = task.clone();
        let set = async move |tx: &mut Tx| {
            let (found, control) = steered(tx, &name).await?;
            settings.check(&found.plan.rounds)?;
            let ended = found.is_finished() || control.status == Status::Cancelled;
            if ended {
                return refuse(&found, &control, "its settings do not change any more");
            }
            controls::set_settings(tx, &name, &settings).await
        };
        self.0.store.run_tx("set_settings", set).await?;
        info!(%task, "settings changed");
        self.task_status(task).await
    }

    /// Stops seating devices; those that are seated may still report.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::TaskState`] for a task that is not running; those of
    /// the database.
    pub async fn pause(&self, task: &TaskId) -> Result<TaskStatus, Error> {
        let name = task.clone();
        let pause = async move |tx: &mut Tx| {
            let (found, control) = steered(tx, &name).await?;
            if found.is_finished() || control.status != Status::Running {
                return refuse(&found, &control, "only a running task can be paused");
            }
            controls::set_status(tx, &name, Status::Paused).await
        };
        self.0.store.run_tx("pause", pause).await?;
        info!(%task, "task paused");
        self.task_status(task).await
    }

    /// Goes on with a paused task, or with one that a cap halted and no longer does.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::TaskState`] for a task that neither is paused nor
    /// halted, or that its cap would halt again; those of the database.
    pub async fn resume(&self, task: &TaskId) -> Result<TaskStatus, Error> {
        let (name, this) = (task.clone(), self.clone());
        let resume = async move |tx: &mut Tx| {
            let (found, control) = steered(tx, &name).await?;
            match control.status {
                _ if found.is_finished() => refuse(&found, &control, "there is nothing to resume"),
                Status::Paused => controls::set_status(tx, &name, Status::Running).await,
                Status::Halted => this.reopen(tx, &found, &control).await,
                Status::Running | Status::Cancelled => {
                    refuse(&found, &control, "only a paused or halted task can be resumed")
                }
            }
        };
        self.0.store.run_tx("resume", resume).await?;
        info!(%task, "task resumed");
        self.task_status(task).await
    }

    /// Opens the round that a cap had kept shut.
    async fn reopen(&self, tx: &mut Tx, task: &Task, control: &Control) -> Result<(), Error> {
        if would_exceed(tx, &self.0.accounts, task, control, task.round).await? {
            return refuse(task, control, "raise its cap on epsilon first");
        }
        let (plan, bytes) = (task.plan.clone(), tasks::state(tx, &task.plan.task).await?);
        let opening = move || -> Result<Opening, Error> {
            let state = decode::<StoredState>(&bytes).map_err(Error::corrupt("training state"))?;
            Opening::of(&plan, &state.0)
        };
        let opening = blocking(opening).await??;
        controls::set_status(tx, &task.plan.task, Status::Running).await?;
        open_round(tx, &task.plan.task, task.round, &opening, self.now_ms()).await
    }

    /// Ends a task early: its round is abandoned, its model stays as it is. What devices
    /// released stays charged.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::TaskState`] for a task that has ended; those of the
    /// database.
    pub async fn cancel(&self, task: &TaskId) -> Result<TaskStatus, Error> {
        let (name, now_ms) = (task.clone(), self.now_ms());
        let cancel = async move |tx: &mut Tx| {
            let (found, control) = steered(tx, &name).await?;
            if found.is_finished() || control.status == Status::Cancelled {
                return refuse(&found, &control, "it has ended already");
            }
            controls::set_status(tx, &name, Status::Cancelled).await?;
            let Some(row) = rounds::find(tx, &name, found.round).await? else { return Ok(()) };
            // A round that is being aggregated ends by itself, and none follows it.
            let (round, _) =
                row.round.step(&control.rules(&found.plan.rounds), Event::Cancel, now_ms);
            rounds::update(tx, &name, row.number, round, now_ms).await
        };
        self.0.store.run_tx("cancel", cancel).await?;
        info!(%task, "task cancelled");
        self.task_status(task).await
    }
}

async fn steered(tx: &mut Tx, name: &TaskId) -> Result<(Task, Control), Error> {
    controls::lock(tx, name).await?;
    Ok((tasks::find(tx, name).await?, controls::find(tx, name).await?))
}

fn refuse(task: &Task, control: &Control, expected: &'static str) -> Result<(), Error> {
    let state = if task.is_finished() { "finished" } else { control.status.as_str() };
    Err(Error::TaskState { task: task.plan.task.clone(), state, expected })
}
