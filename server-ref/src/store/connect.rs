//! Connections: where the two kinds of database differ.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};

use crate::{Database, Error, ServerConfig};

/// How long a connection waits for another process that holds an SQLite file.
const BUSY_TIMEOUT_MS: u32 = 5_000;
/// How long a transaction waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers beside the writer of an SQLite file.
const READERS: u32 = 4;
/// Connections to PostgreSQL.
const CONNECTIONS: u32 = 12;
/// Page size of SQLite, in bytes.
const PAGE_BYTES: u64 = 4096;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// A kind of database, for the few statements that only one of them knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// Begins a transaction that writes. SQLite takes its lock at once, so that the work
    /// itself never meets a conflict; PostgreSQL locks row by row, and a statement after a lock
    /// sees what was committed before it.
    pub(super) const fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Begins a transaction that reads one snapshot.
    pub(super) const fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }
}

/// Pools of connections to one database.
#[derive(Clone)]
pub(super) struct Pools {
    pub(super) kind: Kind,
    pub(super) writer: AnyPool,
    pub(super) readers: AnyPool,
}

/// Connects, and brings the schema up to date.
pub(super) async fn connect(config: &ServerConfig) -> Result<Pools, Error> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    match &config.database {
        Database::Sqlite(path) => sqlite(path, config.max_database_bytes).await,
        Database::Postgres(address) => postgres(address).await,
    }
}

/// One writer: SQLite has no more. Connections to a file never go stale.
async fn sqlite(path: &Path, max_bytes: Option<u64>) -> Result<Pools, Error> {
    let pool = |connections: u32, pragmas: Vec<String>| {
        let pool = AnyPoolOptions::new().max_connections(connections).idle_timeout(None);
        let pool = pool.max_lifetime(None).test_before_acquire(false);
        let pool = pool.acquire_timeout(ACQUIRE_TIMEOUT).after_connect(move |connection, _| {
            let pragmas = pragmas.clone();
            Box::pin(async move { run_all(connection, pragmas).await })
        });
        pool.after_release(|connection, _| Box::pin(is_usable(connection)))
    };
    let writer = pool(1, writer_pragmas(max_bytes)).min_connections(1);
    let writer = writer.connect_with(options(&sqlite_url(path, "rwc"))?).await?;
    SQLITE_MIGRATIONS.run(&writer).await.map_err(schema_error)?;
    let readers = pool(READERS, vec![busy_timeout()]);
    let readers = readers.connect_with(options(&sqlite_url(path, "ro"))?).await?;
    Ok(Pools { kind: Kind::Sqlite, writer, readers })
}

async fn postgres(address: &str) -> Result<Pools, Error> {
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
    let writer = pool.connect_with(options(address)?).await?;
    POSTGRES_MIGRATIONS.run(&writer).await.map_err(schema_error)?;
    Ok(Pools { kind: Kind::Postgres, readers: writer.clone(), writer })
}

fn options(address: &str) -> Result<AnyConnectOptions, Error> {
    // The address may hold a password: it is not repeated.
    let reason = "it is not of the form postgres://USER:PASSWORD@HOST/NAME".to_owned();
    address.parse().map_err(|_| Error::Malformed { what: "database address", reason })
}

/// `synchronous = FULL`: an answer leaves only after its transaction is on disk, which is
/// what the promise about killed servers rests on.
fn writer_pragmas(max_bytes: Option<u64>) -> Vec<String> {
    let mut pragmas = vec![
        busy_timeout(),
        "PRAGMA journal_mode = WAL".to_owned(),
        "PRAGMA synchronous = FULL".to_owned(),
        "PRAGMA foreign_keys = ON".to_owned(),
    ];
    if let Some(bytes) = max_bytes {
        pragmas.push(format!("PRAGMA max_page_count = {}", (bytes / PAGE_BYTES).max(1)));
    }
    pragmas
}

/// Whether a connection that comes back is outside a transaction.
///
/// A full disk makes SQLite roll back by itself; the driver's own rollback then fails, and
/// it would believe for ever in a transaction that is over and begin no other.
async fn is_usable(connection: &mut AnyConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // Waits for a rollback that is on its way.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

fn busy_timeout() -> String {
    format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
}

async fn run_all(connection: &mut AnyConnection, pragmas: Vec<String>) -> sqlx::Result<()> {
    for pragma in pragmas {
        // Made above from constants and a number.
        connection.execute(sqlx::AssertSqlSafe(pragma)).await?;
    }
    Ok(())
}

/// The file's address: an absolute path, every unusual byte of it escaped.
fn sqlite_url(path: &Path, mode: &str) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut url = String::from("sqlite://");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(byte));
            }
            other => drop(write!(url, "%{other:02X}")),
        }
    }
    url + "?mode=" + mode
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
