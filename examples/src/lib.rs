//! placeholder
pub mod partition;
pub mod report;
