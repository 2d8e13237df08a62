//! The second moment of features, released by the same mechanism as gradients: it is the
//! gradient of a linear auto-encoder at zero.
//!
//! With weights W = 0 and targets t = -(n / 2) x, the gradient of the mean squared error
//! |W x - t|^2 / n by W is x x^T. So sampling, clipping, lattice, noise and charge are those of
//! every step of training.

use adafed::algorithm::{Mask, ReleasedGradient, ReleasedSum, Standardisation};
use adafed::data::Examples;
use adafed::data::features::Rotated;
use adafed::nn::{LayerSpec, Linear, Loss, Model, ModelSpec};
use adafed::privacy::{
    ClipNorm, EphemeralStore, Ledger, NoiseMultiplier, NoiseSeed, PrivacyPhase, PrivacyPlan,
    SamplingRate,
};
use adafed::train::{LocalRound, Setting};

use crate::Error;
use crate::plan::task;
use crate::settings::{SecondMoment, Settings};
use crate::train::{mixed, policy};

/// Tells this release's randomness from that of training.
const PURPOSE: u64 = u64::MAX;

/// The plan of the release: one step over all examples, of vectors of about unit length.
///
/// # Errors
/// Never in practice: the constants are valid.
pub(crate) fn privacy(
    training: &PrivacyPlan,
    noise_multiplier: NoiseMultiplier,
    examples: usize,
) -> Result<PrivacyPlan, Error> {
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    Ok(PrivacyPlan {
        rate: SamplingRate::new(1.0)?,
        nominal_examples: examples as u32,
        clip: ClipNorm::new(1.0)?,
        local_steps: 1,
        warmup: phase(0),
        main: phase(1),
        ..*training
    })
}

/// Whitens by the released second moment of `train`.
///
/// # Errors
/// Those of the release.
pub(crate) fn whitening(
    settings: &Settings,
    moment: SecondMoment,
    privacy: PrivacyPlan,
    train: &Examples,
    seed: u64,
) -> Result<Rotated, Error> {
    let n: usize = train.shape().iter().product();
    let layers = vec![LayerSpec::Linear(Linear::new(n, n).bias(false))];
    let spec = ModelSpec { input: vec![n], features: None, layers, loss: Loss::Mse };
    let model = Model::new(&spec)?;
    let targets = train.inputs().iter().map(|x| -(n as f32) / 2.0 * x).collect();
    let data = Examples::with_targets(vec![n], train.inputs().to_vec(), targets, n)?;
    // No mask, no scale: every entry is released.
    let plain = Settings {
        retention: adafed::algorithm::Retention::full(),
        warmup: 0.0,
        refresh: None,
        ..settings.clone()
    };
    let plan = task(&plain, &spec, model.layout(), privacy)?;
    let plans = plan.plans();
    let (mask, standardisation) = (Mask::full(n * n), Standardisation::none());
    let local = LocalRound::new(Setting {
        model: &model,
        data: &data,
        plans,
        mask: &mask,
        standardisation: &standardisation,
    })?;
    let mut ledger = Ledger::open(EphemeralStore::default(), policy(&privacy)?)?;
    ledger.accept("moment", &plan.digest()?.to_string(), &privacy)?;
    let permit = ledger.charge("moment", 0)?;
    let secret = NoiseSeed::predictable(mixed(&[seed, PURPOSE]));
    let released = local.step(&vec![0.0; n * n], &permit, &secret, 0)?;
    let sum = ReleasedSum::of_steps(&[released])?;
    let released =
        ReleasedGradient::restore(&sum, &mask, &standardisation, plans.release_scale(0))?;
    Ok(Rotated::by(released.values(), n, moment.ridge))
}
