//! The end of a round: deadline, aggregation, commit and the next round, in one
//! transaction.

use adafed_algorithm::TrainingState;
use adafed_wire::{TaskId, decode, encode};
use tracing::{error, info};

use super::Service;
use super::admin::open_round;
use crate::aggregate::{Opening, Part, RoundSum, advance};
use crate::round::{Effect, Event, Phase};
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, StoredState, Task};
use crate::store::{Tx, contents, updates};
use crate::{Error, blocking};

/// Rounds whose contents stay after they have closed: a device may be downloading.
const KEPT_ROUNDS: u64 = 2;

impl Service {
    /// Closes every round whose time has come and stores pending statistics. The server
    /// calls it at every tick.
    ///
    /// # Errors
    /// Those of the database; what was done before stays done.
    pub async fn tick(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let due = async move |tx: &mut _| rounds::due(tx, now_ms).await;
        for task in self.0.store.read_tx("due", due).await? {
            self.close_round(&task).await;
        }
        self.flush_traffic().await
    }

    /// Closes a task's current round if its time has come.
    ///
    /// Runs to its end even when the request that set it off is dropped. A failure is
    /// logged and left to the next attempt: the round stays as it was.
    pub(super) async fn close_round(&self, task: &TaskId) {
        let (this, owned) = (self.clone(), task.clone());
        let closing = tokio::spawn(async move { this.try_close_round(owned).await });
        match closing.await {
            Ok(Ok(Some((round, phase)))) => info!(%task, round, %phase, "round closed"),
            Ok(Ok(None)) => {}
            Ok(Err(e)) => error!(%task, code = e.code(), "round not closed: {e}"),
            Err(_) => error!(%task, code = Error::Stopped.code(), "round not closed"),
        }
    }

    async fn try_close_round(&self, task: TaskId) -> Result<Option<(u64, Phase)>, Error> {
        let (now_ms, this) = (self.now_ms(), self.clone());
        let close = async move |tx: &mut _| {
            let closing = Closing::find(tx, task, now_ms).await?;
            let Some(closing) = closing else { return Ok(None) };
            let sent = this.0.traffic.take(&closing.name);
            closing.run(tx, sent).await.map(Some)
        };
        self.0.store.run_tx("close_round", close).await
    }
}

/// A round that is being closed.
struct Closing {
    name: TaskId,
    task: Task,
    row: RoundRow,
    now_ms: u64,
}

impl Closing {
    /// The task's current round, if its time has come: looked up again under the lock,
    /// so that of several who try, one closes it.
    async fn find(tx: &mut Tx, name: TaskId, now_ms: u64) -> Result<Option<Self>, Error> {
        let task = tasks::find(tx, &name).await?;
        let row = rounds::find(tx, &name, task.round).await?;
        let due = row.filter(|row| row.round.is_due(now_ms));
        Ok(due.map(|row| Self { name, task, row, now_ms }))
    }

    async fn run(mut self, tx: &mut Tx, bytes_down: u64) -> Result<(u64, Phase), Error> {
        let bytes = tasks::state(tx, &self.name).await?;
        let state = blocking(move || decode::<StoredState>(&bytes)).await?;
        let state = state.map_err(Error::corrupt("training state"))?.0;
        let next = self.next_state(tx, state).await?;
        let (number, phase) = (self.row.number, self.row.round.phase);
        rounds::update(tx, &self.name, number, self.row.round, self.now_ms).await?;
        rounds::add_bytes(tx, &self.name, number, 0, bytes_down).await?;
        updates::forget_bytes(tx, &self.name, number).await?;
        self.open_next(tx, next).await?;
        Ok((number, phase))
    }

    /// Steps the machine to the round's end, and does what it asks for.
    async fn next_state(
        &mut self,
        tx: &mut Tx,
        state: TrainingState,
    ) -> Result<TrainingState, Error> {
        let mut effects = self.step(Event::Tick);
        if self.row.round.phase == Phase::Aggregating {
            let sum = self.sum(tx).await?;
            let next = self.aggregate(tx, sum, state.clone()).await?;
            effects = self.step(if next.is_some() { Event::Aggregated } else { Event::Unusable });
            if let Some(next) = next {
                return Ok(next);
            }
        }
        debug_assert_eq!(effects, [Effect::Skip]);
        let mut skipped = state;
        skipped.skip_round(self.task.plan.plans());
        Ok(skipped)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let (round, effects) = self.row.round.step(&self.task.plan.rounds, event, self.now_ms);
        self.row.round = round;
        effects
    }

    /// Sums the stored updates, one in memory at a time.
    async fn sum(&self, tx: &mut Tx) -> Result<RoundSum, Error> {
        let (task, number) = (&self.name, self.row.number);
        let mut sum = RoundSum::new(&self.task.plan, number, self.row.active);
        let mut last = String::new();
        while let Some((device, bytes)) = updates::after(tx, task, number, &last).await? {
            sum = blocking(move || sum.add(&bytes, 1).map(|()| sum)).await??;
            last = device;
        }
        Ok(sum)
    }

    async fn aggregate(
        &self,
        tx: &mut Tx,
        sum: RoundSum,
        state: TrainingState,
    ) -> Result<Option<TrainingState>, Error> {
        let mask = contents::find(tx, &self.name, self.row.mask).await?;
        let scale = contents::find(tx, &self.name, self.row.scale).await?;
        let plan = self.task.plan.clone();
        let parts = vec![Part { sum, mask, scale }];
        blocking(move || advance(&plan, &state, parts)).await?
    }

    /// Stores the new state and opens the next round, if there is one.
    async fn open_next(self, tx: &mut Tx, state: TrainingState) -> Result<(), Error> {
        let (plan, round) = (self.task.plan, state.round());
        let task = plan.task.clone();
        let encoded = move || -> Result<_, Error> {
            let opening = Opening::of(&plan, &state)?;
            Ok((opening, encode(&StoredState(state))?, plan.privacy.rounds()))
        };
        let (opening, bytes, rounds) = blocking(encoded).await??;
        tasks::advance(tx, &task, round, opening.model.digest, bytes).await?;
        if round < rounds {
            open_round(tx, &task, round, &opening, self.now_ms).await?;
        } else {
            let model = &opening.model;
            contents::keep(tx, &task, model.digest, round, &model.bytes).await?;
        }
        contents::prune(tx, &task, round.saturating_sub(KEPT_ROUNDS)).await
    }
}
