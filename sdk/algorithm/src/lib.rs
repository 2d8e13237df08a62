//! AdaDPIGU on flat vectors: importance, mask, thaw, scale state, standardisation,
//! restoration, aggregation and the optimiser. Device and server share it.
//!
//! The order of a step is: centre, scale, THEN mask; clip the whole vector; sum; one
//! noise draw on the sum; divide by the EXPECTED batch; restore; optimiser step;
//! update the scale state from the release. Everything in this crate reads releases
//! or public constants only; the types leave no other way.
#![forbid(unsafe_code)]

mod aggregation;
mod error;
mod federation;
#[cfg(test)]
mod fixture;
mod importance;
mod layout;
mod mask;
mod optimizer;
mod release;
mod retention;
mod scale;
mod standardise;
mod state;

pub use aggregation::{Aggregation, Collector, ReleasedSum, Weights};
pub use error::Error;
pub use federation::{BaseRound, Buffer, FederationPlan, MaskRefresh};
pub use importance::{Importance, ImportanceRule, Score};
pub use layout::{Layout, TensorLayout};
pub use mask::{Mask, Provenance};
pub use optimizer::{Adaptivity, SecondMoment, SecondMomentSettings, Sgd, SgdSettings};
pub use release::{Proximal, ReleaseScale, ReleasedGradient, descend};
pub use retention::{Retention, Schedule, active_count};
pub use scale::{Pooling, ScaleRule, ScaleSettings, ScaleState, groups};
pub use standardise::{MaskedStandardisation, Standardisation};
pub use state::{AlgorithmPlan, Plans, TrainingState};
