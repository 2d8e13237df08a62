//! Simulated fleets of AdaFed devices: the parts that `quickstart` and `simulate` share.
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod bench;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
mod error;
pub mod files;
#[cfg(feature = "server")]
pub mod fleet;
#[cfg(feature = "server")]
pub mod in_process;
pub mod memory;
pub mod output;
pub mod partition;
#[cfg(feature = "server")]
pub mod progress;
#[cfg(feature = "server")]
pub mod report;
#[cfg(feature = "server")]
pub mod run;
#[cfg(feature = "server")]
pub mod settings;
#[cfg(feature = "server")]
pub mod source;
#[cfg(feature = "server")]
pub mod task;

#[cfg(feature = "server")]
pub use error::Error;
