//! What tests share.

#[cfg(test)]
mod fixture;
#[cfg(any(test, feature = "test-util"))]
pub mod postgres;

#[cfg(test)]
pub(crate) use fixture::*;

/// What the server reads in a `Range` header about a content of `length` bytes; `None` where
/// all of it is meant. For the fuzz target of strangers' headers.
///
/// # Errors
/// [`Error::Range`](crate::Error::Range) for a range outside the content.
#[cfg(feature = "test-util")]
pub fn byte_range(
    header: &str,
    length: usize,
) -> Result<Option<std::ops::Range<usize>>, crate::Error> {
    use crate::http::range::{Part, parse};
    parse(header, length).map(|part| match part {
        Part::Whole => None,
        Part::Bytes(bytes) => Some(bytes),
    })
}
