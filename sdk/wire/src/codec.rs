//! The one place that turns messages into bytes and back.
//!
//! A message is one version byte and a bincode body with variable-length integers.
//! Lengths are bounded before anything is allocated, by a multiple of the body's own.

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::error::DecodeError;
use bincode::serde::decode_from_slice;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Version of the message format, the first byte of every body.
pub const VERSION: u8 = 1;

/// Media type of encoded messages.
pub const MEDIA_TYPE: &str = "application/vnd.adafed.v1";

/// A message: what it is called, and how long it may be.
pub trait Message: Serialize + DeserializeOwned {
    /// What error messages call it.
    const NAME: &'static str;
    /// Longest encoding that is accepted, in bytes.
    const LIMIT: usize;
}

/// Largest encoding of any message, in bytes.
pub const LARGEST: usize = 512 << 20;

/// Bincode allocates for a text or a byte string before it looks whether the body has one so
/// long, unless that goes beyond its limit, which is a constant: so there are three of them.
/// A body of n bytes claims at most 8 n, as that is what a one-byte integer counts for.
const SMALL_BODY: usize = 16 << 10;
const MEDIUM_BODY: usize = 1 << 20;

const fn within<const LIMIT: usize>() -> Configuration<LittleEndian, Varint, Limit<LIMIT>> {
    standard().with_limit::<LIMIT>()
}

fn decode_body<M: Message>(body: &[u8]) -> Result<(M, usize), DecodeError> {
    match body.len() {
        n if n <= SMALL_BODY => decode_from_slice(body, within::<{ 8 * SMALL_BODY }>()),
        n if n <= MEDIUM_BODY => decode_from_slice(body, within::<{ 8 * MEDIUM_BODY }>()),
        _ => decode_from_slice(body, within::<LARGEST>()),
    }
}

/// Encodes a message.
///
/// # Errors
/// [`Error::TooLarge`] when it goes beyond [`Message::LIMIT`], [`Error::Malformed`]
/// when it cannot be encoded at all.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(message, &mut bytes, standard())
        .map_err(|e| Error::Malformed { what: M::NAME, reason: e.to_string() })?;
    check_length::<M>(&bytes)?;
    Ok(bytes)
}

/// Decodes a message and checks everything its types promise.
///
/// # Guarantee
/// Whatever the body promises, no allocation is larger than 1 MiB and 512 bytes for each of
/// its own.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Version`], or [`Error::Malformed`] for anything else,
/// bytes after the end among it.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, Error> {
    check_length::<M>(bytes)?;
    let malformed = |reason: String| Error::Malformed { what: M::NAME, reason };
    let (&version, body) = bytes.split_first().ok_or_else(|| malformed("it is empty".into()))?;
    if version != VERSION {
        return Err(Error::Version { found: version, expected: VERSION });
    }
    let (message, read) = decode_body(body).map_err(|e| malformed(e.to_string()))?;
    if read < body.len() {
        return Err(malformed(format!("{} bytes follow its end", body.len() - read)));
    }
    Ok(message)
}

fn check_length<M: Message>(bytes: &[u8]) -> Result<(), Error> {
    const { assert!(M::LIMIT <= LARGEST, "what can be written must be readable") };
    if bytes.len() <= M::LIMIT {
        return Ok(());
    }
    Err(Error::TooLarge { what: M::NAME, bytes: bytes.len(), limit: M::LIMIT })
}
