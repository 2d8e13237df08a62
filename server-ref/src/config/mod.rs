//! What an operator sets.

mod database;
mod keys;
mod limits;
mod settings;
mod show;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use database::Database;
pub use limits::Limits;

pub(crate) use settings::{Log, LogFormat, read_secret};
pub(crate) use show::{effective, effective_json, example, variables};
pub(crate) use sources::{Effective, Entry};

use crate::Error;

/// Shortest admin token that is accepted, in characters.
pub const LEAST_ADMIN_TOKEN: usize = 16;

/// Settings of a server.
#[derive(Clone)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub database: Database,
    /// Bearer token of administrators, at least [`LEAST_ADMIN_TOKEN`] characters. The
    /// server keeps its digest only.
    pub admin_token: String,
    /// Whether reports, models and the dashboard are shown to anybody, without a token.
    pub open_reading: bool,
    /// Limits on requests.
    pub limits: Limits,
    /// Certificates, for HTTPS; plain HTTP without.
    pub tls: Option<Tls>,
    /// Largest size of an SQLite file, in bytes; `None` leaves it to the disk.
    pub max_database_bytes: Option<u64>,
    /// How often rounds are looked through for passed deadlines.
    pub tick: Duration,
}

/// Files for HTTPS, all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, followed by those that lead to its authority.
    pub certificates: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// Authorities one of which must have signed a client's certificate; without it clients
    /// need none.
    pub client_authorities: Option<PathBuf>,
}

impl ServerConfig {
    /// Defaults: plain HTTP, reading with a token only, no limit on the database, a tick every
    /// second.
    #[must_use]
    pub fn new(listen: SocketAddr, database: impl Into<Database>, admin_token: &str) -> Self {
        Self {
            listen,
            database: database.into(),
            admin_token: admin_token.to_owned(),
            open_reading: false,
            limits: Limits::default(),
            tls: None,
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
        if self.tick.is_zero() {
            return refuse("tick", "more than 0 seconds");
        }
        self.limits.check()
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("database", &self.database)
            .field("open_reading", &self.open_reading)
            .field("limits", &self.limits)
            .field("tls", &self.tls)
            .field("max_database_bytes", &self.max_database_bytes)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}
