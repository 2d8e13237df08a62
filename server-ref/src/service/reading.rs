//! What people read.

use adafed_privacy::PrivacyPlan;
use adafed_wire::{Digest, ModelMessage, TaskId, TaskPlan, decode};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::Service;
use crate::account::{Account, Charge, Charges, histogram, largest, quantiles};
use crate::report::{
    DevicePrivacy, PrivacyReport, PrivacyUnit, RoundReport, TaskState, TaskStatus,
};
use crate::store::controls::{self, Control, Status};
use crate::store::rounds::RoundRow;
use crate::store::tasks::Task;
use crate::store::{Tx, assignments, contents, devices, rounds, tasks};
use crate::{Error, blocking};

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
            let row = rounds::latest(tx, &name).await?;
            let reason = "its rounds are missing".to_owned();
            let row = row.ok_or(Error::Corrupt { what: "task", reason })?;
            let charges = assignments::distinct(tx, &name, task.plan.privacy.warmup.rounds).await?;
            let control = controls::find(tx, &name).await?;
            Ok(Standing { task, row, control, charges })
        };
        let standing = self.0.store.read_tx("task_status", find).await?;
        self.status(standing).await
    }

    async fn status(&self, standing: Standing) -> Result<TaskStatus, Error> {
        let Standing { task, row, control, charges } = standing;
        let privacy = task.plan.privacy;
        let account = self.0.accounts.largest(task.plan_digest, privacy, &charges).await?;
        let whole = self.whole(&task).await?;
        let next = self.after_next(&task, &charges).await?;
        Ok(TaskStatus {
            task: task.plan.task.clone(),
            state: state(&task, control.status),
            round: task.round,
            rounds: privacy.rounds(),
            phase: row.round.phase,
            participants: row.round.assigned,
            reports: row.round.reports,
            active_coordinates: row.active as u64,
            parameters: task.plan.layout.len() as u64,
            epsilon: account.epsilon(),
            epsilon_all_rounds: whole.epsilon(),
            epsilon_next_round: next.epsilon(),
            delta: privacy.delta.value(),
            accountant: if charges.is_empty() { whole } else { account }.accountant(),
            settings: control.settings,
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
            let task = tasks::find(tx, &name).await?;
            rounds::history(tx, &name, task.plan.layout.len()).await
        };
        let mut history = self.0.store.read_tx("rounds", find).await?;
        if let Some(last) = history.last_mut() {
            last.bytes_down += self.0.traffic.pending(task);
        }
        Ok(history)
    }

    /// One round of a task.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::UnknownRound`]; those of the database.
    pub async fn round(&self, task: &TaskId, round: u64) -> Result<RoundReport, Error> {
        let history = self.rounds(task).await?;
        let current = history.last().map_or(0, |last| last.round);
        let found = history.into_iter().find(|report| report.round == round);
        found.ok_or(Error::UnknownRound { round, current })
    }

    /// What a task has cost its devices.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn privacy_report(&self, task: &TaskId) -> Result<PrivacyReport, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let charged = assignments::charges(tx, &name, task.plan.privacy.warmup.rounds).await?;
            Ok((task, controls::find(tx, &name).await?, charged))
        };
        let (task, control, charged) = self.0.store.read_tx("privacy_report", find).await?;
        self.privacy(&task, &control, &charged).await
    }

    async fn privacy(
        &self,
        task: &Task,
        control: &Control,
        charged: &[Charge],
    ) -> Result<PrivacyReport, Error> {
        let (plan, digest) = (task.plan.privacy, task.plan_digest);
        let charges: Vec<_> = charged.iter().map(|c| c.charges).collect();
        let more = charges.iter().map(|c| c.and(&plan, task.round)).collect();
        let accounts = self.0.accounts.accounts(digest, plan, charges.clone()).await?;
        let next = self.0.accounts.accounts(digest, plan, more).await?;
        let (whole, after) = (self.whole(task).await?, self.after_next(task, &charges).await?);
        let cap = control.settings.device_epsilon_cap;
        let halts = |next: &Account| cap.is_some_and(|cap| next.epsilon() > cap);
        let devices = charged.iter().zip(accounts.iter().zip(&next));
        let devices: Vec<_> =
            devices.map(|(c, (now, next))| of_device(&plan, c, *now, halts(next))).collect();
        let epsilons: Vec<f64> = devices.iter().map(|d| d.epsilon).collect();
        let most = largest(&accounts);
        Ok(PrivacyReport {
            task: task.plan.task.clone(),
            adjacency: plan.adjacency,
            unit: PrivacyUnit::Example,
            delta: plan.delta.value(),
            epsilon: most.epsilon(),
            accountant: if accounts.is_empty() { whole } else { most }.accountant(),
            epsilon_rdp: most.rdp,
            epsilon_pld: most.finite_pld(),
            epsilon_next_round: after.epsilon(),
            epsilon_all_rounds: whole.epsilon(),
            device_epsilon_cap: cap,
            task_epsilon_cap: control.settings.task_epsilon_cap,
            halted_devices: devices.iter().filter(|d| d.halted).count() as u64,
            quantiles: quantiles(&epsilons),
            histogram: histogram(&epsilons),
            devices,
        })
    }

    /// The account of a device that takes part in every round.
    async fn whole(&self, task: &Task) -> Result<Account, Error> {
        let privacy = task.plan.privacy;
        let all = [Charges::all(&privacy)];
        self.0.accounts.largest(task.plan_digest, privacy, &all).await
    }

    /// The largest account once the next round is charged to whoever has most; that of now
    /// when there is no next round.
    async fn after_next(&self, task: &Task, charges: &[Charges]) -> Result<Account, Error> {
        let plan = task.plan.privacy;
        let mut after = charges.to_vec();
        if !task.is_finished() {
            after.push(Charges { warmup: 0, main: 0 });
            after.iter_mut().for_each(|c| *c = c.and(&plan, task.round));
        }
        self.0.accounts.largest(task.plan_digest, plan, &after).await
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

    /// The current model of a task, as a safetensors file.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub(crate) async fn model_file(&self, task: &TaskId) -> Result<ModelFile, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let bytes = contents::find(tx, &name, task.model).await?;
            Ok((task, bytes))
        };
        let (task, bytes) = self.0.store.read_tx("model", find).await?;
        blocking(move || ModelFile::of(&task.plan, task.model, &bytes)).await?
    }

    /// Number of devices that ever enrolled.
    pub(crate) async fn enrolled(&self) -> Result<u64, Error> {
        let count = async |tx: &mut Tx| devices::count(tx).await;
        self.0.store.read_tx("device_count", count).await
    }

    /// Everything that is counted, as OpenMetrics text.
    pub(crate) async fn metrics(&self) -> Result<String, Error> {
        let (tasks, devices) = (self.tasks().await?, self.enrolled().await?);
        Ok(self.front().metrics.render(&tasks, devices, &self.0.store.statistics().counts()))
    }
}

/// A model to be saved as a file.
pub(crate) struct ModelFile {
    pub(crate) task: TaskId,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl ModelFile {
    /// The same parameters always give the same bytes: tensors in an order of their own, and
    /// nothing about the time.
    fn of(plan: &TaskPlan, digest: Digest, message: &[u8]) -> Result<Self, Error> {
        let model: ModelMessage = decode(message).map_err(Error::corrupt("model"))?;
        let bytes: Vec<u8> = model.parameters.iter().flat_map(|x| x.to_le_bytes()).collect();
        let corrupt = |reason: String| Error::Corrupt { what: "model", reason };
        let short = || corrupt("it is shorter than its layout".to_owned());
        let mut views = Vec::with_capacity(plan.layout.tensors.len());
        for (tensor, range) in plan.layout.ranges() {
            let data = bytes.get(4 * range.start..4 * range.end).ok_or_else(short)?;
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), data);
            views.push((tensor.name.as_str(), view.map_err(|e| corrupt(e.to_string()))?));
        }
        let bytes = safetensors::serialize(views, None).map_err(|e| corrupt(e.to_string()))?;
        Ok(Self { task: plan.task.clone(), digest, bytes })
    }
}

/// What is read about a task at one moment.
struct Standing {
    task: Task,
    row: RoundRow,
    control: Control,
    charges: Vec<Charges>,
}

fn state(task: &Task, status: Status) -> TaskState {
    match status {
        _ if task.is_finished() => TaskState::Finished,
        Status::Running => TaskState::Running,
        Status::Paused => TaskState::Paused,
        Status::Cancelled => TaskState::Cancelled,
        Status::Halted => TaskState::Halted,
    }
}

fn of_device(plan: &PrivacyPlan, charge: &Charge, account: Account, halted: bool) -> DevicePrivacy {
    DevicePrivacy {
        device: charge.device,
        rounds_charged: charge.charges.rounds(),
        epsilon: account.epsilon(),
        epsilon_rdp: account.rdp,
        epsilon_pld: account.finite_pld(),
        halted,
        events: charge.charges.events(plan),
    }
}
