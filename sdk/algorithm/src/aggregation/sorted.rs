//! Median and trimmed mean: both drop as many values on either side of each coordinate.

use rayon::prelude::*;

use super::ReleasedSum;
use super::variance::trimmed_mean_variance;

/// Values dropped on each side of `n`: floor(share n), so that at least one is left.
pub(super) fn trimmed(share: f64, n: usize) -> usize {
    let dropped = (share * n as f64).floor() as usize;
    dropped.min(n.saturating_sub(1) / 2)
}

/// The sum of what is left of each coordinate without its `dropped` smallest and largest
/// values, over the number of values that are left. `updates` is not empty.
pub(super) fn aggregate(like: &ReleasedSum, updates: &[Vec<i64>], dropped: usize) -> ReleasedSum {
    let n = updates.len();
    let middle = |column: &mut Vec<i64>, j: usize| {
        column.clear();
        column.extend(updates.iter().map(|update| update[j]));
        column.sort_unstable();
        column[dropped..n - dropped].iter().map(|&v| i128::from(v)).sum()
    };
    let active = like.values().len();
    let values = (0..active).into_par_iter().map_init(|| Vec::with_capacity(n), middle).collect();
    let variance = trimmed_mean_variance(n, dropped);
    like.of_rule(values, n as u32, (n - 2 * dropped) as u64, variance)
}
