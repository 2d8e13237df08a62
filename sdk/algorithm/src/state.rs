//! The shared training state: what a round's aggregated release does to model,
//! importance, mask and scale. Server and single-device training run the same code.

use adafed_privacy::PrivacyPlan;
use serde::{Deserialize, Serialize};

use crate::aggregation::ReleasedSum;
use crate::error::check_finite;
use crate::federation::{BaseRound, FederationPlan, RunningImportance, combine};
use crate::importance::{Importance, ImportanceRule, Score};
use crate::mask::Mask;
use crate::optimizer::{SecondMoment, Sgd, SgdSettings};
use crate::release::{ReleaseScale, ReleasedGradient};
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
    /// Federation plan.
    pub federation: &'a FederationPlan,
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
    /// Left out of every encoding while it is empty, as it is for most plans.
    #[serde(default, skip_serializing_if = "Memory::is_empty")]
    memory: Memory,
}

/// What only some federation plans keep from round to round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    second: SecondMoment,
    importance: RunningImportance,
}

impl Memory {
    const fn is_empty(&self) -> bool {
        self.second.is_empty() && self.importance.is_empty()
    }
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
            memory: Memory::default(),
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

    /// Whether the state holds what only some federation plans keep: a second moment or a
    /// running importance. Where it does not, its encoding leaves them out.
    #[must_use]
    pub const fn has_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// The mask of the next round.
    #[must_use]
    pub fn mask(&self, plans: Plans<'_>) -> Mask {
        let d = self.parameters.len();
        match &self.score {
            Some(score) => Mask::top_k(score, self.active_count(plans)),
            None => Mask::full(d),
        }
    }

    /// Active coordinates of the next round, by the thaw's schedule over the main phase.
    fn active_count(&self, plans: Plans<'_>) -> usize {
        let Plans { privacy, algorithm, .. } = plans;
        let rounds = privacy.main.rounds;
        let t = self.round.saturating_sub(privacy.warmup.rounds).min(rounds.saturating_sub(1));
        algorithm.retention.active_count(t, rounds, self.parameters.len())
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
        let round = self.round;
        self.advance_buffered(plans, &[BaseRound { round, mask, standardisation, sum }])
    }

    /// As [`TrainingState::advance`], with the updates of several base rounds, each with
    /// the mask and standardisation its devices used; the order of `parts` does not matter.
    /// The step covers the coordinates that were active in any base round with updates.
    ///
    /// # Errors
    /// As [`TrainingState::advance`]; [`Error::Setting`] for a base round that
    /// [`Plans::admits`] refuses or that comes twice, and for no update at all.
    pub fn advance_buffered(
        &mut self,
        plans: Plans<'_>,
        parts: &[BaseRound<'_>],
    ) -> Result<(), Error> {
        let (mask, gradient) = combine(plans, self.round, parts)?;
        let mut next = self.clone();
        next.step(plans, &mask, &gradient);
        next.check(plans)?;
        *self = next;
        Ok(())
    }

    /// Refuses a step that left a number that is not finite where the next steps need one.
    fn check(&self, plans: Plans<'_>) -> Result<(), Error> {
        let d = self.parameters.len();
        check_finite("model after the round", &self.parameters, d)?;
        if plans.federation.adaptivity.settings().is_none() {
            return Ok(());
        }
        // The denominator can hide a moment that overflowed.
        check_finite("first moment after the round", self.optimizer.velocity(), d)?;
        check_finite("second moment after the round", self.memory.second.values(), d)
    }

    fn step(&mut self, plans: Plans<'_>, mask: &Mask, gradient: &ReleasedGradient) {
        let Plans { privacy, algorithm, federation, .. } = plans;
        if privacy.is_warmup(self.round) {
            self.importance.add(gradient);
        } else if let Some(refresh) = &federation.refresh {
            let running = &mut self.memory.importance;
            running.update(gradient, mask, algorithm.importance, refresh.decay);
        }
        self.scale.update(gradient, mask, &algorithm.scale);
        self.optimise(plans, mask, gradient);
        self.count_round(plans);
    }

    fn optimise(&mut self, plans: Plans<'_>, mask: &Mask, gradient: &ReleasedGradient) {
        let (settings, adaptivity) = (&plans.algorithm.optimizer, &plans.federation.adaptivity);
        let rate = settings.learning_rate_at(self.round, plans.privacy.rounds());
        let (sgd, parameters) = (&mut self.optimizer, &mut self.parameters);
        let Some(adaptive) = adaptivity.settings() else {
            return sgd.step(parameters, gradient, mask, rate, settings.momentum);
        };
        let second = &mut self.memory.second;
        second.update(gradient, mask, adaptivity);
        let rates = (rate, settings.momentum);
        sgd.step_adaptive(parameters, gradient, mask, rates, (second, adaptive));
    }

    /// Moves to the next round without a step: the round brought too few reports. Its
    /// number is used up, because devices may have released under it.
    ///
    /// # Edge cases
    /// | case | effect |
    /// |---|---|
    /// | last warm-up round | importance is scored from the releases seen so far |
    /// | no release in the whole warm-up | nothing is known, so the mask stays full |
    /// | a round before which the mask is made anew | it is, once any release was seen |
    pub fn skip_round(&mut self, plans: Plans<'_>) {
        self.count_round(plans);
    }

    fn count_round(&mut self, plans: Plans<'_>) {
        let warmup = plans.privacy.is_warmup(self.round);
        self.round += 1;
        if plans.privacy.is_warmup(self.round) {
            return;
        }
        if warmup {
            self.rank(plans);
        } else {
            self.rank_again(plans);
        }
    }

    /// The first ranking, where the warm-up released anything.
    fn rank(&mut self, plans: Plans<'_>) {
        let Plans { algorithm, federation, .. } = plans;
        if self.importance.count() == 0 {
            return;
        }
        let score = self.importance.score(algorithm.importance, algorithm.random_seed);
        if federation.refresh.is_some() {
            self.memory.importance.start(&score, algorithm.importance);
        }
        self.score = Some(score);
    }

    /// A later ranking, where the plan has one before this round and anything is known.
    fn rank_again(&mut self, plans: Plans<'_>) {
        let Plans { privacy, algorithm, federation, .. } = plans;
        let t = self.round - privacy.warmup.rounds;
        let Some(refresh) = federation.refresh.filter(|r| r.is_due(t)) else { return };
        let unknown = self.score.is_none() && self.memory.importance.is_empty();
        if t >= privacy.main.rounds || unknown {
            return;
        }
        let counts = (self.parameters.len(), self.active_count(plans));
        let running = &self.memory.importance;
        self.score = Some(running.ranking(algorithm, &refresh, counts, self.round));
    }
}
