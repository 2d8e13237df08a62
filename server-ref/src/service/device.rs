//! What devices do: enrol, check in, download, upload.

use adafed_wire::{CheckinResponse, DeviceId, Digest, Receipt, TaskId, Update, decode};
use tracing::{error, info};

use super::Service;
use super::seating::Visit;
use crate::Error;
use crate::secret::Hashed;
use crate::store::{assignments, contents, controls, devices, rounds, tasks, tokens};

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
            if !tokens::spend(tx, &digest, now_ms).await? {
                return Err(Error::Token);
            }
            devices::insert(tx, &public_key, now_ms).await
        };
        self.0.store.run_tx("enrol", enrol).await?;
        self.front().metrics.enrolled();
        info!(%device, "device enrolled");
        Ok(device)
    }

    /// Answers a device that asks for work with SDK `version`. To ask it to take part is to
    /// charge it.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::ClientVersion`]; those of the database.
    pub async fn check_in(
        &self,
        device: DeviceId,
        task: &TaskId,
        version: &str,
    ) -> Result<CheckinResponse, Error> {
        self.settle(task).await?;
        self.foresee(device, task).await?;
        let (name, now_ms) = (task.clone(), self.now_ms());
        let (accounts, version) = (self.0.accounts.clone(), version.to_owned());
        let check_in = async move |tx: &mut _| {
            let visit = Visit { task: &name, device, now_ms };
            visit.check_in(tx, &accounts, &version).await
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
        let upload = async move |tx: &mut _| {
            let visit = Visit { task: &name, device, now_ms };
            visit.upload(tx, round, &update, &body).await
        };
        let receipt = self.0.store.run_tx("upload", upload).await?;
        self.settle_stored(task).await;
        Ok(receipt)
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
