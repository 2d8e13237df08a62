//! AdaDPIGU on flat vectors.
#![forbid(unsafe_code)]

mod layout;

pub use layout::{Layout, TensorLayout};
