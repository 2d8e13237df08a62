//! Names of tasks and devices, and content digests.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::Error;

/// SHA-256 of some content; models, masks and plans are addressed by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(out)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let mut out = [0; 32];
        match hex::decode_to_slice(s, &mut out) {
            Ok(()) => Ok(Self(out)),
            Err(_) => Err(Error::Name {
                what: "digest",
                value: s.to_owned(),
                expected: "64 hexadecimal digits",
            }),
        }
    }
}

/// Name of a task: 1 to 64 of a-z, 0-9, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

impl TaskId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Self::try_from(s.to_owned())
    }
}

impl TryFrom<String> for TaskId {
    type Error = Error;
    fn try_from(value: String) -> Result<Self, Error> {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        if (1..=64).contains(&value.len()) && value.bytes().all(good) {
            return Ok(Self(value));
        }
        let expected = "1 to 64 of a-z, 0-9, - and _";
        Err(Error::Name { what: "task name", value, expected })
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device: the first 16 bytes of the digest of its public key. The key owns the name,
/// so enrolling twice gives the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceId([u8; 16]);

impl DeviceId {
    /// The device that owns a public key.
    #[must_use]
    pub fn of_key(public_key: &[u8; 32]) -> Self {
        let mut out = [0; 16];
        out.copy_from_slice(&Digest::of(public_key).0[..16]);
        Self(out)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeviceId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let mut out = [0; 16];
        match hex::decode_to_slice(s, &mut out) {
            Ok(()) => Ok(Self(out)),
            Err(_) => Err(Error::Name {
                what: "device name",
                value: s.to_owned(),
                expected: "32 hexadecimal digits",
            }),
        }
    }
}
