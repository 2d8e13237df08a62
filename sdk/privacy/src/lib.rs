//! Privacy core of AdaFed: parameters, events, accountants, calibration, noise on an
//! integer lattice, and the ledger.
//!
//! No I/O, no unsafe code, no tensor library: an expert can read this crate alone.
#![forbid(unsafe_code)]

pub mod accounting;
pub mod audit;
mod composition;
mod error;
mod event;
mod lattice;
mod ledger;
mod noise;
mod params;
mod plan;
mod policy;
mod release;
pub mod report;
mod sampler;

pub use composition::{Composition, MOST_MECHANISMS};
pub use error::Error;
pub use event::{Adjacency, Event, FixedSize, Mechanism, NoEvent, Sensitivity};
pub use lattice::{
    ClipFactor, Clipped, ClippedSum, Contribution, Lattice, NormBound, OuterShape, PerExample,
    Places, ResolutionBits, Rounded, SumLayout,
};
pub use ledger::{Counter, EphemeralStore, Ledger, LedgerStore, Permit, Record};
pub use noise::exact;
pub use noise::{MOST_COORDINATES, NoiseMemory, NoiseSeed};
pub use params::{ClipNorm, Delta, Epsilon, NoiseMultiplier, SamplingRate};
pub use plan::{PrivacyPhase, PrivacyPlan, TrustModel};
pub use policy::Policy;
pub use release::{Noise, Released, RoundRelease};
pub use sampler::PoissonSampler;
