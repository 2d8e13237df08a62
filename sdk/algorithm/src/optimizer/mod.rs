//! The server's optimiser on active coordinates: SGD with momentum, which is FedAvg and
//! FedAvgM, and the adaptive steps of FedAdam and FedYogi.

mod adaptive;

pub use self::adaptive::{Adaptivity, SecondMoment, SecondMomentSettings};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::mask::Mask;
use crate::release::ReleasedGradient;

/// Settings of SGD with momentum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdSettings {
    /// Learning rate at the first round.
    pub learning_rate: f64,
    /// Share of the learning rate that is left at the last round; between, it falls
    /// linearly. 1 keeps it constant.
    pub final_share: f64,
    /// Momentum in [0, 1).
    pub momentum: f64,
}

impl SgdSettings {
    /// FedAvg (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1) with equal weights: the
    /// next model is the mean of those that devices reach by `local_steps` steps at
    /// `local_learning_rate`. The pseudo-gradient is a mean over the steps, so the server's
    /// rate is lr E.
    #[must_use]
    pub fn fed_avg(local_learning_rate: f64, local_steps: u32) -> Self {
        Self::fed_avg_m(local_learning_rate, local_steps, 0.0)
    }

    /// FedAvg with server momentum (Hsu et al. 2019, arXiv 1909.06335, section 4.2).
    #[must_use]
    pub fn fed_avg_m(local_learning_rate: f64, local_steps: u32, momentum: f64) -> Self {
        let learning_rate = local_learning_rate * f64::from(local_steps);
        Self { learning_rate, final_share: 1.0, momentum }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        let Self { learning_rate, final_share, momentum } = *self;
        let checks = [
            ("learning rate", learning_rate, learning_rate > 0.0 && learning_rate.is_finite()),
            ("final share", final_share, (0.0..=1.0).contains(&final_share)),
            ("momentum", momentum, (0.0..1.0).contains(&momentum)),
        ];
        match checks.into_iter().find(|(_, _, valid)| !valid) {
            Some((name, value, _)) => Err(Error::Setting {
                name,
                value: value.to_string(),
                expected: "a rate above 0, a share in [0, 1], a momentum in [0, 1)",
            }),
            None => Ok(()),
        }
    }

    /// Learning rate of round `t` of `rounds`.
    #[must_use]
    pub fn learning_rate_at(&self, t: u64, rounds: u64) -> f64 {
        let x = if rounds <= 1 { 0.0 } else { t as f64 / (rounds - 1) as f64 };
        self.learning_rate * (1.0 - x + x * self.final_share)
    }
}

/// Momentum buffer or first moment, `[d]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    velocity: Vec<f32>,
}

impl Sgd {
    /// At rest, for `d` coordinates.
    #[must_use]
    pub fn new(d: usize) -> Self {
        Self { velocity: vec![0.0; d] }
    }

    /// One step: u <- momentum u + g, parameters <- parameters - learning_rate u, on
    /// active coordinates; frozen ones do not move and forget their velocity.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &ReleasedGradient,
        mask: &Mask,
        learning_rate: f64,
        momentum: f64,
    ) {
        let mut velocity = vec![0.0; parameters.len()];
        for j in mask.indices() {
            let u = momentum * f64::from(self.velocity[j]) + gradient.values()[j];
            velocity[j] = u as f32;
            parameters[j] = (f64::from(parameters[j]) - learning_rate * u) as f32;
        }
        self.velocity = velocity;
    }

    /// One adaptive step (Reddi et al. 2021, Algorithm 2, lines 9 and 13): with beta1 the
    /// momentum, m <- beta1 m + (1 - beta1) g and
    /// parameters <- parameters - learning_rate m / (sqrt(v) + tau), on active coordinates;
    /// frozen ones do not move and forget m. `second` has taken in the gradient before.
    pub fn step_adaptive(
        &mut self,
        parameters: &mut [f32],
        gradient: &ReleasedGradient,
        mask: &Mask,
        (learning_rate, beta1): (f64, f64),
        (second, settings): (&SecondMoment, &SecondMomentSettings),
    ) {
        let mut first = vec![0.0; parameters.len()];
        for j in mask.indices() {
            let m = beta1 * f64::from(self.velocity[j]) + (1.0 - beta1) * gradient.values()[j];
            first[j] = m as f32;
            let step = learning_rate * m / (second.root(j) + settings.tau);
            parameters[j] = (f64::from(parameters[j]) - step) as f32;
        }
        self.velocity = first;
    }

    /// The buffer, `[d]`.
    pub(crate) fn velocity(&self) -> &[f32] {
        &self.velocity
    }
}
