//! What can be wrong with bytes that came over the wire.

/// An error of decoding, checking or signing a message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Peer: the first byte names a format version that this build does not speak.
    #[error("message format version {found}, expected {expected}; update the older side")]
    Version {
        /// Version byte found.
        found: u8,
        /// Version byte of this build.
        expected: u8,
    },
    /// Peer: a body over the limit for its kind.
    #[error("{what} of {bytes} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Kind of message.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Peer: the bytes are not a message of the expected kind.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Kind of message.
        what: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// Peer: a name that is not one.
    #[error("{what} {value:?} is not valid, expected {expected}")]
    Name {
        /// Kind of name.
        what: &'static str,
        /// The refused text.
        value: String,
        /// The accepted form, in words.
        expected: &'static str,
    },
    /// Peer: a signature that does not verify.
    #[error("the signature does not match the request and the device's key")]
    Signature,
    /// Environment: no key could be made or read.
    #[error("the device key cannot be used: {reason}")]
    Key {
        /// What went wrong.
        reason: &'static str,
    },
    /// Caller or peer: algorithm settings or vectors that do not fit.
    #[error(transparent)]
    Algorithm(#[from] adafed_algorithm::Error),
    /// Caller or peer: privacy settings that do not fit.
    #[error(transparent)]
    Privacy(#[from] adafed_privacy::Error),
}

impl Error {
    /// Stable identifier, for logs, problem documents and the C interface.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Version { .. } => "wire/version",
            Self::TooLarge { .. } => "wire/too-large",
            Self::Malformed { .. } => "wire/malformed",
            Self::Name { .. } => "wire/name",
            Self::Signature => "wire/signature",
            Self::Key { .. } => "wire/key",
            Self::Algorithm(e) => e.code(),
            Self::Privacy(e) => e.code(),
        }
    }
}
