//! The mask: which coordinates are active. Public, and only ever a function of releases.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::importance::Score;

/// Where a mask comes from; a private source cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Fixed beforehand or drawn at random: independent of all data.
    Public,
    /// Computed from releases: post-processing.
    Released,
}

/// Active coordinates among `d`, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    len: usize,
    active: Vec<u32>,
    provenance: Provenance,
}

impl Mask {
    /// Every coordinate active.
    #[must_use]
    pub fn full(d: usize) -> Self {
        Self { len: d, active: (0..d as u32).collect(), provenance: Provenance::Public }
    }

    /// The `k` coordinates of the highest score; ties go to the lower index.
    #[must_use]
    pub fn top_k(score: &Score, k: usize) -> Self {
        let mut order = Self::descending(score.values());
        order.truncate(k);
        order.sort_unstable();
        Self { len: score.values().len(), active: order, provenance: score.provenance() }
    }

    /// All coordinates from the highest value to the lowest; ties go to the lower index.
    pub(crate) fn descending(values: &[f64]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&i, &j| values[j as usize].total_cmp(&values[i as usize]).then(i.cmp(&j)));
        order
    }

    /// A mask as its publisher sent it: `active` ascending, without repetition, below `d`.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is empty, unsorted or out of range.
    pub fn published(d: usize, active: Vec<u32>, provenance: Provenance) -> Result<Self, Error> {
        let ascending = active.is_sorted_by(|a, b| a < b);
        let in_range = active.last().is_some_and(|&j| (j as usize) < d);
        if ascending && in_range {
            return Ok(Self { len: d, active, provenance });
        }
        Err(Error::Setting {
            name: "mask",
            value: format!("{} indices for {d} coordinates", active.len()),
            expected: "at least one index, ascending, each below the number of parameters",
        })
    }

    /// Number d of coordinates, active or not.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no coordinate at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flat indices of the active coordinates, ascending.
    #[must_use]
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Number of active coordinates.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.active.len()
    }

    /// Where it comes from.
    #[must_use]
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The active coordinates, as flat indices into a dense vector.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.active.iter().map(|&j| j as usize)
    }

    /// Whether every coordinate active here is active in `other`: masks are nested.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.active.iter().all(|j| other.active.binary_search(j).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let score = Score::from_values(vec![1.0, 2.0, 2.0, 0.5, 2.0, 1.0]);
        assert_eq!(Mask::top_k(&score, 2).active(), [1, 2]);
    }

    #[test]
    fn masks_of_one_score_are_nested_and_thaw_only_frozen_coordinates() {
        // The published schedule "released" coordinates that were active already.
        let values = (0..500).map(|i| f64::from((i * 7_919) % 503)).collect();
        let score = Score::from_values(values);
        let masks: Vec<Mask> = (1..=500).step_by(7).map(|k| Mask::top_k(&score, k)).collect();
        for pair in masks.windows(2) {
            assert!(pair[0].is_subset_of(&pair[1]));
            assert_eq!(pair[1].active_count() - pair[0].active_count(), 7);
        }
    }

    #[test]
    fn a_malformed_published_mask_is_refused() {
        for active in [vec![], vec![1, 1], vec![2, 1], vec![0, 9]] {
            assert!(Mask::published(9, active, Provenance::Released).is_err());
        }
    }
}
