//! What one device, and all together, may ask of the server.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Limits on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest body of an update or of a task creation, in bytes.
    pub max_body_bytes: usize,
    /// Requests that one device may send in a minute; 0 is no limit.
    pub device_requests_per_minute: u32,
    /// Requests that one address may send in a minute without being known, such as enrolments;
    /// 0 is no limit.
    pub address_requests_per_minute: u32,
    /// Updates that are received at the same time; others wait, then are turned away.
    pub concurrent_uploads: usize,
    /// Largest accepted distance between signing and arrival of a request, in milliseconds.
    pub signature_window_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            device_requests_per_minute: 600,
            address_requests_per_minute: 0,
            concurrent_uploads: 64,
            signature_window_ms: 5 * 60 * 1000,
        }
    }
}

impl Limits {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first one out of range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |name, expected| Err(Error::Setting { name, expected });
        if self.max_body_bytes == 0 {
            return refuse("max_body_bytes", "at least 1 byte");
        }
        if self.concurrent_uploads == 0 {
            return refuse("concurrent_uploads", "at least 1");
        }
        if self.signature_window_ms == 0 {
            return refuse("signature_window_ms", "at least 1 millisecond");
        }
        Ok(())
    }
}
