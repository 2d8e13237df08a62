//! Where a ledger's records are kept.

use serde::{Deserialize, Serialize};

/// How far a ledger has come: what shows that records which were acknowledged are gone.
///
/// It only ever grows. A copy of the records put back is noticed as long as the counter was
/// not put back with it: keep it where a backup of the records does not reach, if the
/// platform has such a place (a key store, a hardware counter).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Number of records.
    pub records: u64,
    /// Hash of the last one, hexadecimal; empty before the first.
    pub last: String,
}

/// Where records are kept. One owner at a time: a store keeps others out while it lives.
pub trait LedgerStore {
    /// Appends one record and returns only when it would survive a power cut.
    ///
    /// # Errors
    /// The reason in words; the record then counts as not written, and nothing leaves.
    fn append(&mut self, line: &str) -> Result<(), String>;

    /// All records, one a line, each ended by a newline.
    ///
    /// # Errors
    /// The reason in words. A store that does not exist yet is empty, not an error.
    fn read(&mut self) -> Result<String, String>;

    /// Cuts the store to its first `bytes` bytes: drops a record that a crash cut short
    /// and that therefore was never acknowledged.
    ///
    /// # Errors
    /// The reason in words.
    fn truncate(&mut self, bytes: u64) -> Result<(), String>;

    /// The last counter that was kept, or the one before if the last was cut short; `None`
    /// when there never was one.
    ///
    /// # Errors
    /// The reason in words.
    fn counter(&mut self) -> Result<Option<Counter>, String>;

    /// Keeps a counter apart from the records, and returns only when it would survive a
    /// power cut.
    ///
    /// # Errors
    /// The reason in words; no permit is given before a counter is kept.
    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String>;
}

/// A store that is gone with its value: for experiments and tests. A device that used it
/// would forget what it gave away.
#[derive(Clone, Debug, Default)]
pub struct EphemeralStore {
    text: String,
    counter: Option<Counter>,
}

impl LedgerStore for EphemeralStore {
    fn append(&mut self, line: &str) -> Result<(), String> {
        self.text.push_str(line);
        Ok(())
    }

    fn read(&mut self) -> Result<String, String> {
        Ok(self.text.clone())
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        self.text.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    fn counter(&mut self) -> Result<Option<Counter>, String> {
        Ok(self.counter.clone())
    }

    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String> {
        self.counter = Some(counter.clone());
        Ok(())
    }
}
