//! How the updates of one base round become one: norm bound, weights, then the rule.
//! Integers throughout, and a function of the SET of updates.

mod krum;
mod norm;
mod sorted;
mod sum;
#[cfg(test)]
mod tests;
mod variance;

use serde::{Deserialize, Serialize};

pub use self::sum::ReleasedSum;

use self::norm::NormBound;
use crate::{Error, Plans};

/// The rule that makes one value a coordinate of those that devices sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// The weighted mean: least noise, no protection from hostile devices.
    #[default]
    Mean,
    /// The median of each coordinate; of an even count, the mean of both middle values
    /// (Yin et al. 2018, arXiv 1803.01498, Algorithm 1, option I).
    Median,
    /// The mean of each coordinate without its floor(share n) smallest and largest values
    /// (Yin et al. 2018, Algorithm 1, option II).
    TrimmedMean {
        /// Share that is dropped on each side, above 0 and below 1/2.
        share: f64,
    },
    /// The mean of the `keep` updates that lie closest to their n - hostile - 2 nearest
    /// (Blanchard et al. 2017, arXiv 1703.02757, section 4 and its variant Multi-Krum).
    MultiKrum {
        /// Hostile devices that a round may hold; it needs more than twice as many and 2.
        hostile: u32,
        /// Updates that are averaged.
        keep: u32,
    },
}

impl Aggregation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        match *self {
            Self::TrimmedMean { share } if !(share > 0.0 && share < 0.5) => {
                let expected = "a share above 0 and below 1/2 on each side";
                Err(Error::Setting { name: "trimmed share", value: share.to_string(), expected })
            }
            Self::MultiKrum { keep: 0, .. } => {
                let (value, expected) = (0.to_string(), "at least 1 update");
                Err(Error::Setting { name: "updates that multi-Krum keeps", value, expected })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the rule means something for `reports` updates.
    ///
    /// # Errors
    /// [`Error::Setting`]: a trimmed mean that drops nothing; a multi-Krum without
    /// 2 hostile + 2 < reports, or that keeps more than reports - hostile - 2.
    pub fn check_reports(&self, reports: u32) -> Result<(), Error> {
        let refuse = |name, expected| {
            Err(Error::Setting { name, value: format!("{reports} reports"), expected })
        };
        match *self {
            Self::TrimmedMean { share } if sorted::trimmed(share, reports as usize) == 0 => {
                refuse("trimmed mean", "reports of which the share drops at least one a side")
            }
            Self::MultiKrum { hostile, keep } => {
                let (n, hostile, keep) = (u64::from(reports), u64::from(hostile), u64::from(keep));
                if n > 2 * hostile + 2 && keep + hostile + 2 <= n {
                    return Ok(());
                }
                refuse("multi-Krum", "2 hostile + 2 < reports and keep <= reports - hostile - 2")
            }
            _ => Ok(()),
        }
    }

    /// Whether all updates of a round are in memory at once.
    #[must_use]
    pub const fn is_robust(&self) -> bool {
        !matches!(self, Self::Mean)
    }
}

/// Weights of devices in the mean. The size of a data set is private and never one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Weights {
    /// Every device weighs the same.
    #[default]
    Uniform,
    /// The public integer that the operator gave a device, at least 1.
    Public {
        /// What a larger weight counts as.
        cap: u32,
    },
}

impl Weights {
    /// The weight that counts, of one that was given.
    #[must_use]
    pub fn counted(&self, weight: u32) -> u32 {
        match *self {
            Self::Uniform => 1,
            Self::Public { cap } => weight.clamp(1, cap.max(1)),
        }
    }
}

/// Takes the updates of one base round, in any order.
///
/// # Guarantee
/// [`Collector::finish`] is a function of the set of pairs (update, weight): neither order
/// of arrival nor names matter, and no integer overflows whatever a device sends.
#[derive(Clone, Debug)]
pub struct Collector {
    rule: Aggregation,
    weights: Weights,
    bound: Option<NormBound>,
    sum: ReleasedSum,
    /// The updates themselves, for rules that need all of them.
    kept: Vec<Vec<i64>>,
}

impl Collector {
    /// For updates over `active` coordinates that were computed in base round `round`.
    #[must_use]
    pub fn new(plans: Plans<'_>, round: u64, active: usize) -> Self {
        let (federation, steps) = (plans.federation, plans.privacy.local_steps);
        let noise_norm = (active as f64 * f64::from(steps)).sqrt();
        let noise_norm = noise_norm * plans.privacy.noise_std_steps(round);
        Self {
            rule: federation.aggregation,
            weights: federation.weights,
            bound: federation.norm_bound.map(|multiple| NormBound::new(multiple * noise_norm)),
            sum: ReleasedSum::new(active, steps),
            kept: Vec::new(),
        }
    }

    /// Takes one device's update `[active]`, in grid steps, with the weight that the
    /// operator gave it; the weight is read only where the plan has [`Weights::Public`].
    ///
    /// # Errors
    /// [`Error::Length`] when it has not one value an active coordinate.
    pub fn add(&mut self, mut values: Vec<i64>, weight: u32) -> Result<(), Error> {
        let (found, expected) = (values.len(), self.sum.values().len());
        if found != expected {
            return Err(Error::Length { what: "release", found, expected });
        }
        if let Some(bound) = &self.bound {
            bound.apply(&mut values);
        }
        if self.rule.is_robust() {
            self.kept.push(values);
            return Ok(());
        }
        self.sum.add_weighted(&values, self.weights.counted(weight))
    }

    /// Updates taken so far.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.sum.devices().max(self.kept.len() as u32)
    }

    /// What the rule makes of the updates; a sum of no device where there was none.
    ///
    /// # Errors
    /// [`Error::Setting`] for a multi-Krum of too few updates.
    pub fn finish(self) -> Result<ReleasedSum, Error> {
        let (sum, n) = (self.sum, self.kept.len());
        if n == 0 {
            return Ok(sum);
        }
        match self.rule {
            Aggregation::Mean => Ok(sum),
            Aggregation::Median => Ok(sorted::aggregate(&sum, &self.kept, (n - 1) / 2)),
            Aggregation::TrimmedMean { share } => {
                Ok(sorted::aggregate(&sum, &self.kept, sorted::trimmed(share, n)))
            }
            Aggregation::MultiKrum { hostile, keep } => {
                self.rule.check_reports(n as u32)?;
                krum::aggregate(sum, &self.kept, hostile as usize, keep as usize)
            }
        }
    }
}
