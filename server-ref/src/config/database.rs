//! Which database the server keeps everything in.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands for a secret wherever the configuration is shown.
pub(crate) const HIDDEN: &str = "(hidden)";

/// A database.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// One SQLite file, made if missing; one server.
    Sqlite(PathBuf),
    /// A PostgreSQL server, as `postgres://USER:PASSWORD@HOST/NAME`; any number of servers.
    Postgres(String),
}

impl From<&str> for Database {
    /// A `postgres://` or `postgresql://` address; anything else is the path of a file,
    /// with or without `sqlite:` before it.
    fn from(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned());
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        Self::Sqlite(path.unwrap_or(text).into())
    }
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<PathBuf> for Database {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

/// An address may hold a password, which does not show itself.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// As a configuration writes it, with neither user, password nor options of an address.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self {
            Self::Sqlite(path) => return write!(f, "{}", path.display()),
            Self::Postgres(address) => address,
        };
        // A password that should have been escaped may hold anything, so the last sign counts.
        let rest = address.split_once("://").map_or("", |(_, rest)| rest);
        let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| (HIDDEN, host));
        let (host, options) = host.split_once('?').map_or((host, ""), |(host, _)| (host, HIDDEN));
        let at = if user.is_empty() { "" } else { "@" };
        let mark = if options.is_empty() { "" } else { "?" };
        write!(f, "postgres://{user}{at}{host}{mark}{options}")
    }
}

impl Serialize for Database {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let expected = "expected a path or postgres://USER:PASSWORD@HOST/NAME";
        let text = String::deserialize(d).map_err(|_| serde::de::Error::custom(expected))?;
        if text.is_empty() {
            Err(serde::de::Error::custom(expected))
        } else {
            Ok(text.as_str().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths_and_passwords_stay_hidden() {
        for path in ["a/b.sqlite", "sqlite:a/b.sqlite", "sqlite://a/b.sqlite"] {
            assert_eq!(Database::from(path), Database::Sqlite("a/b.sqlite".into()), "{path}");
        }
        let address = "postgres://me:secret@host/adafed";
        assert_eq!(Database::from(address), Database::Postgres(address.into()));
        assert_eq!(format!("{:?}", Database::from(address)), "Postgres(..)");
    }
    #[test]
    fn nothing_that_may_be_a_password_is_displayed() {
        for (address, shown) in [
            ("postgres://me:secret@host/db", "postgres://(hidden)@host/db"),
            ("postgres://me:se@cret?x@host:5/db", "postgres://(hidden)@host:5/db"),
            ("postgresql://host/db?password=secret", "postgres://host/db?(hidden)"),
            ("postgres://host/db", "postgres://host/db"),
            ("sqlite:a.sqlite", "a.sqlite"),
        ] {
            assert_eq!(Database::from(address).to_string(), shown);
        }
    }
}
