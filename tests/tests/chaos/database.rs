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
    /// The last run's database in it.
    used: Option<String>,
}

impl Home {
    pub(crate) fn new() -> Result<Self, Failure> {
        let (folder, runtime) = (tempfile::tempdir()?, Runtime::new()?);
        Ok(Self { folder, runtime, postgres: None, used: None })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether there is such a database here; says so where there is none.
    pub(crate) fn has(&mut self, database: Database) -> Result<bool, Failure> {
        if database == Database::Postgres && self.postgres.is_none() {
            self.postgres = Postgres::start()?;
        }
        if database == Database::Sqlite || self.postgres.is_some() {
            return Ok(true);
        }
        println!("{SKIPPED}");
        Ok(false)
    }

    /// A database that nobody has used; the one before is gone.
    pub(crate) fn fresh(&mut self, database: Database) -> Result<String, Failure> {
        self.folder = tempfile::tempdir()?;
        match &self.postgres {
            Some(postgres) if database == Database::Postgres => {
                if let Some(used) = self.used.take() {
                    self.runtime.block_on(postgres.remove(&used))?;
                }
                let address = self.runtime.block_on(postgres.database())?;
                self.used = Some(address.clone());
                Ok(address)
            }
            _ => Ok(self.folder().join("server.sqlite").display().to_string()),
        }
    }

    /// The database server dies and comes back; one that is not the test's own stays.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        let restarted = self.postgres.as_ref().map(|postgres| postgres.restart("immediate"));
        Ok(restarted.transpose().map(drop)?)
    }
}
