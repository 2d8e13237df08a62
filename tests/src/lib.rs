//! Whole-system tests of AdaFed and its conformance to golden values.
#![forbid(unsafe_code)]

pub mod client;
pub mod conformance;
pub mod fixture;
pub mod fuzz;
pub mod host;
pub mod load;
pub mod peer;
pub mod process;
