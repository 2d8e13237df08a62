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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    fn known(values: Vec<f64>) -> RunningImportance {
        RunningImportance { values }
    }

    fn refresh(exploration: f64) -> MaskRefresh {
        MaskRefresh { every: 4, exploration, decay: 0.5 }
    }

    fn ranked(values: &[f64], exploration: f64, active: usize, round: u64) -> Score {
        let algorithm = fixture::algorithm();
        let counts = (values.len(), active);
        known(values.to_vec()).ranking(&algorithm, &refresh(exploration), counts, round)
    }

    proptest! {
        #[test]
        fn the_share_of_exploration_lies_outside_the_top(
            values in prop::collection::vec(-1.0_f64..1.0, 20..60),
            exploration in 0.0_f64..0.9, share in 0.1_f64..1.0, round in 1_u64..1_000,
        ) {
            let active = ((values.len() as f64 * share) as usize).max(1);
            let score = ranked(&values, exploration, active, round);
            let mask = Mask::top_k(&score, active);
            prop_assert_eq!(mask.provenance(), Provenance::Released);
            let explored = (exploration * active as f64).floor() as usize;
            let order = Mask::descending(&values);
            let top = &order[..active - explored];
            let kept = top.iter().filter(|j| mask.active().contains(j)).count();
            prop_assert_eq!(kept, top.len(), "the top stays");
            prop_assert_eq!(mask.active_count() - kept, explored, "the rest is drawn");
            prop_assert_eq!(&score, &ranked(&values, exploration, active, round));
        }

        #[test]
        fn a_thaw_after_a_refresh_is_nested_and_goes_by_importance(
            values in prop::collection::vec(-1.0_f64..1.0, 20..40), round in 1_u64..99,
        ) {
            let score = ranked(&values, 0.5, 8, round);
            let masks: Vec<Mask> = (8..=values.len()).map(|k| Mask::top_k(&score, k)).collect();
            let mut left: Vec<u32> = Mask::descending(&values);
            left.retain(|j| !masks[0].active().contains(j));
            for (pair, next) in masks.windows(2).zip(left) {
                prop_assert!(pair[0].is_subset_of(&pair[1]));
                prop_assert!(pair[1].active().contains(&next));
            }
        }
    }

    #[test]
    fn every_coordinate_outside_the_top_is_drawn_as_often() {
        let values: Vec<f64> = (0..20).map(|j| f64::from(20 - j)).collect();
        let mut counts = [0_u32; 20];
        for round in 1..=4_000 {
            let mask = Mask::top_k(&ranked(&values, 0.5, 8, round), 8);
            mask.indices().for_each(|j| counts[j] += 1);
        }
        assert_eq!(counts[..4], [4_000; 4]);
        // 4 of the 16 others: mean 1,000, standard deviation sqrt(4,000 / 4 * 3 / 4) = 27.4.
        for count in &counts[4..] {
            assert!(count.abs_diff(1_000) < 6 * 28, "{counts:?}");
        }
    }

    #[test]
    fn frozen_coordinates_keep_what_is_known_of_them() {
        let mut running = known(vec![4.0, 4.0]);
        let mask = Mask::published(2, vec![1], Provenance::Released).unwrap();
        let release = ReleasedGradient::published(vec![0.0, -2.0], vec![0.0, 1.0]);
        running.update(&release, &mask, ImportanceRule::Abs, 0.75);
        assert_eq!(running.values, [4.0, 0.75 * 4.0 + 0.25 * 2.0]);
        running.update(&release, &mask, ImportanceRule::Debiased, 0.75);
        assert_eq!(running.values[1], 0.75 * 3.5 + 0.25 * (4.0 - 1.0));
    }

    #[test]
    fn the_random_control_stays_random_and_public() {
        let algorithm =
            AlgorithmPlan { importance: ImportanceRule::Random, ..fixture::algorithm() };
        let mut running = RunningImportance::default();
        let release = ReleasedGradient::published(vec![1.0; 50], vec![0.0; 50]);
        running.update(&release, &Mask::full(50), ImportanceRule::Random, 0.5);
        assert!(running.is_empty(), "nothing is kept of it");
        let ranking = |round| running.ranking(&algorithm, &refresh(0.2), (50, 20), round);
        assert_eq!(ranking(4).provenance(), Provenance::Public);
        assert_eq!(ranking(4), ranking(4));
        assert_ne!(Mask::top_k(&ranking(4), 20), Mask::top_k(&ranking(8), 20));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(refresh(0.3).check().is_ok());
        let bad = [
            MaskRefresh { every: 0, ..refresh(0.3) },
            refresh(1.0),
            refresh(-0.1),
            refresh(f64::NAN),
            MaskRefresh { decay: 1.0, ..refresh(0.3) },
        ];
        assert!(bad.iter().all(|settings| settings.check().is_err()));
        assert!(refresh(0.3).is_due(8) && !refresh(0.3).is_due(0) && !refresh(0.3).is_due(6));
    }
}
