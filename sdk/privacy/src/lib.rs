//! Privacy core of AdaFed: parameters, events, accountants, calibration, noise on an
//! integer lattice, and the ledger.
//!
//! No I/O, no unsafe code, no tensor library: an expert can read this crate alone.
#![forbid(unsafe_code)]

pub mod accounting;
mod error;
mod event;
mod params;

pub use error::Error;
pub use event::{Adjacency, Composition, Event, Mechanism};
pub use params::{ClipNorm, Delta, Epsilon, NoiseMultiplier, SamplingRate};
