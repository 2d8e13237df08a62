//! What a configuration says, key by key: file, environment and command line fill it in.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::database::HIDDEN;
use super::{Database, Limits, ServerConfig, Tls};
use crate::Error;

/// All keys, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) database: Database,
    pub(crate) admin_token: Option<Secret>,
    pub(crate) admin_token_file: Option<PathBuf>,
    pub(crate) open_reading: bool,
    pub(crate) max_database_mib: Option<u64>,
    pub(crate) tick_ms: u64,
    pub(crate) limits: Limits,
    pub(crate) tls: TlsFiles,
    pub(crate) log: Log,
}

/// As [`Tls`], before it is known whether there is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsFiles {
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_authorities: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            database: Database::from("adafed.sqlite"),
            admin_token: None,
            admin_token_file: None,
            open_reading: false,
            max_database_mib: None,
            tick_ms: 1_000,
            limits: Limits::default(),
            tls: TlsFiles::default(),
            log: Log::default(),
        }
    }
}

impl Settings {
    /// Settings of a server, in range.
    ///
    /// # Errors
    /// [`Error::Config`] for what is missing or cannot be read, [`Error::Setting`] for what
    /// is out of range.
    pub(crate) fn server(&self) -> Result<ServerConfig, Error> {
        let token = self.token()?;
        let mut config = ServerConfig::new(self.listen, self.database.clone(), &token.0);
        config.open_reading = self.open_reading;
        config.limits = self.limits;
        config.tls = self.tls.resolve()?;
        config.max_database_bytes = self.max_database_mib.map(|mib| mib.saturating_mul(1 << 20));
        config.tick = Duration::from_millis(self.tick_ms);
        config.check()?;
        Ok(config)
    }

    fn token(&self) -> Result<Secret, Error> {
        match (&self.admin_token, &self.admin_token_file) {
            (Some(token), None) => Ok(token.clone()),
            (None, Some(path)) => read_secret(path),
            (None, None) => refuse(
                "there is no operators' token; set admin_token_file, or ADAFED_ADMIN_TOKEN in the \
                 environment",
            ),
            (Some(_), Some(_)) => {
                refuse("admin_token and admin_token_file are both set; take one of them away")
            }
        }
    }
}

impl TlsFiles {
    fn resolve(&self) -> Result<Option<Tls>, Error> {
        match (&self.certificates, &self.key) {
            (Some(certificates), Some(key)) => Ok(Some(Tls {
                certificates: certificates.clone(),
                key: key.clone(),
                client_authorities: self.client_authorities.clone(),
            })),
            (None, None) if self.client_authorities.is_none() => Ok(None),
            _ => refuse("HTTPS needs both tls.certificates and tls.key"),
        }
    }
}

/// A token, which does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // The usual message about a wrong type repeats the value.
        let text = String::deserialize(d).map_err(|_| serde::de::Error::custom("expected text"))?;
        Ok(Self(text))
    }
}

/// The first line of a file, without the space around it.
///
/// # Errors
/// [`Error::Config`] for a file that cannot be read or is empty.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, Error> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .or_else(|e| refuse(format!("the token's file {shown} cannot be read: {e}")))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(Secret(token.to_owned())),
        _ => refuse(format!("the token's file {shown} has nothing on its first line")),
    }
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Config { reason: reason.into() })
}
