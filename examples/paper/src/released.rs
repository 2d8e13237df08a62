//! One release of a sum over examples, by the mechanism of every step of training: sampling,
//! clipping, lattice, noise and charge are the product's.

use adafed::algorithm::{Mask, ReleasedGradient, ReleasedSum, Retention, Standardisation};
use adafed::data::Dataset;
use adafed::nn::{LayerSpec, Linear, Loss, Model, ModelSpec};
use adafed::privacy::{
    ClipNorm, EphemeralStore, Ledger, NoiseMultiplier, NoiseSeed, PrivacyPhase, PrivacyPlan,
    SamplingRate,
};
use adafed::train::{LocalRound, Setting};
use adafed::wire::TaskPlan;

use crate::Error;
use crate::plan::task;
use crate::settings::Settings;
use crate::train::policy;

/// How often something is released beside training, and by what noise.
#[derive(Clone, Copy)]
pub(crate) struct Uses {
    pub(crate) rate: SamplingRate,
    pub(crate) rounds: u64,
    pub(crate) noise_multiplier: NoiseMultiplier,
}

/// The plan of releases beside `training`, one step a round, of vectors of up to `clip`.
///
/// # Errors
/// A clip norm that is none.
pub(crate) fn privacy(training: &PrivacyPlan, uses: Uses, clip: f64) -> Result<PrivacyPlan, Error> {
    let Uses { rate, rounds, noise_multiplier } = uses;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    let (local_steps, warmup, main) = (1, phase(0), phase(rounds));
    Ok(PrivacyPlan { rate, clip: ClipNorm::new(clip)?, local_steps, warmup, main, ..*training })
}

/// Releases of the gradient at zero of a linear layer `inputs -> outputs` without bias, under the
/// mean squared error: with targets t it is `-(2 / outputs) t x^T` an example.
pub(crate) struct ReleasePlan {
    model: Model,
    task: TaskPlan,
}

impl ReleasePlan {
    /// Under `privacy`, of which each round is one release.
    ///
    /// # Errors
    /// Those of the plan.
    pub(crate) fn new(
        settings: &Settings,
        privacy: PrivacyPlan,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let layers = vec![LayerSpec::Linear(Linear::new(inputs, outputs).bias(false))];
        let (input, loss) = (vec![inputs], Loss::Mse);
        let spec = ModelSpec { input, features: None, layers, loss };
        let model = Model::new(&spec)?;
        // No mask, no scale: every entry is released.
        let (retention, warmup, refresh) = (Retention::full(), 0.0, None);
        let plain = Settings { retention, warmup, refresh, ..settings.clone() };
        let task = task(&plain, &spec, model.layout(), privacy)?;
        Ok(Self { model, task })
    }

    pub(crate) const fn task(&self) -> &TaskPlan {
        &self.task
    }

    pub(crate) const fn privacy(&self) -> &PrivacyPlan {
        &self.task.privacy
    }
}

/// A device that makes these releases.
pub(crate) struct Releaser<'a> {
    plan: &'a ReleasePlan,
    ledger: Ledger<EphemeralStore>,
}

/// Name of the task in the ledger.
const TASK: &str = "beside";

impl<'a> Releaser<'a> {
    /// With a ledger of its own.
    ///
    /// # Errors
    /// Those of the plan.
    pub(crate) fn new(plan: &'a ReleasePlan) -> Result<Self, Error> {
        let privacy = plan.privacy();
        let mut ledger = Ledger::open(EphemeralStore::default(), policy(privacy)?)?;
        ledger.accept(TASK, &plan.task.digest()?.to_string(), privacy)?;
        Ok(Self { plan, ledger })
    }

    /// The release of a round, divided by the public size of a sample, `[outputs, inputs]`.
    ///
    /// # Errors
    /// Those of the ledger, of the examples and of the mechanism.
    pub(crate) fn release(
        &mut self,
        data: &dyn Dataset,
        round: u64,
        secret: &NoiseSeed,
    ) -> Result<Vec<f64>, Error> {
        let ReleasePlan { model, task } = self.plan;
        let (plans, d) = (task.plans(), model.parameters());
        let (mask, standardisation) = (&Mask::full(d), &Standardisation::none());
        let local = LocalRound::new(Setting { model, data, plans, mask, standardisation })?;
        let permit = self.ledger.charge(TASK, round)?;
        let released = local.step(&vec![0.0; d], &permit, secret, 0)?;
        self.ledger.record_release(permit, "")?;
        let sum = ReleasedSum::of_steps(&[released])?;
        let scale = plans.release_scale(round);
        Ok(ReleasedGradient::restore(&sum, mask, standardisation, scale)?.values().to_vec())
    }
}
