//! What operators do: create tasks.

use adafed_algorithm::TrainingState;
use adafed_wire::{TaskId, TaskPlan, TaskSettings, encode};
use tracing::info;

use super::Service;
use crate::aggregate::Opening;
use crate::report::TaskStatus;
use crate::round::Round;
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, StoredState, most_stored_parameters};
use crate::store::{Tx, contents, controls};
use crate::{Error, blocking};

impl Service {
    /// Creates a task and opens its first round.
    ///
    /// # Errors
    /// [`Error::Wire`] names what makes the plan, the parameters or the settings impossible;
    /// [`Error::TaskExists`]; [`Error::TaskTooLarge`]; [`Error::Impossible`] for one that its own
    /// caps do not allow, with the numbers that would fit; those of the database.
    pub async fn create_task(
        &self,
        plan: TaskPlan,
        parameters: Vec<f32>,
        settings: TaskSettings,
    ) -> Result<TaskStatus, Error> {
        plan.check()?;
        settings.check(&plan.rounds)?;
        let limit = most_stored_parameters(&plan.federation);
        if parameters.len() > limit {
            return Err(Error::TaskTooLarge { parameters: parameters.len(), limit });
        }
        if settings.device_epsilon_cap.is_some() || settings.task_epsilon_cap.is_some() {
            let reasons = self.forecast(plan.clone(), settings.clone()).await?.reasons;
            if !reasons.is_empty() {
                return Err(Error::Impossible { reasons });
            }
        }
        let (task, rounds, now_ms) = (plan.task.clone(), plan.privacy.rounds(), self.now_ms());
        let new = blocking(move || NewTask::of(plan, parameters, settings)).await??;
        let insert = async move |tx: &mut _| new.insert(tx, now_ms).await;
        self.0.store.run_tx("create_task", insert).await?;
        info!(%task, rounds, "task created");
        self.task_status(&task).await
    }
}

/// A task that is not stored yet.
struct NewTask {
    plan: TaskPlan,
    opening: Opening,
    state: Vec<u8>,
    settings: TaskSettings,
}

impl NewTask {
    fn of(plan: TaskPlan, parameters: Vec<f32>, settings: TaskSettings) -> Result<Self, Error> {
        let state = TrainingState::new(&plan.layout, parameters);
        let state = state.map_err(adafed_wire::Error::from)?;
        let opening = Opening::of(&plan, &state)?;
        Ok(Self { opening, state: encode(&StoredState(state))?, plan, settings })
    }

    async fn insert(&self, tx: &mut Tx, now_ms: u64) -> Result<(), Error> {
        let Self { plan, opening, state, settings } = self;
        if !tasks::insert(tx, plan, opening.model.digest, state.clone(), now_ms).await? {
            return Err(Error::TaskExists { task: plan.task.clone() });
        }
        controls::insert(tx, &plan.task, settings).await?;
        open_round(tx, &plan.task, 0, opening, now_ms).await
    }
}

/// Opens round `number`, and keeps what its devices download.
pub(super) async fn open_round(
    tx: &mut Tx,
    task: &TaskId,
    number: u64,
    opening: &Opening,
    now_ms: u64,
) -> Result<(), Error> {
    for content in [&opening.model, &opening.mask, &opening.scale] {
        contents::keep(tx, task, content.digest, number, &content.bytes).await?;
    }
    let row = RoundRow {
        number,
        round: Round::open(),
        model: opening.model.digest,
        mask: opening.mask.digest,
        scale: opening.scale.digest,
        active: opening.active,
    };
    rounds::insert(tx, task, &row, now_ms).await
}
