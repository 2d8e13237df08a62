//! A round in progress as bytes that the app keeps, for this device and its ledger alone.

use adafed_wire::{DeviceId, Message, decode, encode};
use serde::{Deserialize, Serialize};

use super::job::Job;
use super::{Participant, Phase, check_data, entry};
use crate::Error;
use crate::store::Store;
use crate::transport::Transport;

/// A saved round that leaves the device's store, with the device whose ledger it belongs to.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    device: DeviceId,
    #[serde(with = "serde_bytes")]
    round: Vec<u8>,
}

impl Message for Snapshot {
    const NAME: &'static str = "saved round of a device";
    const LIMIT: usize = adafed_wire::LARGEST;
}

impl<T: Transport, S: Store> Participant<T, S> {
    /// The round in progress, as bytes from which [`Participant::restore`] goes on with
    /// the same result; `None` between rounds.
    ///
    /// The bytes hold the round's noise seed: they are as secret as the examples.
    ///
    /// # Errors
    /// When the state cannot be encoded.
    pub fn save(&self) -> Result<Option<Vec<u8>>, Error> {
        let Phase::Training(job) = &self.phase else { return Ok(None) };
        let snapshot = Snapshot { device: self.device(), round: job.save()? };
        Ok(Some(encode(&snapshot)?))
    }

    /// Goes on from bytes of [`Participant::save`]. A round whose release is already
    /// recorded is dropped at the next tick: it cannot be released twice.
    ///
    /// # Errors
    /// When the bytes are not a saved round of this task; [`Error::OtherDevice`] when they are
    /// another device's, whose ledger says whether the round was released; and
    /// [`Error::Privacy`] when this device's ledger never accepted the round's plan, as after
    /// its folder was lost.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), Error> {
        let Snapshot { device, round } = decode(saved)?;
        if device != self.device() {
            return Err(Error::OtherDevice { found: device, expected: self.device() });
        }
        let job = Job::restore(&round, &self.task)?;
        self.check_accepted(&job)?;
        check_data(&job, &*self.data, self.ledger.policy())?;
        self.keep_plan(&job)?;
        self.store.save(entry::ROUND, &round)?;
        self.phase = Phase::Training(Box::new(job));
        Ok(())
    }

    /// Refuses a round whose plan is not in the ledger: it could never be charged.
    fn check_accepted(&self, job: &Job) -> Result<(), Error> {
        let (task, digest) = (self.task.as_str(), job.plan_digest());
        if self.ledger.tasks().any(|(name, accepted, _)| name == task && accepted == digest) {
            return Ok(());
        }
        let (task, round) = (task.to_owned(), job.round());
        Err(adafed_privacy::Error::NotCharged { task, round }.into())
    }
}
