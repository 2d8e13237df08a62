//! A mask that is made anew in the main phase, from releases alone.

use rand::Rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::refuse;
use crate::Error;
use crate::importance::{ImportanceRule, Score};
use crate::mask::{Mask, Provenance};
use crate::release::ReleasedGradient;
use crate::state::AlgorithmPlan;

/// A dynamic mask: every few rounds of the main phase the ranking is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRefresh {
    /// Main rounds from one ranking to the next, at least 1. Between, the thaw is nested.
    pub every: u64,
    /// Share of the active coordinates, in [0, 1), that is drawn at random among those that
    /// the ranking leaves out: a frozen coordinate tells nothing and could not come back.
    pub exploration: f64,
    /// Decay of the running importance, in [0, 1), a round in which a coordinate is active.
    pub decay: f64,
}

impl MaskRefresh {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        if self.every == 0 {
            return refuse("rounds between masks", 0, "at least 1");
        }
        let shares = [("exploration", self.exploration), ("decay of importance", self.decay)];
        let bad = shares.into_iter().find(|(_, share)| !(0.0..1.0).contains(share));
        bad.map_or(Ok(()), |(name, share)| refuse(name, share, "a share in [0, 1)"))
    }

    /// Whether a new ranking is made before main round `t`.
    #[must_use]
    pub const fn is_due(&self, t: u64) -> bool {
        t > 0 && t.is_multiple_of(self.every)
    }
}

/// Importance over the rounds in which a coordinate was active, `[d]`; empty until it is
/// needed.
///
/// m <- decay m + (1 - decay) x, with x = |g| or g^2 less the noise variance as the plan's
/// rule has it, from the warm-up's mean on; frozen coordinates keep their m.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RunningImportance {
    values: Vec<f64>,
}

impl RunningImportance {
    pub(crate) const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Goes on from the warm-up's ranking. The random control has nothing to know.
    pub(crate) fn start(&mut self, score: &Score, rule: ImportanceRule) {
        if rule != ImportanceRule::Random {
            self.values = score.values().to_vec();
        }
    }

    /// Takes in a release of the main phase.
    pub(crate) fn update(
        &mut self,
        release: &ReleasedGradient,
        mask: &Mask,
        rule: ImportanceRule,
        decay: f64,
    ) {
        if rule == ImportanceRule::Random {
            return;
        }
        self.values.resize(mask.len(), 0.0);
        for j in mask.indices() {
            let sample = rule.sample(release.values()[j], release.noise_std()[j]);
            self.values[j] = decay * self.values[j] + (1.0 - decay) * sample;
        }
    }

    /// The ranking before `round`, of which `active` coordinates will be used: first those
    /// that importance ranks highest, then floor(exploration active) drawn among the others,
    /// then the rest by importance, so that a thaw goes on with the most important.
    ///
    /// A function of releases, the public seed and the round.
    pub(crate) fn ranking(
        &self,
        algorithm: &AlgorithmPlan,
        refresh: &MaskRefresh,
        (d, active): (usize, usize),
        round: u64,
    ) -> Score {
        let mut rng = ChaCha20Rng::seed_from_u64(algorithm.random_seed);
        // Stream 0 ranked the warm-up's random control; a refresh is never at round 0.
        rng.set_stream(round);
        let (values, provenance) = match algorithm.importance {
            ImportanceRule::Random => ((0..d).map(|_| rng.random()).collect(), Provenance::Public),
            _ => (self.known(d), Provenance::Released),
        };
        let mut order = Mask::descending(&values);
        let explored = (refresh.exploration * active as f64).floor() as usize;
        let kept = active.saturating_sub(explored);
        move_drawn_first(&mut order[kept..], explored, &mut rng);
        Score::of_order(&order, provenance)
    }

    fn known(&self, d: usize) -> Vec<f64> {
        if self.is_empty() { vec![0.0; d] } else { self.values.clone() }
    }
}

/// Moves `count` entries, drawn without replacement, to the front; the others keep their
/// order.
fn move_drawn_first(order: &mut [u32], count: usize, rng: &mut ChaCha20Rng) {
    let mut places: Vec<usize> = (0..order.len()).collect();
    let count = count.min(order.len());
    for i in 0..count {
        let other = rng.random_range(i as u64..places.len() as u64) as usize;
        places.swap(i, other);
    }
    places[count..].sort_unstable();
    let moved: Vec<u32> = places.iter().map(|&place| order[place]).collect();
    order.copy_from_slice(&moved);
}
