//! The database: SQLite or PostgreSQL, one file a table, and one way in.
//!
//! Every access is a named transaction on [`Tx`]: `run_tx` writes, `read_tx` reads a snapshot.
//! The statements are the same for both kinds of database. On SQLite there is one writer at a
//! time; on PostgreSQL a transaction that changes a task first locks the task
//! ([`controls::lock`]), so that it sees what a single writer would.

pub(crate) mod assignments;
mod connect;
pub(crate) mod contents;
pub(crate) mod controls;
pub(crate) mod devices;
pub(crate) mod evaluations;
pub(crate) mod operators;
mod plans;
pub(crate) mod rounds;
mod row;
mod statistics;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod updates;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use adafed_wire::TaskId;
use sqlx::{Any, AnyConnection, Transaction};
use tracing::{debug, warn};

use crate::{Error, ServerConfig};
use connect::{Kind, Pools};
use plans::Plans;
pub(crate) use statistics::{Outcome, Statistics};

/// How often a transaction is run before its conflicts count as a busy database.
const ATTEMPTS: u32 = 5;

/// Longest pause after the first conflict; it doubles with each further one.
const PAUSE_MS: u64 = 10;

/// The database.
#[derive(Clone)]
pub(crate) struct Store {
    pools: Pools,
    plans: Arc<Plans>,
    statistics: Arc<Statistics>,
}

/// A transaction. Only [`Store`] makes one.
pub(crate) struct Tx {
    transaction: Transaction<'static, Any>,
    kind: Kind,
    plans: Arc<Plans>,
    /// Tasks that it has locked.
    locked: Vec<TaskId>,
}

impl Tx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(config: &ServerConfig) -> Result<Self, Error> {
        let pools = connect::connect(config).await?;
        Ok(Self { pools, plans: Arc::default(), statistics: Arc::default() })
    }

    /// Runs `work` in a transaction that may write; on an error nothing has changed.
    ///
    /// Where the database says that it met another transaction, all of it is run again.
    pub(crate) async fn run_tx<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        F: AsyncFn(&mut Tx) -> Result<T, Error>,
    {
        for attempt in 1..=ATTEMPTS {
            match self.attempt(name, &work).await {
                Err(Error::StorageConflict) => {
                    self.statistics.count(name, Outcome::Conflict);
                    warn!(tx = name, attempt, "met another transaction");
                    tokio::time::sleep(pause(attempt)).await;
                }
                result => {
                    let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
                    self.statistics.count(name, outcome);
                    return result;
                }
            }
        }
        self.statistics.count(name, Outcome::Failed);
        Err(Error::StorageBusy)
    }

    async fn attempt<T, F>(&self, name: &'static str, work: &F) -> Result<T, Error>
    where
        F: AsyncFn(&mut Tx) -> Result<T, Error>,
    {
        let kind = self.pools.kind;
        let transaction = self.pools.writer.begin_with(kind.begin_write()).await?;
        let mut tx = Tx { transaction, kind, plans: self.plans.clone(), locked: Vec::new() };
        let value = work(&mut tx).await.inspect_err(|e| debug!(tx = name, code = e.code()))?;
        tx.transaction.commit().await?;
        debug!(tx = name, "committed");
        Ok(value)
    }

    /// Runs `work` on a snapshot.
    pub(crate) async fn read_tx<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        F: AsyncFnOnce(&mut Tx) -> Result<T, Error>,
    {
        let kind = self.pools.kind;
        let transaction = self.pools.readers.begin_with(kind.begin_read()).await?;
        let mut tx = Tx { transaction, kind, plans: self.plans.clone(), locked: Vec::new() };
        work(&mut tx).await.inspect_err(|e| debug!(tx = name, code = e.code()))
    }

    /// Transactions by name and outcome.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Makes an SQLite file refuse writes, as one on a read-only disk does.
    #[cfg(test)]
    pub(crate) async fn set_read_only(&self, read_only: bool) {
        let sql = if read_only { "PRAGMA query_only = ON" } else { "PRAGMA query_only = OFF" };
        sqlx::query(sql).execute(&self.pools.writer).await.expect("a pragma is always taken");
    }

    /// Closes every connection, which also folds an SQLite file's write-ahead log into it.
    pub(crate) async fn close(&self) {
        self.pools.readers.close().await;
        self.pools.writer.close().await;
    }
}

/// How long to wait before the next attempt: two that met wait for different times, so that
/// they do not meet again.
fn pause(attempt: u32) -> Duration {
    // The hasher's key is random, which is all that is asked for.
    let random = RandomState::new().hash_one(attempt);
    Duration::from_millis(random % (PAUSE_MS << attempt.min(6)))
}
