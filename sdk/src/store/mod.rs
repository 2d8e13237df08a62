//! What a device keeps: its key, its privacy ledger, and the round it is in.

mod file;

use adafed_privacy::LedgerStore;

pub use file::{FileLedger, FileStore};

/// Name of the entry that holds the device's private key, so that a [`Store`] can keep it
/// where the platform keeps keys.
pub const DEVICE_KEY: &str = "device.key";

/// An error of a device's store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Environment: the operating system refused.
    #[error(
        "cannot {action} {path}: {source}; check that the folder exists, is writable and has space"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Caller: two participants on one folder would release twice under one ledger.
    #[error("{path} is in use by another participant; give each its own folder")]
    Locked {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// Environment: the app's own store did not do what it was asked to.
    #[error("the app's store cannot {action} {entry}: {reason}")]
    App {
        /// What was tried.
        action: &'static str,
        /// On which entry.
        entry: String,
        /// What the app said.
        reason: String,
    },
}

/// Where a device keeps its state. All of it is as secret as the examples: it holds the
/// device's key and the seed of noise that has left.
pub trait Store: Send {
    /// The ledger's own part.
    type Ledger: LedgerStore + Send;

    /// Opens the ledger's part.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn ledger(&self) -> Result<Self::Ledger, Error>;

    /// Reads an entry; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Writes an entry: afterwards either the old or the new bytes are there, whatever
    /// happens, and the new ones once this returns.
    ///
    /// # Errors
    /// When the entry could not be written; the old one is still there.
    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Removes an entry, if there.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn remove(&self, name: &str) -> Result<(), Error>;
}
