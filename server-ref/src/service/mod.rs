//! What the server does, without HTTP: one method a request.

mod admin;
mod closing;
mod control;
mod credentials;
mod device;
mod evaluations;
mod fleet;
mod operators;
#[cfg(test)]
mod outage_tests;
mod reading;
#[cfg(test)]
mod replica_tests;
mod seating;
#[cfg(test)]
mod steering_tests;
#[cfg(test)]
mod tests;
mod traffic;
#[cfg(test)]
mod upgrade_tests;
mod writer;
#[cfg(test)]
mod writer_tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adafed_wire::{DeviceId, TaskId};
use ring::rand::{SecureRandom, SystemRandom};

use crate::account::Accounts;
use crate::clock::Clock;
use crate::http::Front;
use crate::secret::{Hashed, new_token};
use crate::store::{Store, devices};
use crate::{Error, ServerConfig, SystemClock};
use traffic::Traffic;
use writer::Writer;

pub(crate) use device::Download;
pub use evaluations::NewEvaluation;
pub use fleet::NewToken;
pub use operators::{CreatedToken, NewOperator};
pub(crate) use reading::ModelFile;

/// The server's whole behaviour over one database. Cheap to clone; clones share all.
///
/// Everything that matters is in the database: a service that is dropped at any
/// instant and opened again goes on where it was.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

/// Devices' keys that are kept in memory, 48 bytes each.
const MOST_KEYS: usize = 100_000;

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    admin: Hashed,
    accounts: Accounts,
    traffic: Traffic,
    writer: Writer,
    /// Whether updates of closed rounds may be left with their bytes.
    untidy: AtomicBool,
    keys: Mutex<HashMap<DeviceId, [u8; 32]>>,
    /// Tasks whose round this server closes at the moment.
    closing: Mutex<HashSet<TaskId>>,
    random: SystemRandom,
    front: Front,
    /// Name of this server among those that share the database.
    replica: String,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Opens the database named by `config`, under the operating system's clock.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings out of range, [`Error::SchemaTooNew`] for a
    /// database of a newer version, [`Error::Storage`] for one that cannot be used.
    pub async fn open(config: &ServerConfig) -> Result<Self, Error> {
        Self::open_with_clock(config, Arc::new(SystemClock)).await
    }

    /// As [`open`](Self::open), under a clock of the caller's.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn open_with_clock(
        config: &ServerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        config.check()?;
        let random = SystemRandom::new();
        let front = Front::new(config, &clock);
        let (store, accounts) = (Store::open(config).await?, Accounts::default());
        Ok(Self(Arc::new(Inner {
            writer: Writer::start(store.clone(), accounts.clone()),
            // The server before this one may have died between a commit and its tidying.
            untidy: AtomicBool::new(true),
            keys: Mutex::default(),
            closing: Mutex::default(),
            store,
            clock,
            admin: Hashed::of(&config.admin_token),
            accounts,
            traffic: Traffic::default(),
            replica: new_token(&random)?,
            random,
            front,
        })))
    }

    /// The HTTP interface of this service, for any transport that speaks to an
    /// `axum::Router`.
    pub fn router(&self) -> axum::Router {
        crate::http::router(self.clone())
    }

    /// Stores the statistics kept in memory and closes the database. Not needed for
    /// safety; other clones of the service fail afterwards.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn close(&self) -> Result<(), Error> {
        let flushed = self.flush_traffic().await;
        self.0.store.close().await;
        flushed
    }

    /// Whether the database can be locked for writing.
    pub(crate) async fn check_writable(&self) -> Result<(), Error> {
        self.0.store.run_tx("check_writable", async |_: &mut _| Ok(())).await
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// What the interface keeps beside the database.
    pub(crate) fn front(&self) -> &Front {
        &self.0.front
    }

    /// A name for a request that brought none.
    pub(crate) fn new_request_id(&self) -> String {
        let mut bytes = [0; 8];
        // Without randomness, all such requests share one name.
        let _ = self.0.random.fill(&mut bytes);
        hex::encode(bytes)
    }

    /// Whether `token` is the operator's.
    pub(crate) fn is_admin(&self, token: &str) -> bool {
        self.0.admin.matches(token)
    }

    /// Gives a device another weight than its token did.
    #[cfg(test)]
    pub(crate) async fn set_weight(&self, device: DeviceId, weight: u32) -> Result<(), Error> {
        let set = async move |tx: &mut _| devices::set_weight(tx, device, weight).await;
        self.0.store.run_tx("set_weight", set).await
    }

    /// The key that a device signs with. A device's name is its key's, so that a key once read
    /// stays right; whether the device may still sign, using up its request tells.
    pub(crate) async fn public_key(&self, device: DeviceId) -> Result<[u8; 32], Error> {
        if let Some(key) = locked(&self.0.keys).get(&device) {
            return Ok(*key);
        }
        let find = async move |tx: &mut _| devices::public_key(tx, device).await;
        let key = self.0.store.read_tx("public_key", find).await?;
        let key = key.ok_or(Error::UnknownDevice { device })?;
        let mut keys = locked(&self.0.keys);
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        keys.insert(device, key);
        Ok(key)
    }
}

/// What a panicking thread left is whole: nothing here is changed in two steps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
