//! What people read.

use adafed_privacy::accounting::EpsilonBound;
use adafed_wire::{ModelMessage, TaskId, decode};

use super::Service;
use crate::Error;
use crate::account::{Charge, Charges, histogram, largest};
use crate::report::{
    DevicePrivacy, PrivacyReport, PrivacyUnit, RoundReport, TaskState, TaskStatus,
};
use crate::store::rounds::RoundRow;
use crate::store::tasks::Task;
use crate::store::{assignments, contents, rounds, tasks};

impl Service {
    /// Where every task stands, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn tasks(&self) -> Result<Vec<TaskStatus>, Error> {
        let names =
            self.0.store.read_tx("tasks", async |tx: &mut _| tasks::names(tx).await).await?;
        let mut statuses = Vec::with_capacity(names.len());
        for name in &names {
            statuses.push(self.task_status(name).await?);
        }
        Ok(statuses)
    }

    /// Where a task stands.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn task_status(&self, task: &TaskId) -> Result<TaskStatus, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let row = rounds::find(tx, &name, task.shown_round()).await?;
            let reason = "its current round is missing".to_owned();
            let row = row.ok_or(Error::Corrupt { what: "task", reason })?;
            let warmup = task.plan.privacy.warmup.rounds;
            Ok((assignments::distinct(tx, &name, warmup).await?, task, row))
        };
        let (charges, task, row) = self.0.store.read_tx("task_status", find).await?;
        self.status(&task, &row, &charges).await
    }

    async fn status(
        &self,
        task: &Task,
        row: &RoundRow,
        charges: &[Charges],
    ) -> Result<TaskStatus, Error> {
        let privacy = task.plan.privacy;
        let bound = self.0.accounts.largest(task.plan_digest, privacy, charges).await?;
        let whole = self.whole(task).await?;
        Ok(TaskStatus {
            task: task.plan.task.clone(),
            state: if task.is_finished() { TaskState::Finished } else { TaskState::Running },
            round: task.round,
            rounds: privacy.rounds(),
            phase: row.round.phase,
            participants: row.round.assigned,
            reports: row.round.reports,
            active_coordinates: row.active as u64,
            parameters: task.plan.layout.len() as u64,
            epsilon: bound.epsilon,
            epsilon_all_rounds: whole.epsilon,
            delta: privacy.delta.value(),
            accountant: if charges.is_empty() { whole.accountant } else { bound.accountant },
            plan: task.plan_digest,
            model: task.model,
        })
    }

    /// The rounds of a task so far, in order.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn rounds(&self, task: &TaskId) -> Result<Vec<RoundReport>, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            tasks::find(tx, &name).await?;
            rounds::history(tx, &name).await
        };
        let mut history = self.0.store.read_tx("rounds", find).await?;
        if let Some(last) = history.last_mut() {
            last.bytes_down += self.0.traffic.pending(task);
        }
        Ok(history)
    }

    /// What a task has cost its devices.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn privacy_report(&self, task: &TaskId) -> Result<PrivacyReport, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let warmup = task.plan.privacy.warmup.rounds;
            Ok((assignments::charges(tx, &name, warmup).await?, task))
        };
        let (charged, task) = self.0.store.read_tx("privacy_report", find).await?;
        self.privacy(&task, &charged).await
    }

    async fn privacy(&self, task: &Task, charged: &[Charge]) -> Result<PrivacyReport, Error> {
        let privacy = task.plan.privacy;
        let charges = charged.iter().map(|c| c.charges).collect();
        let bounds = self.0.accounts.epsilons(task.plan_digest, privacy, charges).await?;
        let whole = self.whole(task).await?;
        let of_device = |(c, b): (&Charge, &EpsilonBound)| {
            let rounds_charged = c.charges.rounds();
            DevicePrivacy { device: c.device, rounds_charged, epsilon: b.epsilon }
        };
        let devices: Vec<_> = charged.iter().zip(&bounds).map(of_device).collect();
        let epsilons: Vec<f64> = devices.iter().map(|d| d.epsilon).collect();
        let bound = largest(&bounds);
        Ok(PrivacyReport {
            task: task.plan.task.clone(),
            adjacency: privacy.adjacency,
            unit: PrivacyUnit::Example,
            delta: privacy.delta.value(),
            epsilon: bound.epsilon,
            accountant: if bounds.is_empty() { whole.accountant } else { bound.accountant },
            epsilon_all_rounds: whole.epsilon,
            histogram: histogram(&epsilons),
            devices,
        })
    }

    /// Epsilon of a device that takes part in every round.
    async fn whole(&self, task: &Task) -> Result<EpsilonBound, Error> {
        let privacy = task.plan.privacy;
        let all = [Charges::all(&privacy)];
        self.0.accounts.largest(task.plan_digest, privacy, &all).await
    }

    /// The current parameters of a task, in flat order.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn model(&self, task: &TaskId) -> Result<Vec<f32>, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let model = tasks::find(tx, &name).await?.model;
            contents::find(tx, &name, model).await
        };
        let bytes = self.0.store.read_tx("model", find).await?;
        let model: ModelMessage = decode(&bytes).map_err(Error::corrupt("model"))?;
        Ok(model.parameters)
    }
}
