//! The device's key in the platform's key store, everything else in the folder.

use std::ffi::c_void;

use adafed::store::{DEVICE_KEY, Error, FileLedger, FileStore, Store};

use super::Turn;
use crate::pointer::Userdata;

/// Bytes that a device's key takes at most.
pub const KEY_CAPACITY: usize = 256;

/// Writes the key that was saved into `key`, which has room for `ADAFED_KEY_CAPACITY` bytes,
/// and its length into `len`; leaves `len` at 0 where there is none yet. Returns 0, or
/// anything else where the key store cannot be read: then no participant is made, lest it
/// make a new key. Called during `adafed_participant_new`, on its thread.
pub type LoadKeyCallback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        key: *mut u8,
        capacity: usize,
        len: *mut usize,
    ) -> i32,
>;

/// Keeps the device's private key, durably. Returns 0, or anything else where it cannot.
/// Called during `adafed_participant_new`, on its thread, at a device's first start.
pub type SaveKeyCallback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, key: *const u8, len: usize) -> i32>;

#[derive(Clone)]
pub(crate) struct HostKeys {
    pub(crate) load: unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> i32,
    pub(crate) save: unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32,
    pub(crate) userdata: Userdata,
    pub(crate) turn: Turn,
}

impl HostKeys {
    fn load(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut key = [0; KEY_CAPACITY];
        let mut len = 0;
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; the buffer is as long as said.
        let answer =
            unsafe { (self.load)(self.userdata.0, key.as_mut_ptr(), key.len(), &raw mut len) };
        match (answer, key.get(..len)) {
            (0, Some([])) => Ok(None),
            (0, Some(key)) => Ok(Some(key.to_vec())),
            (0, None) => Err(failed("load", format!("the callback wrote a length of {len}"))),
            _ => Err(failed("load", format!("the callback returned {answer}"))),
        }
    }

    fn save(&self, key: &[u8]) -> Result<(), Error> {
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; the buffer is as long as said.
        match unsafe { (self.save)(self.userdata.0, key.as_ptr(), key.len()) } {
            0 => Ok(()),
            answer => Err(failed("save", format!("the callback returned {answer}"))),
        }
    }
}

fn failed(action: &'static str, reason: String) -> Error {
    Error::App { action, entry: DEVICE_KEY.to_owned(), reason }
}

/// A folder, and the app's key store where it gave one.
pub(crate) struct DeviceStore {
    pub(crate) folder: FileStore,
    pub(crate) keys: Option<HostKeys>,
}

impl DeviceStore {
    fn keys_for(&self, name: &str) -> Option<&HostKeys> {
        self.keys.as_ref().filter(|_| name == DEVICE_KEY)
    }
}

impl Store for DeviceStore {
    type Ledger = FileLedger;

    fn ledger(&self) -> Result<FileLedger, Error> {
        self.folder.ledger()
    }

    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(keys) = self.keys_for(name) else { return self.folder.load(name) };
        if let Some(key) = keys.load()? {
            return Ok(Some(key));
        }
        // A key from before the app had a key store moves there: it is the same device.
        let Some(key) = self.folder.load(name)? else { return Ok(None) };
        keys.save(&key)?;
        self.folder.remove(name)?;
        Ok(Some(key))
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.keys_for(name) {
            Some(keys) => keys.save(bytes),
            None => self.folder.save(name, bytes),
        }
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.folder.remove(name)
    }
}
