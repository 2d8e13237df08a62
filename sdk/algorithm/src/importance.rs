//! Importance of coordinates, learned from releases alone.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::mask::Provenance;
use crate::release::ReleasedGradient;

/// How coordinates are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceRule {
    /// Mean absolute released gradient: AdaDPIGU as published (arXiv 2507.06525).
    Abs,
    /// Mean squared released gradient minus the known noise variance: unbiased for the
    /// squared signal (arXiv 2606.04375, phase 1).
    Debiased,
    /// A random ranking from a public seed: the size-matched control.
    Random,
}

impl ImportanceRule {
    /// What one released value says about its coordinate: |g|, or g^2 less the noise's
    /// variance. The random control is not asked.
    pub(crate) fn sample(self, g: f64, noise_std: f64) -> f64 {
        match self {
            Self::Abs | Self::Random => g.abs(),
            Self::Debiased => g * g - noise_std * noise_std,
        }
    }
}

impl FromStr for ImportanceRule {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        match s {
            "abs" => Ok(Self::Abs),
            "debiased" => Ok(Self::Debiased),
            "random" => Ok(Self::Random),
            _ => Err(Error::Setting {
                name: "importance rule",
                value: s.to_owned(),
                expected: "abs, debiased or random",
            }),
        }
    }
}

impl fmt::Display for ImportanceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abs => "abs",
            Self::Debiased => "debiased",
            Self::Random => "random",
        })
    }
}

/// Running sums of the warm-up's releases.
///
/// Only what left a noise mechanism counts, and only a score of it makes a mask:
///
/// ```
/// use adafed_algorithm::{Importance, ImportanceRule, Mask, ReleasedGradient};
///
/// fn mask(importance: &mut Importance, gradient: &ReleasedGradient) -> Mask {
///     importance.add(gradient);
///     Mask::top_k(&importance.score(ImportanceRule::Debiased, 0), 10)
/// }
/// ```
///
/// Gradients of examples, or sums of them, do not:
///
/// ```compile_fail,E0308
/// use adafed_algorithm::Importance;
/// use adafed_privacy::PerExample;
///
/// fn learn(importance: &mut Importance, gradient: &PerExample<'_>) {
///     importance.add(gradient);
/// }
/// ```
///
/// ```compile_fail,E0308
/// use adafed_algorithm::Mask;
///
/// fn mask(gradient: &[f64]) -> Mask {
///     Mask::top_k(gradient, 10)
/// }
/// ```
///
/// Nor does the scale state take them:
///
/// ```compile_fail,E0308
/// use adafed_algorithm::{Mask, ScaleSettings, ScaleState};
///
/// fn scale(state: &mut ScaleState, gradient: &[f64], mask: &Mask, settings: &ScaleSettings) {
///     state.update(gradient, mask, settings);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    count: u64,
    sum_abs: Vec<f64>,
    sum_debiased: Vec<f64>,
}

impl Importance {
    /// No release seen, for `d` coordinates.
    #[must_use]
    pub fn new(d: usize) -> Self {
        Self { count: 0, sum_abs: vec![0.0; d], sum_debiased: vec![0.0; d] }
    }

    /// Number of releases taken in.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Takes in one released gradient.
    pub fn add(&mut self, release: &ReleasedGradient) {
        self.count += 1;
        for (j, (&g, &noise_std)) in release.values().iter().zip(release.noise_std()).enumerate() {
            self.sum_abs[j] += ImportanceRule::Abs.sample(g, noise_std);
            self.sum_debiased[j] += ImportanceRule::Debiased.sample(g, noise_std);
        }
    }

    /// The ranking. `seed` is public and only used by the random control.
    #[must_use]
    pub fn score(&self, rule: ImportanceRule, seed: u64) -> Score {
        let mean = |sums: &[f64]| sums.iter().map(|s| s / self.count.max(1) as f64).collect();
        let (values, provenance) = match rule {
            ImportanceRule::Abs => (mean(&self.sum_abs), Provenance::Released),
            ImportanceRule::Debiased => (mean(&self.sum_debiased), Provenance::Released),
            ImportanceRule::Random => {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                (self.sum_abs.iter().map(|_| rng.random()).collect(), Provenance::Public)
            }
        };
        Score { values, provenance }
    }
}

/// A ranking of the coordinates; the only thing a mask is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    values: Vec<f64>,
    provenance: Provenance,
}

impl Score {
    /// One value a coordinate; higher is more important.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Where the ranking comes from.
    #[must_use]
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The ranking that has the coordinates in this order, each once.
    pub(crate) fn of_order(order: &[u32], provenance: Provenance) -> Self {
        let mut values = vec![0.0; order.len()];
        order.iter().rev().enumerate().for_each(|(value, &j)| values[j as usize] = value as f64);
        Self { values, provenance }
    }

    #[cfg(test)]
    pub(crate) fn from_values(values: Vec<f64>) -> Self {
        Self { values, provenance: Provenance::Released }
    }
}
