//! Federated learning with on-device differential privacy, for apps.
//!
//! An app hands AdaFed its local examples; AdaFed trains the shared model on the device
//! and uploads only a sparse, already noised update. The device itself enforces its
//! privacy policy: its ledger is charged before anything leaves.
//!
//! Start with [`Participant`]: build one, call [`Participant::tick`] when the device may
//! work, and do what it says.
//!
//! The way of the data is the way through the modules: [`data`] -> [`nn`] (forward,
//! tape) -> kernels (per-example gradient) -> [`train`] (standardise, mask, clip, sum,
//! noise) -> [`participant`] (charge, record, upload) -> [`transport`].

pub mod clock;
pub mod data;
mod error;
mod kernels;
pub mod nn;
pub mod participant;
pub mod profile;
pub mod store;
mod threads;
pub mod train;
pub mod transport;

pub use adafed_algorithm as algorithm;
pub use adafed_privacy as privacy;
pub use adafed_wire as wire;
pub use error::Error;
pub use kernels::SimdLevel;
pub use participant::{Activity, Builder, Conditions, Next, Participant, Progress, Verdict};
pub use threads::Threads;

/// The README's example, compiled.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../../README.md")]
mod readme {}
