//! Multi-Krum: the mean of the updates that lie closest to their neighbours.

use rayon::prelude::*;

use super::ReleasedSum;
use crate::Error;

/// The mean of the `keep` updates of the lowest scores. The noise is stated as that of a
/// mean of `keep` updates: that they were selected by their noise, too, is not counted.
pub(super) fn aggregate(
    mut sum: ReleasedSum,
    updates: &[Vec<i64>],
    hostile: usize,
    keep: usize,
) -> Result<ReleasedSum, Error> {
    let neighbours = updates.len().saturating_sub(hostile + 2);
    let scores = scores(updates, neighbours);
    let mut order: Vec<usize> = (0..updates.len()).collect();
    // Of equal scores the lexicographically smaller update is kept: equal updates are
    // interchangeable, so the outcome depends on the set alone.
    order.sort_by(|&i, &j| (scores[i], &updates[i]).cmp(&(scores[j], &updates[j])));
    order.iter().take(keep).try_for_each(|&i| sum.add_device(&updates[i]))?;
    Ok(sum.kept_of(updates.len() as u32))
}

/// For each update, the sum of its squared distances to its `neighbours` nearest others.
fn scores(updates: &[Vec<i64>], neighbours: usize) -> Vec<u128> {
    let score = |i: usize| {
        let others = updates.iter().enumerate().filter(|(j, _)| *j != i);
        let mut distances: Vec<u128> = others.map(|(_, u)| distance(&updates[i], u)).collect();
        distances.sort_unstable();
        distances.iter().take(neighbours).fold(0, |s: u128, d| s.saturating_add(*d))
    };
    (0..updates.len()).into_par_iter().map(score).collect()
}

/// Squared Euclidean distance, exact up to 2^128, where it stays: two integers of 64 bits
/// differ by less than 2^64, so each square fits.
fn distance(a: &[i64], b: &[i64]) -> u128 {
    let squares = a.iter().zip(b).map(|(x, y)| u128::from(x.abs_diff(*y)).pow(2));
    squares.fold(0, u128::saturating_add)
}
