//! What a report says in words. The words belong to the report's format: a report whose
//! words were changed is not true.

use serde::{Deserialize, Serialize};

/// What leaves a device.
pub(super) const RELEASED: [&str; 2] = [
    "Updates of a model: sums of clipped gradients of single examples, with noise added on the \
     device, then rounded to the noise's own width. Each round's update is covered by that \
     round's events. Mask, scale state and model are computed from such updates.",
    "What does not depend on the examples: the device's name and public key, an enrolment \
     token, task, round, digests of plan, model and mask, the version of the software, the \
     time and signature of each request, and this report.",
];

/// What no figure of a report covers.
pub(super) const NOT_COVERED: [&str; 7] = [
    "A person as a whole: the unit is one example, and whoever has many is protected less.",
    "Participation: that a device takes part, when, and in which rounds.",
    "Tuning: settings that were chosen by looking at results on private data.",
    "Evaluation on private data, and whatever else the app itself sends.",
    "Refusals that depend on the data: examples that cannot be read, do not fit the model or \
     are too few end in no upload, which no noise hides.",
    "A forgotten ledger: a device whose folder was deleted starts to count from zero.",
    "The device itself: who reads its store, or measures its time and power while it trains.",
];

/// What made a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// Version of AdaFed.
    pub adafed: String,
    /// Version of the accountant by Renyi divergences.
    pub rdp: String,
    /// Version of the accountant by privacy loss distributions.
    pub pld: String,
}

impl Software {
    /// This build.
    #[must_use]
    pub fn current() -> Self {
        Self {
            adafed: env!("CARGO_PKG_VERSION").to_owned(),
            rdp: "1: exact divergences by quadrature; conversion of Canonne, Kamath, Steinke \
                  2020, proposition 12"
                .to_owned(),
            pld: "1: discretised losses in both directions, rounded up; composition by a \
                  tilted Fourier transform"
                .to_owned(),
        }
    }
}

/// Where noise comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseSource {
    /// How noise is drawn from random bits.
    pub sampler: String,
    /// Where the random bits come from.
    pub generator: String,
}

impl NoiseSource {
    /// This build.
    #[must_use]
    pub fn current() -> Self {
        // A test build draws the same way, but its seed may have been chosen.
        let seed = if cfg!(feature = "test-util") {
            "seeded by the operating system, or, in this test build, by the caller: not private"
        } else {
            "seeded by the operating system"
        };
        Self {
            sampler: "integer ziggurat of 512 layers for the normal law rounded to whole grid \
                      steps; log-probability within 2^-47 of it up to 37 deviations, which \
                      sampler_charge pays for"
                .to_owned(),
            generator: format!("ChaCha20, {seed}"),
        }
    }
}
