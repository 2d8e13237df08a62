//! The database: SQLite, one file a table, and one way in.
//!
//! Every access is a named transaction on [`Tx`]: `run_tx` writes, on the only
//! connection that can; `read_tx` reads a snapshot beside it. An answer to a device
//! leaves only after its transaction is on disk (`synchronous = FULL`), which is what
//! the promise about killed servers rests on.

pub(crate) mod assignments;
pub(crate) mod contents;
pub(crate) mod controls;
pub(crate) mod devices;
pub(crate) mod rounds;
mod row;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod updates;

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tracing::{debug, warn};

use crate::{Database, Error, ServerConfig};

/// How long a connection waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a transaction is begun before the database counts as busy.
const ATTEMPTS: u32 = 3;
/// Readers beside the writer.
const READERS: u32 = 4;
/// Page size of SQLite, in bytes.
const PAGE_BYTES: u64 = 4096;

/// The database.
#[derive(Clone)]
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// A transaction. Only [`Store`] makes one.
pub(crate) struct Tx(Transaction<'static, Sqlite>);

impl Tx {
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(config: &ServerConfig) -> Result<Self, Error> {
        let options = options(config);
        let one = SqlitePoolOptions::new().max_connections(1).min_connections(1);
        let writer = forever(one).connect_with(options.clone()).await?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(schema_error)?;
        let many = forever(SqlitePoolOptions::new().max_connections(READERS));
        let readers = many.connect_with(options.read_only(true).create_if_missing(false)).await?;
        Ok(Self { writer, readers })
    }

    /// Runs `work` in a transaction that may write; on an error nothing has changed.
    ///
    /// The lock is taken at the beginning, so `work` itself never meets a conflict and
    /// runs once: only taking the lock is tried again.
    pub(crate) async fn run_tx<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        F: AsyncFnOnce(&mut Tx) -> Result<T, Error>,
    {
        let mut tx = Tx(begin(&self.writer, name).await?);
        let value = work(&mut tx).await.inspect_err(|e| debug!(tx = name, code = e.code()))?;
        tx.0.commit().await?;
        debug!(tx = name, "committed");
        Ok(value)
    }

    /// Runs `work` on a snapshot.
    pub(crate) async fn read_tx<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        F: AsyncFnOnce(&mut Tx) -> Result<T, Error>,
    {
        let mut tx = Tx(self.readers.begin().await?);
        work(&mut tx).await.inspect_err(|e| debug!(tx = name, code = e.code()))
    }

    /// Makes the database refuse writes, as a file on a read-only disk does.
    #[cfg(test)]
    pub(crate) async fn set_read_only(&self, read_only: bool) {
        let sql = if read_only { "PRAGMA query_only = ON" } else { "PRAGMA query_only = OFF" };
        sqlx::query(sql).execute(&self.writer).await.expect("a pragma is always taken");
    }

    /// Closes every connection, which also folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn begin(
    pool: &SqlitePool,
    name: &'static str,
) -> Result<Transaction<'static, Sqlite>, Error> {
    let mut attempt = 1;
    loop {
        match pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::from) {
            Err(Error::StorageBusy) if attempt < ATTEMPTS => {
                warn!(tx = name, attempt, "the database is busy");
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn options(config: &ServerConfig) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(file(config))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    match config.max_database_bytes {
        Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string()),
        None => options,
    }
}

fn file(config: &ServerConfig) -> &std::path::Path {
    match &config.database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => std::path::Path::new(""),
    }
}

/// Connections to a file never go stale.
fn forever(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    pool.idle_timeout(None).max_lifetime(None).test_before_acquire(false)
}

fn schema_error(e: MigrateError) -> Error {
    match e {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            Error::SchemaTooNew { version }
        }
        MigrateError::Execute(e) => e.into(),
        e => Error::Schema(e),
    }
}
