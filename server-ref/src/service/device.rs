//! What devices do: enrol, check in, download, upload.

use adafed_wire::{Assignment, CheckinResponse, DeviceId, Digest, Receipt, TaskId, Update, decode};
use tracing::{error, info};

use super::Service;
use crate::Error;
use crate::round::{Answer, Effect, Event};
use crate::secret::Hashed;
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, Task};
use crate::store::{Tx, assignments, contents, devices, tokens, updates};

/// A body for devices, and its name.
pub(crate) struct Download {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Service {
    /// Enrols the owner of a key. Enrolling again costs the token nothing.
    ///
    /// # Errors
    /// [`Error::Token`]; those of the database.
    pub async fn enrol(&self, token: &str, public_key: [u8; 32]) -> Result<DeviceId, Error> {
        let device = DeviceId::of_key(&public_key);
        let (digest, now_ms) = (Hashed::of(token).to_hex(), self.now_ms());
        let enrol = async move |tx: &mut _| {
            if devices::public_key(tx, device).await?.is_some() {
                return Ok(());
            }
            if !tokens::spend(tx, &digest).await? {
                return Err(Error::Token);
            }
            devices::insert(tx, &public_key, now_ms).await
        };
        self.0.store.run_tx("enrol", enrol).await?;
        info!(%device, "device enrolled");
        Ok(device)
    }

    /// Answers a device that asks for work. To ask it to take part is to charge it.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn check_in(
        &self,
        device: DeviceId,
        task: &TaskId,
    ) -> Result<CheckinResponse, Error> {
        self.settle(task).await?;
        let (name, now_ms) = (task.clone(), self.now_ms());
        let check_in = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let Some(row) = rounds::find(tx, &name, task.round).await? else {
                return Ok(CheckinResponse::Finished { model: task.model });
            };
            let standing = updates::standing(tx, &name, row.number, device).await?;
            let step = Step { task: &task, row: &row, device, body: &[], now_ms };
            let answer = step.run(tx, Event::CheckIn(standing)).await?;
            Ok(check_in_response(&task, &row, answer))
        };
        self.0.store.run_tx("check_in", check_in).await
    }

    /// Takes an update, once: the same bytes again are acknowledged, at any time.
    ///
    /// # Errors
    /// [`Error::Wire`] for a body that is not an update, [`Error::Malformed`] for one
    /// that is about another task or round; [`Error::UnknownTask`],
    /// [`Error::UnknownRound`], [`Error::Stale`], [`Error::NotAssigned`],
    /// [`Error::OtherUpdate`], [`Error::RoundClosed`]; those of the database.
    pub async fn upload(
        &self,
        device: DeviceId,
        task: &TaskId,
        round: u64,
        body: &[u8],
    ) -> Result<Receipt, Error> {
        let update = read_update(body, task, round)?;
        self.settle(task).await?;
        let (name, body, now_ms) = (task.clone(), body.to_vec(), self.now_ms());
        let sent = Digest::of(&body);
        let upload = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let current = task.shown_round();
            let unknown = Error::UnknownRound { round, current };
            let row = rounds::find(tx, &name, round).await?.ok_or(unknown)?;
            check_update(&update, &task, &row)?;
            let standing = updates::standing(tx, &name, round, device).await?;
            let step = Step { task: &task, row: &row, device, body: &body, now_ms };
            receipt(step.run(tx, Event::Report(standing, sent)).await?, round, current, sent)
        };
        let receipt = self.0.store.run_tx("upload", upload).await?;
        self.settle_stored(task).await;
        Ok(receipt)
    }

    /// A task's plan, encoded.
    pub(crate) async fn plan(&self, task: &TaskId) -> Result<Download, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| tasks::find(tx, &name).await;
        let found = self.0.store.read_tx("plan", find).await?;
        Ok(Download { digest: found.plan_digest, bytes: found.plan_bytes })
    }

    /// A model, mask or scale state, encoded.
    pub(crate) async fn content(&self, task: &TaskId, digest: Digest) -> Result<Download, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            tasks::find(tx, &name).await?;
            contents::find(tx, &name, digest).await
        };
        let bytes = self.0.store.read_tx("content", find).await?;
        Ok(Download { digest, bytes })
    }

    /// Counts a body that goes to a device.
    pub(crate) fn count_sent(&self, task: &TaskId, bytes: usize) {
        self.0.traffic.count(task, bytes);
    }

    /// As [`settle`](Self::settle), after an update is safe: if its round cannot be closed
    /// now, the next tick tries again.
    async fn settle_stored(&self, task: &TaskId) {
        if let Err(e) = self.settle(task).await {
            error!(%task, code = e.code(), "round not closed");
        }
    }

    /// Closes the task's round first if its time has come: between two ticks, requests
    /// keep the time.
    async fn settle(&self, task: &TaskId) -> Result<(), Error> {
        let (name, now_ms) = (task.clone(), self.now_ms());
        let is_due = async move |tx: &mut _| {
            let task = tasks::find(tx, &name).await?;
            let row = rounds::find(tx, &name, task.round).await?;
            Ok(row.is_some_and(|row| row.round.is_due(now_ms)))
        };
        if self.0.store.read_tx("is_due", is_due).await? {
            self.close_round(task).await;
        }
        Ok(())
    }
}

/// One step of the round machine, with what its effects need.
struct Step<'a> {
    task: &'a Task,
    row: &'a RoundRow,
    device: DeviceId,
    body: &'a [u8],
    now_ms: u64,
}

impl Step<'_> {
    /// Steps, stores state and effects, and gives the answer back.
    async fn run(&self, tx: &mut Tx, event: Event) -> Result<Answer, Error> {
        let (round, effects) = self.row.round.step(&self.task.plan.rounds, event, self.now_ms);
        let (task, number) = (&self.task.plan.task, self.row.number);
        if round != self.row.round {
            rounds::update(tx, task, number, round, self.now_ms).await?;
        }
        let mut answer = Answer::Wait;
        for effect in effects {
            match effect {
                Effect::Assign => {
                    assignments::insert(tx, task, number, self.device, self.now_ms).await?;
                }
                Effect::Accept => self.accept(tx).await?,
                Effect::Answer(a) => answer = a,
                // The stored phase says so; closing the round does it.
                Effect::Aggregate | Effect::Skip => {}
            }
        }
        Ok(answer)
    }

    async fn accept(&self, tx: &mut Tx) -> Result<(), Error> {
        let (task, number) = (&self.task.plan.task, self.row.number);
        updates::insert(tx, task, number, self.device, self.body, self.now_ms).await?;
        rounds::add_bytes(tx, task, number, self.body.len() as u64, 0).await
    }
}

fn check_in_response(task: &Task, row: &RoundRow, answer: Answer) -> CheckinResponse {
    match answer {
        Answer::Join => CheckinResponse::Join(Assignment {
            round: row.number,
            plan: task.plan_digest,
            model: row.model,
            mask: row.mask,
            scale: row.scale,
        }),
        _ => CheckinResponse::Wait { retry_after_ms: task.plan.rounds.retry_after_ms },
    }
}

fn receipt(answer: Answer, round: u64, current: u64, sent: Digest) -> Result<Receipt, Error> {
    match answer {
        Answer::Taken { duplicate } => Ok(Receipt { duplicate }),
        Answer::NotAssigned => Err(Error::NotAssigned { round }),
        Answer::OtherUpdate { kept } => Err(Error::OtherUpdate { kept, sent }),
        Answer::Closed | Answer::Join | Answer::Wait => Err(Error::RoundClosed { round, current }),
    }
}

/// Decodes an update, which must be about what its path names.
fn read_update(body: &[u8], task: &TaskId, round: u64) -> Result<Update, Error> {
    let update: Update = decode(body)?;
    if update.task == *task && update.round == round {
        return Ok(update);
    }
    let (named, found) = (format!("{task}/{round}"), format!("{}/{}", update.task, update.round));
    let reason = format!("it is about {found}, the path about {named}");
    Err(Error::Malformed { what: "update", reason })
}

/// Whether the update was made for this round.
fn check_update(update: &Update, task: &Task, row: &RoundRow) -> Result<(), Error> {
    let pairs = [
        ("plan", update.plan, task.plan_digest),
        ("model", update.model, row.model),
        ("mask", update.mask, row.mask),
    ];
    match pairs.into_iter().find(|(_, sent, expected)| sent != expected) {
        Some((what, sent, expected)) => Err(Error::Stale { what, sent, expected }),
        None => Ok(update.values.unpack(row.active).map(drop)?),
    }
}
