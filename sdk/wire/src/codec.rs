//! The one place that turns messages into bytes and back.
//!
//! A message is one version byte and a bincode body with variable-length integers.
//! Lengths are bounded before anything is allocated, by a multiple of the body's own.
//!
//! A body is a concatenation of its fields, so what a later version adds stands at the
//! end. A message that uses nothing of it is written in version 1, byte for byte as before,
//! and read by adding the default's encoding: one message has one encoding.

use std::io::Read;

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::serde::{decode_from_slice, decode_from_std_read};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Version of the message format, the first byte of every body.
pub const VERSION: u8 = 1;

/// Version of a body with fields that were added to [`VERSION`].
pub const EXTENDED_VERSION: u8 = 2;

/// Media type of encoded messages.
pub const MEDIA_TYPE: &str = "application/vnd.adafed.v1";

/// A message: what it is called, and how long it may be.
pub trait Message: Serialize + DeserializeOwned {
    /// What error messages call it.
    const NAME: &'static str;
    /// Longest encoding that is accepted, in bytes.
    const LIMIT: usize;
    /// Encoding of the default of what [`EXTENDED_VERSION`] added to the body's end; empty
    /// where it added nothing.
    const ADDED: &[u8] = &[];

    /// Whether the message uses what was added. One that does not leaves it out when it is
    /// serialised.
    fn is_extended(&self) -> bool {
        false
    }
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

/// Encodes a message.
///
/// # Errors
/// [`Error::TooLarge`] when it goes beyond [`Message::LIMIT`], [`Error::Malformed`]
/// when it cannot be encoded at all.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![if message.is_extended() { EXTENDED_VERSION } else { VERSION }];
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
    let message: M = match version {
        VERSION if M::ADDED.is_empty() => read(body),
        VERSION => read_with_default(body),
        EXTENDED_VERSION if !M::ADDED.is_empty() => read(body),
        found => return Err(Error::Version { found, expected: newest::<M>() }),
    }
    .map_err(malformed)?;
    // Another encoding of the same message would have another digest.
    if message.is_extended() != (version == EXTENDED_VERSION) {
        return Err(malformed(format!("version {version} is not that of what it says")));
    }
    Ok(message)
}

/// The newest version of a kind of message.
const fn newest<M: Message>() -> u8 {
    if M::ADDED.is_empty() { VERSION } else { EXTENDED_VERSION }
}

fn read<M: Message>(body: &[u8]) -> Result<M, String> {
    match body.len() {
        n if n <= SMALL_BODY => read_within::<M, { 8 * SMALL_BODY }>(body),
        n if n <= MEDIUM_BODY => read_within::<M, { 8 * MEDIUM_BODY }>(body),
        _ => read_within::<M, LARGEST>(body),
    }
}

fn read_within<M: Message, const LIMIT: usize>(body: &[u8]) -> Result<M, String> {
    let (message, read) = decode_from_slice(body, within::<LIMIT>()).map_err(|e| e.to_string())?;
    check_end(body.len() - read)?;
    Ok(message)
}

/// Reads a body of [`VERSION`] as if the default of what was added followed it.
fn read_with_default<M: Message>(body: &[u8]) -> Result<M, String> {
    match body.len() {
        n if n <= SMALL_BODY => read_both_within::<M, { 8 * SMALL_BODY }>(body),
        n if n <= MEDIUM_BODY => read_both_within::<M, { 8 * MEDIUM_BODY }>(body),
        _ => read_both_within::<M, LARGEST>(body),
    }
}

/// Without a copy: a body may be large.
fn read_both_within<M: Message, const LIMIT: usize>(body: &[u8]) -> Result<M, String> {
    let mut input = body.chain(M::ADDED);
    let message = decode_from_std_read(&mut input, within::<LIMIT>());
    let message = message.map_err(|e| e.to_string())?;
    let (body, added) = input.into_inner();
    check_end(body.len() + added.len())?;
    Ok(message)
}

fn check_end(left: usize) -> Result<(), String> {
    if left == 0 { Ok(()) } else { Err(format!("{left} bytes follow its end")) }
}

fn check_length<M: Message>(bytes: &[u8]) -> Result<(), Error> {
    const { assert!(M::LIMIT <= LARGEST, "what can be written must be readable") };
    if bytes.len() <= M::LIMIT {
        return Ok(());
    }
    Err(Error::TooLarge { what: M::NAME, bytes: bytes.len(), limit: M::LIMIT })
}
