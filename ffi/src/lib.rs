//! The C interface of AdaFed. `include/adafed.h`, made from this crate, is its reference.
//!
//! Every function here is one call into the `adafed` crate, under [`guard`]: a failure
//! becomes a status and, where the caller wants it, an error object; unwinding never leaves.
//! Nothing here decides anything about privacy: policy, ledger and noise are the SDK's, and
//! no function reaches around them.
//!
//! Pointers become Rust values in [`pointer`] and nowhere else.
#![allow(
    clippy::missing_safety_doc,
    reason = "what a pointer must be is stated once, at the head of the header"
)]

mod bytes;
mod callbacks;
mod config;
mod error;
mod guard;
mod model;
mod participant;
mod pointer;
mod progress;
mod status;
#[cfg(test)]
mod tests;
mod version;
