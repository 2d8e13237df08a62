//! A fresh database for each run.

use std::path::Path;

use adafed_tests::fixture::Failure;
use adafed_tests::postgres::Postgres;
use tempfile::TempDir;

use super::operations::Database;
use super::replica::Replicas;

/// Database that every other is a copy of: its tables are made once.
const TEMPLATE: &str = "made";

/// Where a worker's runs keep their databases.
pub(crate) struct Home {
    folder: TempDir,
    postgres: Option<Postgres>,
}

impl Home {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { folder: tempfile::tempdir()?, postgres: None })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A database that nobody has used; the files of the one before are gone.
    pub(crate) fn fresh(&mut self, database: Database) -> Result<String, Failure> {
        self.folder = tempfile::tempdir()?;
        if database == Database::Sqlite {
            return Ok(self.folder().join("server.sqlite").display().to_string());
        }
        if self.postgres.is_none() {
            self.postgres = Some(self.made()?);
        }
        self.postgres.as_mut().ok_or("it was just started")?.create(Some(TEMPLATE))
    }

    /// A server with the template.
    fn made(&self) -> Result<Postgres, Failure> {
        let postgres = Postgres::start()?;
        postgres.run("postgres", &format!("CREATE DATABASE {TEMPLATE}"))?;
        let mut replicas = Replicas::new(postgres.address(TEMPLATE), self.folder(), 1);
        replicas.set_clock(0)?;
        replicas.start_all()?;
        replicas.kill(0)?;
        // A copy needs a template to which nobody is connected.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'made'";
        postgres.run("postgres", end)?;
        Ok(postgres)
    }

    /// The database server dies and comes back.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.postgres.as_mut().map_or(Ok(()), Postgres::crash_and_restart)
    }
}
