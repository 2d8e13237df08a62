//! The server's optimiser: SGD with momentum on active coordinates.

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

/// Momentum buffer, `[d]`.
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
}
