//! Whole-system tests of AdaFed and its conformance to golden values.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod fixture;
pub mod fuzz;
pub mod host;
