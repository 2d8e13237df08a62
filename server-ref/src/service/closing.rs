//! The end of a round: deadline, aggregation, commit and the next round.
//!
//! A round with enough updates is closed in two transactions. The first fixes the set of
//! updates: from then on the round takes none. They are summed outside any transaction that
//! writes, so that devices are answered meanwhile, and a replica holds a lease so that the
//! others leave the work to it. The second looks under the lock whether the round still waits
//! for its sum and the lease is still held, and commits the step: of several that summed, one
//! commits, whatever their clocks say.

use std::sync::atomic::Ordering;

use adafed_algorithm::TrainingState;
use adafed_wire::{TaskId, TaskPlan, decode, encode};
use tracing::{error, info};

use super::admin::open_round;
use super::{Service, locked};
use crate::account::{Accounts, Charges};
use crate::aggregate::{Opening, Part, RoundSum, advance};
use crate::round::{Event, Phase};
use crate::store::controls::{self, Control, Status};
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, StoredState, Task};
use crate::store::updates::{self, StoredUpdate};
use crate::store::{Tx, assignments, contents};
use crate::{Error, blocking};

/// Rounds whose contents stay after they have closed: a device may be downloading.
const KEPT_ROUNDS: u64 = 2;
/// How long other replicas leave a round to the one that sums it. It is renewed at half.
const LEASE_MS: u64 = 30_000;
/// Most bytes of updates that are read at a time.
const CHUNK_BYTES: usize = 8 << 20;
/// Room for what an update holds beside its integers, in bytes.
const UPDATE_HEAD_BYTES: usize = 1 << 10;
/// Updates whose bytes are dropped at a time.
const DROPPED_AT_ONCE: u32 = 200;

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
        self.tidy().await?;
        self.flush_traffic().await
    }

    /// Closes a task's current round if its time has come.
    ///
    /// One at a time does it; who comes meanwhile goes on without it. Runs to its end even when
    /// the request that set it off is dropped. A failure is logged and left to the next
    /// attempt: the round stays as it was.
    pub(super) async fn close_round(&self, task: &TaskId) {
        if !locked(&self.0.closing).insert(task.clone()) {
            return;
        }
        let (this, owned) = (self.clone(), task.clone());
        let closing = tokio::spawn(async move {
            let mark = Mark { service: this, task: owned };
            mark.service.try_close_round(&mark.task).await
        });
        match closing.await {
            Ok(Ok(Some((round, phase)))) => {
                self.front().metrics.round_closed(phase);
                info!(%task, round, %phase, "round closed");
            }
            Ok(Ok(None)) => {}
            Ok(Err(e)) => error!(%task, code = e.code(), "round not closed: {e}"),
            Err(_) => error!(%task, code = Error::Stopped.code(), "round not closed"),
        }
    }

    async fn try_close_round(&self, task: &TaskId) -> Result<Option<(u64, Phase)>, Error> {
        let Some(closing) = self.begin_closing(task).await? else { return Ok(None) };
        let next = match closing.row.round.phase {
            Phase::Aggregating => self.aggregate(&closing).await?,
            _ => None,
        };
        let closed = self.commit_closing(&closing, next).await?;
        self.0.untidy.store(true, Ordering::Relaxed);
        Ok(closed)
    }

    /// Fixes the set of updates, or finds that there are too few. `None` when it is not time,
    /// or another replica is at it.
    pub(super) async fn begin_closing(&self, task: &TaskId) -> Result<Option<Closing>, Error> {
        let (name, now_ms, owner) = (task.clone(), self.now_ms(), self.0.replica.clone());
        let begin = async move |tx: &mut Tx| {
            let Some(mut closing) = Closing::find(tx, &name, now_ms).await? else {
                return Ok(None);
            };
            if closing.control.is_leased_to_other(&owner, now_ms) {
                return Ok(None);
            }
            closing.step(Event::Tick);
            if closing.row.round.phase == Phase::Aggregating {
                let (number, round) = (closing.row.number, closing.row.round);
                rounds::update(tx, &name, number, round, now_ms).await?;
                controls::set_lease(tx, &name, &owner, now_ms + LEASE_MS).await?;
            }
            Ok(Some(closing))
        };
        self.0.store.run_tx("begin_closing", begin).await
    }

    /// The state after the round's step; `None` when the model would not stay finite.
    async fn aggregate(&self, closing: &Closing) -> Result<Option<TrainingState>, Error> {
        let parts = self.sums(closing).await?;
        let name = closing.name.clone();
        let find = async move |tx: &mut Tx| tasks::state(tx, &name).await;
        let bytes = self.0.store.read_tx("training_state", find).await?;
        let plan = closing.task.plan.clone();
        blocking(move || advance(&plan, &stored_state(&bytes)?, parts)).await?
    }

    /// Sums the stored updates of each base round, a chunk in memory at a time.
    async fn sums(&self, closing: &Closing) -> Result<Vec<Part>, Error> {
        let (mut parts, mut last) = (Vec::<Part>::new(), (0, String::new()));
        let mut leased_ms = self.now_ms();
        loop {
            let chunk = self.chunk(closing, &last).await?;
            let Some(end) = chunk.last() else { return Ok(parts) };
            last = (end.base, end.device.clone());
            for base in chunk.iter().map(|update| update.base) {
                if parts.last().is_none_or(|part| part.sum.round() != base) {
                    parts.push(self.part(closing, base).await?);
                }
            }
            parts = blocking(move || add_all(parts, chunk)).await??;
            if self.now_ms().saturating_sub(leased_ms) > LEASE_MS / 2 {
                leased_ms = self.now_ms();
                self.renew_lease(&closing.name, leased_ms).await?;
            }
        }
    }

    async fn chunk(
        &self,
        closing: &Closing,
        last: &(u64, String),
    ) -> Result<Vec<StoredUpdate>, Error> {
        let (name, number, last) = (closing.name.clone(), closing.row.number, last.clone());
        // However its integers are packed, an update is no longer than this.
        let longest = 8 * closing.task.plan.layout.len() + UPDATE_HEAD_BYTES;
        let most = (CHUNK_BYTES / longest).max(1) as u32;
        let read = async move |tx: &mut Tx| {
            updates::after(tx, &name, number, (last.0, &last.1), most).await
        };
        self.0.store.read_tx("updates", read).await
    }

    /// An empty sum of a base round's updates, with the mask and scale its devices had.
    async fn part(&self, closing: &Closing, base: u64) -> Result<Part, Error> {
        let (name, plan) = (closing.name.clone(), closing.task.plan.clone());
        let read = async move |tx: &mut Tx| {
            let reason = "a round of stored updates is missing".to_owned();
            let missing = Error::Corrupt { what: "round", reason };
            let row = rounds::find(tx, &name, base).await?.ok_or(missing)?;
            Ok(Part {
                sum: RoundSum::new(&plan, base, row.active),
                mask: contents::find(tx, &name, row.mask).await?,
                scale: contents::find(tx, &name, row.scale).await?,
            })
        };
        self.0.store.read_tx("base_round", read).await
    }

    async fn renew_lease(&self, task: &TaskId, now_ms: u64) -> Result<(), Error> {
        let (name, owner) = (task.clone(), self.0.replica.clone());
        let renew = async move |tx: &mut Tx| {
            controls::renew_lease(tx, &name, &owner, now_ms + LEASE_MS).await
        };
        self.0.store.run_tx("renew_lease", renew).await
    }

    /// Commits the round's end, unless another replica has.
    pub(super) async fn commit_closing(
        &self,
        begun: &Closing,
        next: Option<TrainingState>,
    ) -> Result<Option<(u64, Phase)>, Error> {
        let sent = self.0.traffic.take(&begun.name);
        let (name, this) = (begun.name.clone(), self.clone());
        let (number, phase) = (begun.row.number, begun.row.round.phase);
        let commit = async move |tx: &mut Tx| {
            let Some(mut closing) = Closing::find(tx, &name, this.now_ms()).await? else {
                return Ok(None);
            };
            let ours = phase != Phase::Aggregating || closing.control.is_leased_to(&this.0.replica);
            if closing.row.number != number || !ours {
                return Ok(None);
            }
            let end = if next.is_some() { Event::Aggregated } else { Event::Unusable };
            closing.step(if phase == Phase::Aggregating { end } else { Event::Tick });
            // A replica whose clock is behind took an update after all: the next tick sums it.
            if !closing.row.round.phase.is_closed() {
                return Ok(None);
            }
            closing.commit(tx, &this.0.accounts, next.clone(), sent).await.map(Some)
        };
        let committed = self.0.store.run_tx("commit_closing", commit).await;
        if !matches!(committed, Ok(Some(_))) {
            self.0.traffic.count(&begun.name, sent);
        }
        committed
    }

    /// Drops the bytes of updates that are part of a model now, a few at a time: nobody waits
    /// for it.
    async fn tidy(&self) -> Result<(), Error> {
        while self.0.untidy.swap(false, Ordering::Relaxed) {
            let drop = async |tx: &mut Tx| updates::forget_some(tx, DROPPED_AT_ONCE).await;
            let dropped = self.0.store.run_tx("forget_updates", drop).await;
            if dropped.as_ref().map_or(true, |rows| *rows > 0) {
                self.0.untidy.store(true, Ordering::Relaxed);
            }
            dropped?;
        }
        Ok(())
    }
}

/// Says that this server closes a task's round, until it is dropped: a panic ends it too.
struct Mark {
    service: Service,
    task: TaskId,
}

impl Drop for Mark {
    fn drop(&mut self) {
        locked(&self.service.0.closing).remove(&self.task);
    }
}

fn add_all(mut parts: Vec<Part>, chunk: Vec<StoredUpdate>) -> Result<Vec<Part>, Error> {
    for update in chunk {
        let part = parts.iter_mut().find(|part| part.sum.round() == update.base);
        part.map_or(Ok(()), |part| part.sum.add(&update.body, update.weight))?;
    }
    Ok(parts)
}

fn stored_state(bytes: &[u8]) -> Result<TrainingState, Error> {
    decode::<StoredState>(bytes).map(|state| state.0).map_err(Error::corrupt("training state"))
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
pub(super) struct Closing {
    name: TaskId,
    task: Task,
    control: Control,
    row: RoundRow,
    now_ms: u64,
}

impl Closing {
    /// The task's current round, if its time has come: looked up under the lock.
    async fn find(tx: &mut Tx, name: &TaskId, now_ms: u64) -> Result<Option<Self>, Error> {
        controls::lock(tx, name).await?;
        let task = tasks::find(tx, name).await?;
        let row = rounds::find(tx, name, task.round).await?;
        let control = controls::find(tx, name).await?;
        let due = row.filter(|row| row.round.is_due(now_ms));
        Ok(due.map(|row| Self { name: name.clone(), task, control, row, now_ms }))
    }

    fn step(&mut self, event: Event) {
        let rules = self.control.rules(&self.task.plan.rounds);
        self.row.round = self.row.round.step(&rules, event, self.now_ms).0;
    }

    /// Stores the round's end: with the next state, or with a round that is passed over.
    async fn commit(
        mut self,
        tx: &mut Tx,
        accounts: &Accounts,
        next: Option<TrainingState>,
        bytes_down: u64,
    ) -> Result<(u64, Phase), Error> {
        let (number, phase) = (self.row.number, self.row.round.phase);
        let state = match next {
            Some(next) => next,
            None => self.passed_over(tx).await?,
        };
        rounds::update(tx, &self.name, number, self.row.round, self.now_ms).await?;
        rounds::add_bytes(tx, &self.name, number, 0, bytes_down).await?;
        controls::drop_lease(tx, &self.name).await?;
        let over = self.control.status.is_over();
        if !over && would_exceed(tx, accounts, &self.task, &self.control, number + 1).await? {
            self.control.status = Status::Halted;
            controls::set_status(tx, &self.name, Status::Halted).await?;
        }
        self.open_next(tx, state).await?;
        Ok((number, phase))
    }

    async fn passed_over(&self, tx: &mut Tx) -> Result<TrainingState, Error> {
        let bytes = tasks::state(tx, &self.name).await?;
        let mut state = blocking(move || stored_state(&bytes)).await??;
        state.skip_round(self.task.plan.plans());
        Ok(state)
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
