//! Building a participant: what it needs, checked before anything runs.

use std::sync::Arc;

use adafed_privacy::{Ledger, Policy};
use adafed_wire::{DeviceKey, TaskId};

use super::conditions::Always;
use super::connection::Connection;
use super::job::{Job, Outbox};
use super::{Conditions, Participant, Phase, entry};
use crate::Error;
use crate::clock::{Clock, SystemClock};
use crate::data::Dataset;
use crate::store::Store;
use crate::threads::Threads;
use crate::transport::Transport;

/// Collects what a [`Participant`] needs.
pub struct Builder<T, S> {
    task: TaskId,
    transport: Option<T>,
    store: Option<S>,
    data: Option<Arc<dyn Dataset>>,
    policy: Option<Policy>,
    token: String,
    clock: Arc<dyn Clock>,
    conditions: Arc<dyn Conditions>,
    threads: Threads,
}

impl<T: Transport, S: Store> Builder<T, S> {
    pub(super) fn new(task: TaskId) -> Self {
        let (token, clock, conditions) = (String::new(), Arc::new(SystemClock), Arc::new(Always));
        let (transport, store, data, policy) = Default::default();
        let threads = Threads::default();
        Self { task, transport, store, data, policy, token, clock, conditions, threads }
    }

    /// How the server is reached. Required.
    #[must_use]
    pub fn transport(mut self, transport: T) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Where key, ledger and the current round are kept. Required.
    #[must_use]
    pub fn store(mut self, store: S) -> Self {
        self.store = Some(store);
        self
    }

    /// The device's examples. Required.
    #[must_use]
    pub fn data(mut self, data: Arc<dyn Dataset>) -> Self {
        self.data = Some(data);
        self
    }

    /// The limits the device holds to, whatever the server asks. Required.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Enrolment token of the server; needed the first time only.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// The clock; the machine's own by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The host's conditions for work; none by default.
    #[must_use]
    pub fn conditions(mut self, conditions: Arc<dyn Conditions>) -> Self {
        self.conditions = conditions;
        self
    }

    /// Where local training runs; rayon's current pool by default.
    #[must_use]
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Opens the store: a device's first start makes its key; a later one goes on where
    /// the last one stopped, with a recorded but unsent release before all else.
    ///
    /// # Errors
    /// [`Error::Missing`] names what was not given; otherwise what the store or the
    /// ledger in it says.
    pub fn build(self) -> Result<Participant<T, S>, Error> {
        let missing = |what| Error::Missing { what };
        let store = self.store.ok_or(missing("a store"))?;
        let data = self.data.ok_or(missing("examples"))?;
        let transport = self.transport.ok_or(missing("a transport"))?;
        let policy = self.policy.ok_or(missing("a policy"))?;
        let key = load_key(&store)?;
        let ledger = Ledger::open(store.ledger()?, policy)?;
        let phase = resume(&store, &ledger, &self.task)?;
        let connection = Connection::new(transport, key, self.clock.clone());
        // A device with another key is another device: the server does not know it yet.
        let name = connection.device().to_string();
        let enrolled = store.load(entry::ENROLLED)?.is_some_and(|known| known == name.as_bytes());
        let mut participant = Participant {
            task: self.task,
            token: self.token,
            connection,
            store,
            ledger,
            data,
            clock: self.clock,
            conditions: self.conditions,
            threads: self.threads,
            phase,
            seen: None,
            known_model: None,
            offered: None,
            enrolled,
            failures: 0,
            report: None,
        };
        // A crash may have come between the record of a release and its report.
        if matches!(participant.phase, Phase::Uploading(_)) {
            participant.keep_report();
        }
        Ok(participant)
    }
}

fn load_key<S: Store>(store: &S) -> Result<DeviceKey, Error> {
    if let Some(bytes) = store.load(entry::KEY)? {
        return Ok(DeviceKey::from_pkcs8(&bytes)?);
    }
    let bytes = DeviceKey::generate()?;
    store.save(entry::KEY, &bytes)?;
    Ok(DeviceKey::from_pkcs8(&bytes)?)
}

/// A release that is recorded goes out as it is; a round that is not yet released is
/// trained again from its stored seed, to the same bytes.
pub(super) fn resume<S: Store>(
    store: &S,
    ledger: &Ledger<S::Ledger>,
    task: &TaskId,
) -> Result<Phase, Error> {
    if let Some(bytes) = store.load(entry::OUTBOX)? {
        let outbox = Outbox::restore(&bytes)?;
        let recorded = ledger.released(task.as_str(), outbox.round);
        if recorded == Some(outbox.digest().as_str()) {
            return Ok(Phase::Uploading(outbox));
        }
    }
    match store.load(entry::ROUND)? {
        Some(bytes) => Ok(Phase::Training(Box::new(Job::restore(&bytes, task)?))),
        None => Ok(Phase::CheckIn { at_ms: 0 }),
    }
}
