//! What an operator sets.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// Shortest admin token that is accepted, in characters.
pub const LEAST_ADMIN_TOKEN: usize = 16;

/// Settings of a server.
#[derive(Clone)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// SQLite file, made if missing.
    pub database: PathBuf,
    /// Bearer token of administrators, at least [`LEAST_ADMIN_TOKEN`] characters. The
    /// server keeps its digest only.
    pub admin_token: String,
    /// Largest body of an update or of a task creation, in bytes.
    pub max_body_bytes: usize,
    /// Largest size of the database file, in bytes; `None` leaves it to the disk.
    pub max_database_bytes: Option<u64>,
    /// How often rounds are looked through for passed deadlines.
    pub tick: Duration,
}

impl ServerConfig {
    /// Defaults: bodies up to 64 MiB, no limit on the database, a tick every second.
    #[must_use]
    pub fn new(listen: SocketAddr, database: impl Into<PathBuf>, admin_token: &str) -> Self {
        Self {
            listen,
            database: database.into(),
            admin_token: admin_token.to_owned(),
            max_body_bytes: 64 << 20,
            max_database_bytes: None,
            tick: Duration::from_secs(1),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first one out of range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |name, expected| Err(Error::Setting { name, expected });
        if self.admin_token.chars().count() < LEAST_ADMIN_TOKEN {
            return refuse("admin token", "at least 16 characters");
        }
        if self.max_body_bytes == 0 {
            return refuse("largest body", "at least 1 byte");
        }
        if self.tick.is_zero() {
            return refuse("tick", "more than 0 seconds");
        }
        Ok(())
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("database", &self.database)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_database_bytes", &self.max_database_bytes)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}
