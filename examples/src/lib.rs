//! Simulated fleets of AdaFed devices: the parts that `quickstart` and `simulate` share.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
mod error;
pub mod fleet;
pub mod in_process;
pub mod partition;
pub mod progress;
pub mod report;
pub mod run;
pub mod settings;
pub mod source;
pub mod task;

pub use error::Error;
