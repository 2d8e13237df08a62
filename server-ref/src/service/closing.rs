//! The end of a round: deadline, aggregation, commit and the next round, in one
//! transaction.

use adafed_algorithm::TrainingState;
use adafed_wire::{TaskId, TaskPlan, decode, encode};
use tracing::{error, info};

use super::Service;
use super::admin::open_round;
use crate::account::{Accounts, Charges};
use crate::aggregate::{Opening, Part, RoundSum, advance};
use crate::round::{Effect, Event, Phase};
use crate::store::controls::{self, Control, Status};
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, StoredState, Task};
use crate::store::{Tx, assignments, contents, updates};
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
            closing.run(tx, &this.0.accounts, sent).await.map(Some)
        };
        self.0.store.run_tx("close_round", close).await
    }
}

/// Whether `round` would take a device beyond the task's cap, whoever takes part.
pub(super) async fn would_exceed(
    tx: &mut Tx,
    accounts: &Accounts,
    task: &Task,
    control: &Control,
    round: u64,
) -> Result<bool, Error> {
    let Some(cap) = control.settings.task_epsilon_cap else { return Ok(false) };
    let plan = task.plan.privacy;
    if round >= plan.rounds() {
        return Ok(false);
    }
    let charges = assignments::distinct(tx, &task.plan.task, plan.warmup.rounds).await?;
    let nobody = Charges { warmup: 0, main: 0 };
    let after: Vec<_> = charges.into_iter().chain([nobody]).map(|c| c.and(&plan, round)).collect();
    Ok(accounts.largest(task.plan_digest, plan, &after).await?.epsilon() > cap)
}

/// Rounds before the current one whose contents are kept: late updates need them again.
fn kept_rounds(plan: &TaskPlan) -> u64 {
    let buffer = plan.federation.buffer.map_or(0, |buffer| buffer.most_staleness);
    KEPT_ROUNDS.max(u64::from(buffer) + 1)
}

/// A round that is being closed.
struct Closing {
    name: TaskId,
    task: Task,
    control: Control,
    row: RoundRow,
    now_ms: u64,
}

impl Closing {
    /// The task's current round, if its time has come: looked up again under the lock,
    /// so that of several who try, one closes it.
    async fn find(tx: &mut Tx, name: TaskId, now_ms: u64) -> Result<Option<Self>, Error> {
        let task = tasks::find(tx, &name).await?;
        let row = rounds::find(tx, &name, task.round).await?;
        let control = controls::find(tx, &name).await?;
        let due = row.filter(|row| row.round.is_due(now_ms));
        Ok(due.map(|row| Self { name, task, control, row, now_ms }))
    }

    async fn run(
        mut self,
        tx: &mut Tx,
        accounts: &Accounts,
        bytes_down: u64,
    ) -> Result<(u64, Phase), Error> {
        let bytes = tasks::state(tx, &self.name).await?;
        let state = blocking(move || decode::<StoredState>(&bytes)).await?;
        let state = state.map_err(Error::corrupt("training state"))?.0;
        let next = self.next_state(tx, state).await?;
        let (number, phase) = (self.row.number, self.row.round.phase);
        rounds::update(tx, &self.name, number, self.row.round, self.now_ms).await?;
        rounds::add_bytes(tx, &self.name, number, 0, bytes_down).await?;
        updates::forget_bytes(tx, &self.name, number).await?;
        let next_round = self.row.number + 1;
        if !self.control.status.is_over()
            && would_exceed(tx, accounts, &self.task, &self.control, next_round).await?
        {
            self.control.status = Status::Halted;
            controls::set_status(tx, &self.name, Status::Halted).await?;
        }
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
            let parts = self.sums(tx).await?;
            let next = self.aggregate(parts, state.clone()).await?;
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
        let rules = self.control.rules(&self.task.plan.rounds);
        let (round, effects) = self.row.round.step(&rules, event, self.now_ms);
        self.row.round = round;
        effects
    }

    /// Sums the stored updates of each base round, one in memory at a time.
    async fn sums(&self, tx: &mut Tx) -> Result<Vec<Part>, Error> {
        let (task, number) = (&self.name, self.row.number);
        let (mut parts, mut last) = (Vec::<Part>::new(), (0, String::new()));
        while let Some(update) = updates::after(tx, task, number, (last.0, &last.1)).await? {
            if parts.last().is_none_or(|part| part.sum.round() != update.base) {
                parts.push(self.part(tx, update.base).await?);
            }
            last = (update.base, update.device);
            if let Some(mut part) = parts.pop() {
                let (body, weight) = (update.body, update.weight);
                let add = move || part.sum.add(&body, weight).map(|()| part);
                parts.push(blocking(add).await??);
            }
        }
        Ok(parts)
    }

    /// An empty sum of a base round's updates, with the mask and scale its devices had.
    async fn part(&self, tx: &mut Tx, base: u64) -> Result<Part, Error> {
        let reason = "a round of stored updates is missing".to_owned();
        let missing = Error::Corrupt { what: "round", reason };
        let row = rounds::find(tx, &self.name, base).await?.ok_or(missing)?;
        Ok(Part {
            sum: RoundSum::new(&self.task.plan, base, row.active),
            mask: contents::find(tx, &self.name, row.mask).await?,
            scale: contents::find(tx, &self.name, row.scale).await?,
        })
    }

    async fn aggregate(
        &self,
        parts: Vec<Part>,
        state: TrainingState,
    ) -> Result<Option<TrainingState>, Error> {
        let plan = self.task.plan.clone();
        blocking(move || advance(&plan, &state, parts)).await?
    }

    /// Stores the new state and opens the next round, if there is one and the task goes on.
    async fn open_next(self, tx: &mut Tx, state: TrainingState) -> Result<(), Error> {
        let (plan, round) = (self.task.plan, state.round());
        let kept_rounds = kept_rounds(&plan);
        let task = plan.task.clone();
        let encoded = move || -> Result<_, Error> {
            let opening = Opening::of(&plan, &state)?;
            Ok((opening, encode(&StoredState(state))?, plan.privacy.rounds()))
        };
        let (opening, bytes, rounds) = blocking(encoded).await??;
        tasks::advance(tx, &task, round, opening.model.digest, bytes).await?;
        if round < rounds && !self.control.status.is_over() {
            open_round(tx, &task, round, &opening, self.now_ms).await?;
        } else {
            let model = &opening.model;
            contents::keep(tx, &task, model.digest, round, &model.bytes).await?;
        }
        contents::prune(tx, &task, round.saturating_sub(kept_rounds)).await
    }
}
