//! What tests share.

#[cfg(test)]
mod fixture;
#[cfg(any(test, feature = "test-util"))]
pub mod postgres;

#[cfg(test)]
pub(crate) use fixture::*;
