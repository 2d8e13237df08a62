//! Bytes that the library gives to the app.

use std::ptr;

/// Bytes or text that the app owns. Text ends with a zero that its length does not count.
#[derive(Debug)]
pub struct Bytes {
    /// One zero more than there are bytes.
    held: Vec<u8>,
}

impl Bytes {
    pub(crate) fn new(mut bytes: Vec<u8>) -> Box<Self> {
        bytes.push(0);
        Box::new(Self { held: bytes })
    }
}

/// The first byte, and a zero after the last one. Lives as long as the object. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_bytes_data(bytes: Option<&Bytes>) -> *const u8 {
    bytes.map_or(ptr::null(), |bytes| bytes.held.as_ptr())
}

/// Number of bytes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_bytes_len(bytes: Option<&Bytes>) -> usize {
    bytes.map_or(0, |bytes| bytes.held.len() - 1)
}

/// Frees bytes. NULL is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_bytes_free(bytes: Option<Box<Bytes>>) {
    drop(bytes);
}
