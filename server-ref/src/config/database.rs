//! Which database the server keeps everything in.

use std::fmt;
use std::path::{Path, PathBuf};

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
}
