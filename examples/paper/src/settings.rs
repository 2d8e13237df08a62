//! What one run is told: data, model, budget, algorithm.

use adafed::algorithm::{ImportanceRule, MaskRefresh, Retention, ScaleRule, ScaleSettings};
use adafed::data::Augmentation;
use adafed_examples::partition::Partition;
use serde::{Deserialize, Serialize, Serializer};

use crate::Error;
use crate::features::FeatureSettings;
use crate::model::Network;
use crate::pretrained::Pretraining;
use crate::source::Source;

/// All settings of a run, but for its seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Data set.
    pub(crate) data: Source,
    /// Whether the last sixth of the training examples is held out and tested on instead of the
    /// test set: for choosing settings.
    #[serde(default)]
    pub(crate) holdout: bool,
    /// Training examples taken, from the start [default: all].
    #[serde(default)]
    pub(crate) examples: Option<usize>,
    /// Fixed features that the model sees instead of the input.
    #[serde(default)]
    pub(crate) features: FeatureSettings,
    /// Network.
    pub(crate) model: Network,
    /// Devices that the examples are dealt to.
    #[serde(default = "one")]
    pub(crate) devices: usize,
    /// How they are dealt.
    #[serde(default = "iid", with = "text")]
    pub(crate) partition: Partition,
    /// Budget of the whole run.
    pub(crate) epsilon: f64,
    /// Delta at which it is stated.
    #[serde(default = "delta")]
    pub(crate) delta: f64,
    /// Expected examples of a step, over all devices; 0 stands for all examples, without
    /// sampling.
    pub(crate) batch: usize,
    /// Passes over the data; or `rounds`.
    #[serde(default)]
    pub(crate) epochs: Option<f64>,
    /// Rounds of `local-steps` steps each.
    #[serde(default)]
    pub(crate) rounds: Option<u64>,
    /// Steps of a device in a round.
    #[serde(default = "one_step")]
    pub(crate) local_steps: u32,
    /// Share of the rounds in which importance is learned.
    #[serde(default)]
    pub(crate) warmup: f64,
    /// Norm that an example's gradient is clipped to.
    pub(crate) clip: f64,
    /// Learning rate.
    pub(crate) learning_rate: f64,
    /// What is left of it in the last round.
    #[serde(default = "whole")]
    pub(crate) final_share: f64,
    /// Momentum.
    #[serde(default)]
    pub(crate) momentum: f64,
    /// Decay of the moving average of the released models, which is tested beside the last
    /// one; 0 for none.
    #[serde(default)]
    pub(crate) average: f64,
    /// How coordinates are ranked.
    #[serde(default = "debiased", with = "text")]
    pub(crate) importance: Ranking,
    /// Share of active coordinates, `R0[:R1[:SCHEDULE]]`.
    #[serde(default = "Retention::full", with = "text")]
    pub(crate) retention: Retention,
    /// Scale of the coordinates, `RULE[:POOLING]`.
    #[serde(default = "unscaled", with = "text")]
    pub(crate) scale: ScaleSettings,
    /// Whether the running mean is taken off before clipping.
    #[serde(default)]
    pub(crate) centre: bool,
    /// Decay of the running variance.
    #[serde(default = "beta2")]
    pub(crate) beta2: f64,
    /// Least scale, as a share of their root mean square.
    #[serde(default = "floor")]
    pub(crate) floor: f64,
    /// A released second moment that features are whitened by before the head is trained.
    #[serde(default)]
    pub(crate) second_moment: Option<SecondMoment>,
    /// A clip norm that follows the gradients' norms from `clip` on, instead of staying there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quantile: Option<Quantile>,
    /// Public pre-training of all layers but the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pretraining: Option<Pretraining>,
    /// Views of every image, whose gradients are averaged before they are clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) augmentation: Option<Augmentation>,
    /// How the mask is made anew during the main phase.
    #[serde(default)]
    pub(crate) refresh: Option<MaskRefresh>,
}

/// A private second moment of the features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondMoment {
    /// Share of the budget, as a share of mu squared; with 0 nothing is released.
    pub(crate) share: f64,
    /// Ridge, as a share of its trace.
    pub(crate) ridge: f64,
}

/// A clip norm that follows a quantile (Andrew et al., Differentially Private Learning with
/// Adaptive Clipping, 2021).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantile {
    /// Share of the examples whose gradient is to be shorter.
    pub(crate) target: f64,
    /// By how much the logarithm of the clip norm moves for a share that is off by one.
    pub(crate) rate: f64,
    /// Expected examples of a count, over all devices.
    pub(crate) batch: usize,
    /// Share of the budget that the counts have, as a share of mu squared.
    pub(crate) share: f64,
}

/// How coordinates are ranked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ranking {
    /// By releases.
    Released(ImportanceRule),
    /// By the gradients themselves: what a perfect ranking would give. NOT private.
    Oracle,
}

impl std::str::FromStr for Ranking {
    type Err = adafed::algorithm::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "oracle" { Ok(Self::Oracle) } else { text.parse().map(Self::Released) }
    }
}

impl std::fmt::Display for Ranking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Released(rule) => rule.fmt(f),
            Self::Oracle => f.write_str("oracle"),
        }
    }
}

/// Values that files write as their text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, de::Error};

    use super::Serializer;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

const fn one() -> usize {
    1
}

const fn one_step() -> u32 {
    1
}

const fn whole() -> f64 {
    1.0
}

const fn iid() -> Partition {
    Partition::Iid
}

const fn delta() -> f64 {
    1e-5
}

const fn beta2() -> f64 {
    0.99
}

const fn floor() -> f64 {
    0.1
}

const fn debiased() -> Ranking {
    Ranking::Released(ImportanceRule::Debiased)
}

fn unscaled() -> ScaleSettings {
    ScaleSettings::new(ScaleRule::None, adafed::algorithm::Pooling::Coordinate)
}

impl Settings {
    /// Whether the settings go together, as far as that is known without data.
    ///
    /// # Errors
    /// The settings that do not, and what they must be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let must = |what, holds: bool, expected: &str| match holds {
            true => Ok(()),
            false => Err(Error::Settings { what, expected: expected.to_owned() }),
        };
        let told = self.epochs.is_some() != self.rounds.is_some();
        must("epochs and rounds", told, "give exactly one of them")?;
        let learned = self.is_private() || self.warmup > 0.0;
        must("warmup", learned, "above 0 for an oracle, which ranks by what it sees there")?;
        let alone = self.second_moment().is_none() || self.devices == 1;
        let expected = "one device: several that trust nobody would each add the noise";
        must("devices beside second-moment", alone, expected)?;
        let unscaled = self.scale.rule == ScaleRule::None && !self.centre;
        let plain = unscaled && self.augmentation.is_none() && self.local_steps == 1;
        let expected = "no scale, no centre, no augmentation and one local step beside it";
        must("quantile", self.quantile.is_none() || plain, expected)
    }

    /// The second moment that is released, if one is.
    pub(crate) fn second_moment(&self) -> Option<SecondMoment> {
        self.second_moment.filter(|moment| moment.share != 0.0)
    }

    /// Whether what is released is private: whether nothing but releases is looked at.
    pub(crate) fn is_private(&self) -> bool {
        self.importance != Ranking::Oracle
    }

    /// What is said behind everything that is shown of a run.
    pub(crate) fn warning(&self) -> &'static str {
        if self.is_private() { "" } else { " (NOT private)" }
    }
}
