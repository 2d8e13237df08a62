//! A fresh database for each run.

use std::path::Path;

use adafed_server::testing::postgres::{Postgres, SKIPPED};
use adafed_tests::fixture::Failure;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::operations::Database;

/// Where a worker's runs keep their databases.
pub(crate) struct Home {
    folder: TempDir,
    runtime: Runtime,
    /// Started by the first run that needs it.
    postgres: Option<Postgres>,
}

impl Home {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { folder: tempfile::tempdir()?, runtime: Runtime::new()?, postgres: None })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A database that nobody has used, or why there is none; the files of the one before are
    /// gone.
    pub(crate) fn fresh(&mut self, database: Database) -> Result<Result<String, String>, Failure> {
        self.folder = tempfile::tempdir()?;
        if database == Database::Sqlite {
            return Ok(Ok(self.folder().join("server.sqlite").display().to_string()));
        }
        if self.postgres.is_none() {
            self.postgres = Postgres::start()?;
        }
        match &self.postgres {
            Some(postgres) => Ok(Ok(self.runtime.block_on(postgres.database())?)),
            None => Ok(Err(SKIPPED.to_owned())),
        }
    }

    /// The database server dies and comes back; one that is not the test's own stays.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        let restarted = self.postgres.as_ref().map(|postgres| postgres.restart("immediate"));
        Ok(restarted.transpose().map(drop)?)
    }
}
