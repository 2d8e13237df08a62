//! Table `tasks`: plans, progress and training states.

use std::sync::Arc;

use adafed_algorithm::{FederationPlan, TrainingState};
use adafed_wire::{Digest, Message, TaskId, TaskPlan, decode, encode};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::Tx;
use super::row::{signed, text, unsigned};
use crate::Error;

/// A task without its training state.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) plan: Arc<TaskPlan>,
    pub(crate) plan_digest: Digest,
    /// Rounds done.
    pub(crate) round: u64,
    pub(crate) model: Digest,
}

impl Task {
    pub(crate) fn is_finished(&self) -> bool {
        self.round >= self.plan.privacy.rounds()
    }

    /// The round to look at: the current one, or the last.
    pub(crate) fn shown_round(&self) -> u64 {
        self.round.min(self.plan.privacy.rounds().saturating_sub(1))
    }
}

/// The training state as it is stored: never sent to anybody.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoredState(pub(crate) TrainingState);

impl Message for StoredState {
    const NAME: &'static str = "training state";
    const LIMIT: usize = adafed_wire::LARGEST;
    // An empty second moment and an empty running importance.
    const ADDED: &[u8] = &[0, 0];

    fn is_extended(&self) -> bool {
        self.0.has_memory()
    }
}

/// Bytes of state a parameter takes: parameter and momentum as f32, two importance
/// sums, score, mean and variance as f64.
const STATE_BYTES_PER_PARAMETER: usize = 2 * 4 + 5 * 8;

/// Most parameters of a task with this plan whose state fits one record.
pub(crate) fn most_stored_parameters(plan: &FederationPlan) -> usize {
    let moment = if plan.adaptivity.settings().is_some() { 4 } else { 0 };
    let importance = if plan.refresh.is_some() { 8 } else { 0 };
    (StoredState::LIMIT - 1024) / (STATE_BYTES_PER_PARAMETER + moment + importance)
}

/// Stores a new task; whether the name was free.
pub(crate) async fn insert(
    tx: &mut Tx,
    plan: &TaskPlan,
    model: Digest,
    state: Vec<u8>,
    now_ms: u64,
) -> Result<bool, Error> {
    let sql = "-- tasks::insert
        INSERT INTO tasks (task, plan, plan_digest, rounds, round, model, state, created_ms)
        VALUES ($1, $2, $3, $4, 0, $5, $6, $7) ON CONFLICT (task) DO NOTHING";
    let plan_bytes = encode(plan)?;
    let query = sqlx::query(sql)
        .bind(plan.task.as_str())
        .bind(&plan_bytes)
        .bind(Digest::of(&plan_bytes).to_string())
        .bind(signed(plan.privacy.rounds()))
        .bind(model.to_string())
        .bind(state)
        .bind(signed(now_ms));
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// A task by name.
pub(crate) async fn find(tx: &mut Tx, task: &TaskId) -> Result<Task, Error> {
    let sql = "-- tasks::find
        SELECT plan_digest, round, model FROM tasks WHERE task = $1";
    let row = sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownTask { task: task.clone() })?;
    let plan_digest = text(&row, "plan_digest")?;
    let plan = match tx.plans.find(plan_digest) {
        Some(plan) => plan,
        None => {
            let (_, bytes) = plan_bytes(tx, task).await?;
            let plan = decode(&bytes).map_err(Error::corrupt("plan"))?;
            tx.plans.keep(plan_digest, plan)
        }
    };
    let (round, model) = (unsigned(&row, "round")?, text(&row, "model")?);
    Ok(Task { plan, plan_digest, round, model })
}

/// A task's plan as devices get it, and its digest.
pub(crate) async fn plan_bytes(tx: &mut Tx, task: &TaskId) -> Result<(Digest, Vec<u8>), Error> {
    let sql = "-- tasks::plan_bytes
        SELECT plan_digest, plan FROM tasks WHERE task = $1";
    let row = sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownTask { task: task.clone() })?;
    Ok((text(&row, "plan_digest")?, row.try_get("plan")?))
}

/// Names of all tasks.
pub(crate) async fn names(tx: &mut Tx) -> Result<Vec<TaskId>, Error> {
    let sql = "-- tasks::names
        SELECT task FROM tasks ORDER BY task";
    let rows = sqlx::query(sql).fetch_all(tx.connection()).await?;
    rows.iter().map(|row| text(row, "task")).collect()
}

/// The encoded training state.
pub(crate) async fn state(tx: &mut Tx, task: &TaskId) -> Result<Vec<u8>, Error> {
    let sql = "-- tasks::state
        SELECT state FROM tasks WHERE task = $1";
    let row = sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownTask { task: task.clone() })?;
    Ok(row.try_get("state")?)
}

/// Moves a task on to its next round.
pub(crate) async fn advance(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
    model: Digest,
    state: Vec<u8>,
) -> Result<(), Error> {
    let sql = "-- tasks::advance
        UPDATE tasks SET round = $1, model = $2, state = $3 WHERE task = $4";
    let query = sqlx::query(sql).bind(signed(round)).bind(model.to_string()).bind(state);
    query.bind(task.as_str()).execute(tx.connection()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use adafed_algorithm::{Adaptivity, Mask, MaskRefresh, ReleasedSum, SecondMomentSettings};
    use adafed_wire::EXTENDED_VERSION;

    use super::*;
    use crate::testing;

    /// One more round of a task.
    fn next(plan: &TaskPlan, mut state: TrainingState) -> TrainingState {
        let mask: Mask = state.mask(plan.plans());
        let scale = state.standardisation(plan.plans(), &mask).unwrap();
        let mut sum = ReleasedSum::new(mask.active_count(), plan.privacy.local_steps);
        sum.add_device(&(0..mask.active_count() as i64).map(|j| 1_000 * j).collect::<Vec<_>>())
            .unwrap();
        state.advance(plan.plans(), &mask, &scale, &sum).unwrap();
        state
    }

    #[test]
    fn states_of_the_first_version_are_read_and_written_as_they_were() {
        let plan = testing::plan("golden");
        for (text, rounds) in [
            (include_str!("golden/state-v1-new.hex"), 0),
            (include_str!("golden/state-v1-main.hex"), 2),
        ] {
            let bytes = hex::decode(text.trim()).unwrap();
            let state = decode::<StoredState>(&bytes).unwrap().0;
            assert_eq!(state.round(), rounds);
            assert_eq!(encode(&StoredState(state.clone())).unwrap(), bytes);
            assert!(!next(&plan, state).has_memory(), "a plain plan adds nothing to its state");
        }
    }

    #[test]
    fn a_plain_plan_makes_the_states_of_the_first_version_to_the_bit() {
        // The uploads with which the golden states were made, before there was a choice.
        let plan = testing::plan("golden");
        let golden = |text: &str| hex::decode(text.trim()).unwrap();
        let first = golden(include_str!("golden/state-v1-new.hex"));
        let mut state = decode::<StoredState>(&first).unwrap().0;
        for round in 0..2 {
            let mask = state.mask(plan.plans());
            let scale = state.standardisation(plan.plans(), &mask).unwrap();
            let mut sum = ReleasedSum::new(mask.active_count(), plan.privacy.local_steps);
            let value = |j: i64| (j * 7_919 + round * 31) % 4_001 * 100 - 200_000;
            let values: Vec<i64> = (0..mask.active_count() as i64).map(value).collect();
            sum.add_device(&values).unwrap();
            state.advance(plan.plans(), &mask, &scale, &sum).unwrap();
        }
        let last = golden(include_str!("golden/state-v1-main.hex"));
        assert_eq!(encode(&StoredState(state)).unwrap(), last);
    }

    #[test]
    fn what_a_plan_adds_to_its_state_comes_back() {
        let mut plan = testing::plan("golden");
        let moment = SecondMomentSettings { beta2: 0.9, tau: 1e-3, debiased: true };
        plan.federation.adaptivity = Adaptivity::Adam(moment);
        plan.federation.refresh = Some(MaskRefresh { every: 1, exploration: 0.3, decay: 0.9 });
        let mut state = TrainingState::new(&plan.layout, vec![0.0; testing::D]).unwrap();
        for round in 0..3 {
            assert_eq!(state.has_memory(), round > 0);
            state = next(&plan, state);
            let bytes = encode(&StoredState(state.clone())).unwrap();
            assert_eq!(bytes[0], EXTENDED_VERSION);
            assert_eq!(decode::<StoredState>(&bytes).unwrap().0, state);
        }
        let most = |plan: &TaskPlan| most_stored_parameters(&plan.federation);
        assert!(most(&plan) < most(&testing::plan("golden")));
    }
}
