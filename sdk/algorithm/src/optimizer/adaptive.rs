//! Second moments of the pseudo-gradient: FedAdam and FedYogi.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::mask::Mask;
use crate::release::ReleasedGradient;

/// How the server's steps adapt to the size of each coordinate (Reddi et al. 2021, Adaptive
/// Federated Optimization, arXiv 2003.00295, Algorithm 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptivity {
    /// SGD with momentum.
    #[default]
    None,
    /// FedAdam: v <- beta2 v + (1 - beta2) g^2.
    Adam(SecondMomentSettings),
    /// FedYogi: v <- v - (1 - beta2) g^2 sign(v - g^2).
    Yogi(SecondMomentSettings),
}

/// Settings of the second moment. First moment and learning rate are those of
/// [`SgdSettings`](crate::SgdSettings): beta1 is its momentum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondMomentSettings {
    /// Decay beta2 of the second moment, in [0, 1).
    pub beta2: f64,
    /// Floor tau of the denominator, in units of the released gradient (of one step, not of
    /// a model's difference); v starts at tau^2.
    pub tau: f64,
    /// Whether the known noise variance of the pseudo-gradient is taken off its square.
    ///
    /// Under Adam v may dip below 0 by chance and is clamped where it is used: clamping
    /// before averaging would put a bias of the noise's own size back. Yogi moves by the
    /// size of the square, so there the square itself is clamped at 0.
    pub debiased: bool,
}

impl Adaptivity {
    /// The settings, where there is a second moment.
    #[must_use]
    pub const fn settings(&self) -> Option<&SecondMomentSettings> {
        match self {
            Self::None => None,
            Self::Adam(settings) | Self::Yogi(settings) => Some(settings),
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        let Some(&SecondMomentSettings { beta2, tau, .. }) = self.settings() else {
            return Ok(());
        };
        if !(0.0..1.0).contains(&beta2) {
            let (value, expected) = (beta2.to_string(), "a number in [0, 1)");
            return Err(Error::Setting { name: "beta2 of the adaptive step", value, expected });
        }
        // tau^2 is kept as f32.
        if !(1e-12..=1e12).contains(&tau) {
            let (value, expected) = (tau.to_string(), "a number from 1e-12 to 1e12");
            return Err(Error::Setting { name: "tau of the adaptive step", value, expected });
        }
        Ok(())
    }
}

/// Second moment v, `[d]`; empty until the first adaptive step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecondMoment {
    values: Vec<f32>,
}

impl SecondMoment {
    /// Nothing seen: takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Whether no adaptive step has been made.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// v, `[d]`, or nothing before the first step.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Takes in one release; frozen coordinates keep what is known of them.
    pub fn update(&mut self, release: &ReleasedGradient, mask: &Mask, rule: &Adaptivity) {
        let Some(&SecondMomentSettings { beta2, tau, debiased }) = rule.settings() else { return };
        if self.values.is_empty() {
            self.values.resize(mask.len(), (tau * tau) as f32);
        }
        for j in mask.indices() {
            let (g, noise_std) = (release.values()[j], release.noise_std()[j]);
            let noise = if debiased { noise_std * noise_std } else { 0.0 };
            let (v, square) = (f64::from(self.values[j]), g * g - noise);
            let next = match rule {
                Adaptivity::Yogi(_) => yogi(v, square.max(0.0), beta2),
                _ => beta2 * v + (1.0 - beta2) * square,
            };
            self.values[j] = next as f32;
        }
    }

    /// sqrt(v) of coordinate `j`, v clamped at 0.
    pub(super) fn root(&self, j: usize) -> f64 {
        f64::from(self.values[j]).max(0.0).sqrt()
    }
}

/// v - (1 - beta2) s sign(v - s), with sign(0) = 0.
fn yogi(v: f64, square: f64, beta2: f64) -> f64 {
    let change = (1.0 - beta2) * square;
    if v > square {
        v - change
    } else if v < square {
        v + change
    } else {
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sgd;

    const RATE: f64 = 0.05;
    const BETA1: f64 = 0.9;

    fn settings(debiased: bool) -> SecondMomentSettings {
        SecondMomentSettings { beta2: 0.98, tau: 1e-3, debiased }
    }

    fn gradient(t: u32) -> (f64, f64) {
        let t = f64::from(t);
        (0.3 * (1.7 * t).sin() + 0.02 * t, 0.1 + 0.01 * t)
    }

    /// Algorithm 2 on one coordinate, as it is printed, with the pseudo-gradient's sign.
    fn reference(yogi: bool, debiased: bool, rounds: u32) -> f64 {
        let (mut x, mut m, mut v) = (1.0_f64, 0.0_f64, 1e-3_f64 * 1e-3);
        for t in 0..rounds {
            let (g, std) = gradient(t);
            let delta = -g;
            m = 0.9 * m + 0.1 * delta;
            let mut square = delta * delta - if debiased { std * std } else { 0.0 };
            if yogi {
                square = square.max(0.0);
                v -= (1.0 - 0.98) * square * (v - square).signum();
            } else {
                v = 0.98 * v + (1.0 - 0.98) * square;
            }
            x += 0.05 * m / (v.max(0.0).sqrt() + 1e-3);
        }
        x
    }

    fn ours(rule: &Adaptivity, rounds: u32) -> f64 {
        let (mut sgd, mut second) = (Sgd::new(2), SecondMoment::new());
        let mut parameters = [1.0_f32, 1.0];
        let mask = Mask::published(2, vec![0], crate::Provenance::Public).unwrap();
        for t in 0..rounds {
            let (g, std) = gradient(t);
            let release = ReleasedGradient::published(vec![g, 0.0], vec![std, 0.0]);
            second.update(&release, &mask, rule);
            let moment = (&second, rule.settings().unwrap());
            sgd.step_adaptive(&mut parameters, &release, &mask, (RATE, BETA1), moment);
        }
        assert_eq!(parameters[1], 1.0, "a frozen coordinate does not move");
        f64::from(parameters[0])
    }

    #[test]
    fn adam_and_yogi_follow_the_printed_algorithm() {
        for debiased in [false, true] {
            for rounds in [1, 2, 7, 60] {
                let rules =
                    [Adaptivity::Adam(settings(debiased)), Adaptivity::Yogi(settings(debiased))];
                for (rule, yogi) in rules.iter().zip([false, true]) {
                    let (found, expected) = (ours(rule, rounds), reference(yogi, debiased, rounds));
                    // Parameters and moments are kept as f32: 60 roundings of 6e-8, and v near
                    // its floor passes them on.
                    assert!((found - expected).abs() < 1e-4, "{rule:?}: {found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn debiased_adam_finds_the_signal_under_the_noise() {
        // Alternating +-2 around a signal of 0: square 4 less its variance 4.
        let (rule, mask) = (Adaptivity::Adam(settings(true)), Mask::full(1));
        let mut second = SecondMoment::new();
        for t in 0..200 {
            let g = if t % 2 == 0 { 2.0 } else { -2.0 };
            second.update(&ReleasedGradient::published(vec![g], vec![2.0]), &mask, &rule);
        }
        assert!(second.root(0) < 1e-3, "{}", second.root(0));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (beta2, tau) in
            [(1.0, 1e-3), (-0.1, 1e-3), (f64::NAN, 1e-3), (0.9, 0.0), (0.9, f64::NAN)]
        {
            let settings = SecondMomentSettings { beta2, tau, debiased: false };
            assert!(Adaptivity::Adam(settings).check().is_err(), "{settings:?}");
            assert!(Adaptivity::Yogi(settings).check().is_err(), "{settings:?}");
        }
        assert!(Adaptivity::Adam(settings(true)).check().is_ok());
    }
}
