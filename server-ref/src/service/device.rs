//! What devices do: enrol, check in, download, upload.

use std::time::Duration;

use adafed_wire::{CheckinResponse, DeviceId, Digest, Receipt, TaskId, Update, decode};
use axum::body::Bytes;
use tracing::{error, info};

use super::Service;
use super::writer::{Done, Work};
use crate::Error;
use crate::report::DeviceState;
use crate::secret::Hashed;
use crate::store::devices::{self, Credential};
use crate::store::{assignments, contents, controls, rounds, tasks, tokens};

/// How long the request that completes a round waits for the sum; it goes on without it.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
/// Longest version of an SDK that is kept, in bytes.
const MOST_VERSION_BYTES: usize = 64;

/// A body for devices, and its name.
pub(crate) struct Download {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Service {
    /// Enrols the owner of a key, who asked for it at `signed_ms`. Enrolling again costs the
    /// token nothing, unless the device was revoked since.
    ///
    /// # Errors
    /// [`Error::Token`]; [`Error::Banned`]; [`Error::Replayed`]; those of the database.
    pub async fn enrol(
        &self,
        token: &str,
        public_key: [u8; 32],
        signed_ms: u64,
    ) -> Result<DeviceId, Error> {
        let device = DeviceId::of_key(&public_key);
        let request = Credential { device, signed_ms };
        let (digest, now_ms) = (Hashed::of(token).to_hex(), self.now_ms());
        let enrol = async move |tx: &mut _| {
            devices::lock(tx, device).await?;
            match devices::state(tx, device).await? {
                Some(DeviceState::Active) => {
                    devices::spend(tx, request, now_ms).await?;
                    return Ok(false);
                }
                Some(DeviceState::Banned) => return Err(Error::Banned { device }),
                Some(DeviceState::Revoked) | None => {}
            }
            let weight = tokens::spend(tx, &digest, now_ms).await?.ok_or(Error::Token)?;
            devices::insert(tx, &public_key, weight, signed_ms, now_ms).await?;
            Ok(true)
        };
        if self.0.store.run_tx("enrol", enrol).await? {
            self.front().metrics.enrolled();
            info!(%device, "device enrolled");
        }
        Ok(device)
    }

    /// Answers a device that asks for work with SDK `version`. To ask it to take part is to
    /// charge it.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::ClientVersion`]; those of
    /// [`spend`](Self::spend) and of the database.
    pub(crate) async fn check_in(
        &self,
        request: Credential,
        task: &TaskId,
        version: &str,
    ) -> Result<CheckinResponse, Error> {
        if version.len() > MOST_VERSION_BYTES {
            let reason = format!("it is longer than {MOST_VERSION_BYTES} bytes");
            return Err(Error::Malformed { what: "version", reason });
        }
        self.settle(task).await?;
        self.foresee(request.device, task).await?;
        let work = Work::CheckIn { task: task.clone(), version: version.to_owned() };
        match self.0.writer.write(request, work, self.now_ms()).await? {
            Done::Answered(answer) => Ok(answer),
            Done::Spent | Done::Taken(..) => Err(Error::Stopped),
        }
    }

    /// Takes an update, once: the same bytes again are acknowledged, at any time.
    ///
    /// # Errors
    /// [`Error::Wire`] for a body that is not an update, [`Error::Malformed`] for one
    /// that is about another task or round; [`Error::UnknownTask`],
    /// [`Error::UnknownRound`], [`Error::Stale`], [`Error::NotAssigned`],
    /// [`Error::OtherUpdate`], [`Error::RoundClosed`]; those of
    /// [`spend`](Self::spend) and of the database.
    pub(crate) async fn upload(
        &self,
        request: Credential,
        task: &TaskId,
        round: u64,
        body: Bytes,
    ) -> Result<Receipt, Error> {
        let update = Box::new(read_update(&body, task, round)?);
        self.settle(task).await?;
        let sent = Digest::of(&body);
        let work = Work::Upload { task: task.clone(), round, update, body, sent };
        match self.0.writer.write(request, work, self.now_ms()).await? {
            Done::Taken(receipt, due) => {
                if due {
                    self.settle_stored(task).await;
                }
                Ok(receipt)
            }
            Done::Spent | Done::Answered(_) => Err(Error::Stopped),
        }
    }

    /// Uses a signed request up: it is not taken a second time.
    ///
    /// # Errors
    /// [`Error::Replayed`], [`Error::Revoked`], [`Error::Banned`],
    /// [`Error::UnknownDevice`]; those of the database.
    pub(crate) async fn spend(&self, request: Credential) -> Result<(), Error> {
        self.0.writer.write(request, Work::Spend, self.now_ms()).await.map(drop)
    }

    /// Computes what the device cap wants to know before the transaction that asks for it:
    /// an epsilon takes longer than a lock should be held.
    async fn foresee(&self, device: DeviceId, task: &TaskId) -> Result<(), Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| {
            let control = controls::find(tx, &name).await?;
            if control.settings.device_epsilon_cap.is_none() {
                return Ok(None);
            }
            let task = tasks::find(tx, &name).await?;
            let warmup = task.plan.privacy.warmup.rounds;
            let charges = assignments::of_device(tx, &name, device, warmup).await?;
            Ok(Some((charges.and(&task.plan.privacy, task.round), task)))
        };
        if let Some((next, task)) = self.0.store.read_tx("foresee", find).await? {
            let plan = task.plan.privacy;
            self.0.accounts.accounts(task.plan_digest, plan, vec![next]).await?;
        }
        Ok(())
    }

    /// A task's plan, encoded.
    pub(crate) async fn plan(&self, task: &TaskId) -> Result<Download, Error> {
        let name = task.clone();
        let find = async move |tx: &mut _| tasks::plan_bytes(tx, &name).await;
        let (digest, bytes) = self.0.store.read_tx("plan", find).await?;
        Ok(Download { digest, bytes })
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
        self.0.traffic.count(task, bytes as u64);
        self.front().metrics.sent(bytes);
    }

    /// As [`settle`](Self::settle), after an update is safe: if its round cannot be closed
    /// now, the next tick tries again.
    async fn settle_stored(&self, task: &TaskId) {
        if let Err(e) = self.settle(task).await {
            error!(%task, code = e.code(), "round not closed");
        }
    }

    /// Closes the task's round first if its time has come: between two ticks, requests
    /// keep the time. A long sum goes on by itself.
    async fn settle(&self, task: &TaskId) -> Result<(), Error> {
        let (name, now_ms) = (task.clone(), self.now_ms());
        let is_due = async move |tx: &mut _| rounds::is_due(tx, &name, now_ms).await;
        if self.0.store.read_tx("is_due", is_due).await? {
            let _ = tokio::time::timeout(CLOSING_PATIENCE, self.close_round(task)).await;
        }
        Ok(())
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
