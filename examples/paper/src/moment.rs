//! The second moment of features, released by the same mechanism as gradients: it is the
//! gradient of a linear auto-encoder at zero.
//!
//! With weights W = 0 and targets t = -(n / 2) x, the gradient of the mean squared error
//! |W x - t|^2 / n by W is x x^T. So sampling, clipping, lattice, noise and charge are those of
//! every step of training.

use adafed::data::Examples;
use adafed::data::features::Rotated;
use adafed::privacy::{NoiseSeed, PrivacyPlan};

use crate::Error;
use crate::released::{self, ReleasePlan, Releaser, Uses};
use crate::settings::{SecondMoment, Settings};
use crate::train::mixed;

/// Tells this release's randomness from that of training.
const PURPOSE: u64 = u64::MAX;

/// The vectors of which the moment is, are about of unit length.
const CLIP: f64 = 1.0;

/// The plan of the release, for examples of `inputs` values: over those of all devices together.
///
/// # Errors
/// Never in practice: the constants are valid.
pub(crate) fn plan(
    settings: &Settings,
    training: &PrivacyPlan,
    uses: Uses,
    examples: usize,
    inputs: usize,
) -> Result<ReleasePlan, Error> {
    let nominal_examples = examples as u32;
    let privacy = PrivacyPlan { nominal_examples, ..released::privacy(training, uses, CLIP)? };
    ReleasePlan::new(settings, privacy, inputs, inputs)
}

/// Whitens by the released second moment of `train`.
///
/// # Errors
/// Those of the release.
pub(crate) fn whitening(
    moment: SecondMoment,
    plan: &ReleasePlan,
    train: &Examples,
    seed: u64,
) -> Result<Rotated, Error> {
    let n: usize = train.shape().iter().product();
    let targets = train.inputs().iter().map(|x| -(n as f32) / 2.0 * x).collect();
    let data = Examples::with_targets(vec![n], train.inputs().to_vec(), targets, n)?;
    let secret = NoiseSeed::predictable(mixed(&[seed, PURPOSE]));
    let released = Releaser::new(plan)?.release(&data, 0, &secret)?;
    Ok(Rotated::by(&released, n, moment.ridge))
}
