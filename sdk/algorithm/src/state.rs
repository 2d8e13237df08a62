//! The shared training state: what a round's aggregated release does to model,
//! importance, mask and scale. Server and single-device training run the same code.

use adafed_privacy::PrivacyPlan;
use serde::{Deserialize, Serialize};

use crate::error::check_finite;
use crate::importance::{Importance, ImportanceRule, Score};
use crate::mask::Mask;
use crate::optimizer::{Sgd, SgdSettings};
use crate::release::{ReleaseScale, ReleasedGradient, ReleasedSum};
use crate::retention::Retention;
use crate::scale::{ScaleRule, ScaleSettings, ScaleState};
use crate::standardise::Standardisation;
use crate::{Error, Layout};

/// Settings of AdaDPIGU: nothing here can touch the privacy guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmPlan {
    /// How coordinates are ranked after the warm-up.
    pub importance: ImportanceRule,
    /// Public seed of the random ranking.
    pub random_seed: u64,
    /// Share of active coordinates over the main phase.
    pub retention: Retention,
    /// Standardisation.
    pub scale: ScaleSettings,
    /// The server's optimiser.
    pub optimizer: SgdSettings,
    /// Learning rate of a device's own plain SGD steps within a round.
    pub local_learning_rate: f64,
}

impl AlgorithmPlan {
    /// Checks what single fields cannot.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        self.scale.check()?;
        self.optimizer.check()?;
        if self.local_learning_rate >= 0.0 && self.local_learning_rate.is_finite() {
            return Ok(());
        }
        let value = self.local_learning_rate.to_string();
        Err(Error::Setting { name: "local learning rate", value, expected: "a number >= 0" })
    }
}

/// The constants of a task that [`TrainingState::advance`] needs.
#[derive(Clone, Copy, Debug)]
pub struct Plans<'a> {
    /// Flat order of the parameters.
    pub layout: &'a Layout,
    /// Privacy plan.
    pub privacy: &'a PrivacyPlan,
    /// Algorithm plan.
    pub algorithm: &'a AlgorithmPlan,
}

impl Plans<'_> {
    /// The constants that take round `round`'s sums back to gradients.
    #[must_use]
    pub fn release_scale(&self, round: u64) -> ReleaseScale {
        let clip = self.privacy.clip.value();
        ReleaseScale {
            grid: clip / f64::from(self.privacy.resolution_bits.steps_per_clip()),
            noise_std: self.privacy.noise_multiplier(round).value() * clip,
            expected_batch: self.privacy.expected_batch(),
        }
    }
}

/// Everything that changes from round to round; a function of releases alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    round: u64,
    parameters: Vec<f32>,
    optimizer: Sgd,
    importance: Importance,
    score: Option<Score>,
    scale: ScaleState,
}

impl TrainingState {
    /// The state before the first round.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::NotFinite`] for parameters that do not fit.
    pub fn new(layout: &Layout, parameters: Vec<f32>) -> Result<Self, Error> {
        let d = layout.len();
        check_finite("parameters", &parameters, d)?;
        Ok(Self {
            round: 0,
            parameters,
            optimizer: Sgd::new(d),
            importance: Importance::new(d),
            score: None,
            scale: ScaleState::new(d),
        })
    }

    /// Rounds done.
    #[must_use]
    pub const fn round(&self) -> u64 {
        self.round
    }

    /// The model, `[d]`.
    #[must_use]
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The mask of the next round.
    #[must_use]
    pub fn mask(&self, plans: Plans<'_>) -> Mask {
        let d = self.parameters.len();
        let privacy = plans.privacy;
        match &self.score {
            Some(score) => {
                let t = self.round.saturating_sub(privacy.warmup.rounds);
                let t = t.min(privacy.main.rounds.saturating_sub(1));
                Mask::top_k(
                    score,
                    plans.algorithm.retention.active_count(t, privacy.main.rounds, d),
                )
            }
            None => Mask::full(d),
        }
    }

    /// The standardisation of the next round: none while importance is being learned.
    ///
    /// # Errors
    /// Those of [`Standardisation::new`], should the statistics have overflowed.
    pub fn standardisation(&self, plans: Plans<'_>, mask: &Mask) -> Result<Standardisation, Error> {
        let settings = &plans.algorithm.scale;
        if plans.privacy.is_warmup(self.round) {
            return Ok(Standardisation::none());
        }
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let centre = settings.centre.then(|| narrow(self.scale.mean()));
        let scale = (settings.rule != ScaleRule::None)
            .then(|| narrow(&self.scale.scale(mask, plans.layout, settings)));
        Standardisation::new(mask.len(), centre, scale)
    }

    /// Takes in the sum of a round's releases and moves to the next round.
    ///
    /// `mask` and `standardisation` are those the devices used. On an error nothing
    /// has changed.
    ///
    /// # Errors
    /// Those of [`ReleasedGradient::restore`], and [`Error::NotFinite`] when the step
    /// would leave a parameter that is not a finite number.
    pub fn advance(
        &mut self,
        plans: Plans<'_>,
        mask: &Mask,
        standardisation: &Standardisation,
        sum: &ReleasedSum,
    ) -> Result<(), Error> {
        let scale = plans.release_scale(self.round);
        let gradient = ReleasedGradient::restore(sum, mask, standardisation, scale)?;
        let mut next = self.clone();
        next.step(plans, mask, &gradient);
        check_finite("model after the round", &next.parameters, mask.len())?;
        *self = next;
        Ok(())
    }

    fn step(&mut self, plans: Plans<'_>, mask: &Mask, gradient: &ReleasedGradient) {
        let Plans { privacy, algorithm, .. } = plans;
        let warmup = privacy.is_warmup(self.round);
        if warmup {
            self.importance.add(gradient);
        }
        self.scale.update(gradient, mask, &algorithm.scale);
        let rate = algorithm.optimizer.learning_rate_at(self.round, privacy.rounds());
        let momentum = algorithm.optimizer.momentum;
        self.optimizer.step(&mut self.parameters, gradient, mask, rate, momentum);
        self.count_round(plans);
    }

    /// Moves to the next round without a step: the round brought too few reports. Its
    /// number is used up, because devices may have released under it.
    ///
    /// # Edge cases
    /// | case | effect |
    /// |---|---|
    /// | last warm-up round | importance is scored from the releases seen so far |
    /// | no release in the whole warm-up | nothing is known, so the mask stays full |
    pub fn skip_round(&mut self, plans: Plans<'_>) {
        self.count_round(plans);
    }

    fn count_round(&mut self, plans: Plans<'_>) {
        let Plans { privacy, algorithm, .. } = plans;
        let warmup = privacy.is_warmup(self.round);
        self.round += 1;
        let learned = self.importance.count() > 0;
        if warmup && learned && !privacy.is_warmup(self.round) {
            self.score = Some(self.importance.score(algorithm.importance, algorithm.random_seed));
        }
    }
}
