//! A device as the server sees it: a key that signs. It does what the test says, honest or
//! not, and trains nothing.

use adafed_privacy::RoundRelease;
use adafed_wire::{
    Assignment, CheckinRequest, DEVICE_HEADER, DeviceId, DeviceKey, Digest, EnrolRequest,
    PackedIntegers, SIGNATURE_HEADER, SignedParts, TIME_HEADER, TaskId, Update, encode, path,
};

use crate::client::Request;
use crate::fixture::Failure;

/// Version of the SDK that peers say they are.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A key and the time it signed last: a server takes no request signed earlier.
#[derive(Debug)]
pub struct Peer {
    key: DeviceKey,
    signed_ms: u64,
}

impl Peer {
    /// A peer with a fresh key.
    ///
    /// # Errors
    /// Those of the operating system's randomness.
    pub fn new() -> Result<Self, Failure> {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate()?)?;
        Ok(Self { key, signed_ms: 0 })
    }

    /// Its name.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.key.device()
    }

    /// The time its last request was signed at.
    #[must_use]
    pub const fn signed_ms(&self) -> u64 {
        self.signed_ms
    }

    /// Signs a request at `now_ms`, or just after its last one.
    pub fn sign(
        &mut self,
        method: &'static str,
        path: String,
        body: Vec<u8>,
        now_ms: u64,
    ) -> Request {
        let time_ms = now_ms.max(self.signed_ms + 1);
        self.signed_ms = time_ms;
        let parts = SignedParts { method, path: &path, time_ms, body: &body };
        let headers = vec![
            (DEVICE_HEADER, self.device().to_string()),
            (TIME_HEADER, time_ms.to_string()),
            (SIGNATURE_HEADER, self.key.sign(parts)),
        ];
        Request { method, path, headers, body }
    }

    /// Asks to enrol.
    ///
    /// # Errors
    /// Those of the encoding.
    pub fn enrol(&mut self, token: &str, now_ms: u64) -> Result<Request, Failure> {
        let body = EnrolRequest { token: token.into(), public_key: self.key.public_key() };
        Ok(self.sign("POST", path::DEVICES.into(), encode(&body)?, now_ms))
    }

    /// Asks for work.
    ///
    /// # Errors
    /// Those of the encoding.
    pub fn check_in(&mut self, task: &TaskId, now_ms: u64) -> Result<Request, Failure> {
        let body = CheckinRequest { task: task.clone(), version: VERSION.into() };
        Ok(self.sign("POST", path::CHECKIN.into(), encode(&body)?, now_ms))
    }

    /// Sends the body of an update.
    pub fn upload(&mut self, task: &TaskId, round: u64, body: Vec<u8>, now_ms: u64) -> Request {
        let path = path::update(task, round, &self.device());
        self.sign("PUT", path, body, now_ms)
    }

    /// Asks for content.
    pub fn content(&mut self, task: &TaskId, digest: &Digest, now_ms: u64) -> Request {
        self.sign("GET", path::content(task, digest), vec![], now_ms)
    }
}

/// An update of these values. They left no mechanism: only a test can do this, because it
/// reads a release from text as a device reads back its own.
///
/// # Errors
/// Those of the encoding.
pub fn update(task: &TaskId, assignment: &Assignment, values: &[i64]) -> Result<Update, Failure> {
    let release: RoundRelease = serde_json::from_value(values.into())?;
    Ok(Update {
        task: task.clone(),
        round: assignment.round,
        plan: assignment.plan,
        model: assignment.model,
        mask: assignment.mask,
        values: PackedIntegers::pack(&release)?,
    })
}
