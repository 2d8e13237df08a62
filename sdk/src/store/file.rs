//! A store in a folder of its own, durable against power cuts and locked against a
//! second process.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use adafed_privacy::{Counter, LedgerStore};

use adafed_wire::Digest;

use super::{Error, Store};

const LOCK: &str = "lock";
const LEDGER: &str = "ledger.jsonl";
const COUNTER: &str = "ledger.counter";

/// Bytes of each of the two places for a counter: more than any counter's text.
const PLACE: usize = 256;

/// A device's folder. The lock lives as long as the value.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    _lock: File,
}

impl FileStore {
    /// Opens a folder, making it where it does not exist, readable by its owner only.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Locked`] while another participant has it open.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        make_private_folder(folder).map_err(|e| io("create", folder, e))?;
        let path = folder.join(LOCK);
        let lock = private().write(true).open(&path).map_err(|e| io("open", &path, e))?;
        take(&lock, folder)?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }
}

impl Store for FileStore {
    type Ledger = FileLedger;

    fn ledger(&self) -> Result<FileLedger, Error> {
        let (path, counter_path) = (self.folder.join(LEDGER), self.folder.join(COUNTER));
        let new = !path.exists() || !counter_path.exists();
        let open = |options: &mut OpenOptions, path: &Path| {
            options.open(path).map_err(|e| io("open", path, e))
        };
        let file = open(private().append(true).read(true), &path)?;
        // The folder's lock keeps other participants out, this one a second ledger of its own.
        take(&file, &path)?;
        let counter = open(private().write(true).read(true), &counter_path)?;
        if new {
            sync_folder(&self.folder)?;
        }
        Ok(FileLedger { path, file, counter_path, counter })
    }

    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io("read", &path, e)),
        }
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        let temporary = self.folder.join(format!("{name}.tmp"));
        let written = private().write(true).truncate(true).open(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        });
        written.map_err(|e| io("write", &path, e))?;
        sync_folder(&self.folder)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &path, e)),
            _ => Ok(()),
        }
    }
}

/// The ledger's file: one record a line, only ever appended. Its counter is beside it, in
/// two places that are written in turn: a power cut spoils at most the newer one.
#[derive(Debug)]
pub struct FileLedger {
    path: PathBuf,
    file: File,
    counter_path: PathBuf,
    counter: File,
}

impl FileLedger {
    fn describe(&self, action: &'static str, e: std::io::Error) -> String {
        io(action, &self.path, e).to_string()
    }
}

impl LedgerStore for FileLedger {
    fn append(&mut self, line: &str) -> Result<(), String> {
        let before = self.file.metadata().map_err(|e| self.describe("read", e))?.len();
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| {
            // Half a record must not be completed by the next one.
            let _ = self.file.set_len(before);
            self.describe("append to", e)
        })
    }

    fn read(&mut self) -> Result<String, String> {
        let bytes = fs::read(&self.path).map_err(|e| self.describe("read", e))?;
        // What is no text is no record either: the ledger judges whether one is missing.
        Ok(bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid()).to_owned())
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        let cut = self.file.set_len(bytes).and_then(|()| self.file.sync_all());
        cut.map_err(|e| self.describe("truncate", e))
    }

    fn counter(&mut self) -> Result<Option<Counter>, String> {
        let describe = |e| io("read", &self.counter_path, e).to_string();
        let bytes = fs::read(&self.counter_path).map_err(describe)?;
        let whole = bytes.chunks(PLACE).filter_map(counter_in);
        let newest = whole.max_by_key(|counter| counter.records);
        if newest.is_none() && bytes.len() > PLACE {
            let path = self.counter_path.display();
            return Err(format!("the counter in {path} is damaged; restore the newest one"));
        }
        Ok(newest)
    }

    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String> {
        let mut text = serde_json::to_string(counter).map_err(|e| e.to_string())?;
        let check = Digest::of(text.as_bytes());
        text = format!("{text} {check}");
        let place = (counter.records % 2) * PLACE as u64;
        let padded = format!("{text:<width$}\n", width = PLACE - 1);
        let written = self
            .counter
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.counter.write_all(padded.as_bytes()))
            .and_then(|()| self.counter.sync_data());
        written.map_err(|e| io("write", &self.counter_path, e).to_string())
    }
}

/// The counter in one place, if it is whole.
fn counter_in(place: &[u8]) -> Option<Counter> {
    let text = std::str::from_utf8(place).ok()?;
    let (counter, check) = text.trim_end().rsplit_once(' ')?;
    let whole = Digest::of(counter.as_bytes()).to_string() == check;
    whole.then(|| serde_json::from_str(counter).ok())?
}

/// Locks a file of `path` until it is closed.
fn take(file: &File, path: &Path) -> Result<(), Error> {
    file.try_lock().map_err(|e| match e {
        fs::TryLockError::WouldBlock => Error::Locked { path: path.to_owned() },
        fs::TryLockError::Error(e) => io("lock", path, e),
    })
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}

/// Options that create files for their owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes a rename or a new file durable; folders cannot be synced on every system.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", folder, e))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_saved() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        assert_eq!(store.load("x").unwrap(), None);
        store.save("x", b"one").unwrap();
        store.save("x", b"two").unwrap();
        assert_eq!(store.load("x").unwrap().as_deref(), Some(&b"two"[..]));
        store.remove("x").unwrap();
        store.remove("x").unwrap();
        assert_eq!(store.load("x").unwrap(), None);
    }

    fn counter(records: u64) -> Counter {
        Counter { records, last: format!("{records:064x}") }
    }

    #[test]
    fn a_counter_that_a_power_cut_spoils_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        assert_eq!(store.ledger().unwrap().counter().unwrap(), None);
        for records in 1..=u64::from(u8::MAX) {
            store.ledger().unwrap().keep_counter(&counter(records)).unwrap();
            assert_eq!(store.ledger().unwrap().counter().unwrap(), Some(counter(records)));
        }
        let path = folder.path().join(COUNTER);
        let bytes = fs::read(&path).unwrap();
        for at in PLACE..PLACE + 100 {
            let mut cut = bytes.clone();
            cut[at] ^= 1;
            fs::write(&path, cut).unwrap();
            assert_eq!(store.ledger().unwrap().counter().unwrap(), Some(counter(254)), "{at}");
        }
        fs::write(&path, vec![b'x'; 2 * PLACE]).unwrap();
        assert!(store.ledger().unwrap().counter().unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_second_ledger_of_one_store_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let first = store.ledger().unwrap();
        assert!(matches!(store.ledger(), Err(Error::Locked { .. })));
        drop(first);
        store.ledger().unwrap();
    }

    #[test]
    fn bytes_that_are_no_text_end_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let mut ledger = store.ledger().unwrap();
        ledger.append("one\n").unwrap();
        fs::write(folder.path().join(LEDGER), b"one\ntw\xc3").unwrap();
        assert_eq!(ledger.read().unwrap(), "one\ntw");
    }

    #[test]
    fn a_second_participant_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = FileStore::open(folder.path()).unwrap();
        assert!(matches!(FileStore::open(folder.path()), Err(Error::Locked { .. })));
        drop(first);
        FileStore::open(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(&folder.path().join("device")).unwrap();
        store.save("key", b"secret").unwrap();
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("device"), mode("device/key")), (0o700, 0o600));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = FileStore::open(&file.join("device")).unwrap_err().to_string();
        assert!(error.contains("cannot create") && error.contains("device"), "{error}");
    }
}
