//! Devices by epsilon.

use crate::report::{HistogramBucket, Quantile};

/// Number of ranges.
const BUCKETS: usize = 10;

/// Counts `epsilons` in ten ranges of equal width up to the largest; none without a
/// finite largest above 0.
pub(crate) fn histogram(epsilons: &[f64]) -> Vec<HistogramBucket> {
    let largest = epsilons.iter().copied().fold(0.0, f64::max);
    if !(largest > 0.0 && largest.is_finite()) {
        return Vec::new();
    }
    let end = |i: usize| largest * i as f64 / BUCKETS as f64;
    let range = |i| HistogramBucket { from: end(i), to: end(i + 1), devices: 0 };
    let mut buckets: Vec<_> = (0..BUCKETS).map(range).collect();
    for &epsilon in epsilons {
        let at = buckets.partition_point(|b| b.to < epsilon).min(BUCKETS - 1);
        buckets[at].devices += 1;
    }
    buckets
}

/// Shares at which quantiles are told.
const SHARES: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 0.99];

/// The quantiles of `epsilons`: the least of them that has the share at or below it.
pub(crate) fn quantiles(epsilons: &[f64]) -> Vec<Quantile> {
    let mut sorted = epsilons.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        let epsilon = *sorted.get(rank.max(1) - 1)?;
        Some(Quantile { share, epsilon })
    };
    SHARES.into_iter().filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_counted_once() {
        let epsilons = [0.05, 0.1, 0.5, 0.95, 1.0, 1.0];
        let buckets = histogram(&epsilons);
        let devices: Vec<u64> = buckets.iter().map(|b| b.devices).collect();
        assert_eq!(devices, [2, 0, 0, 0, 1, 0, 0, 0, 0, 3]);
        assert_eq!(buckets[9].to, 1.0);
    }

    #[test]
    fn nothing_to_count_gives_no_ranges() {
        assert!(histogram(&[]).is_empty());
        assert!(histogram(&[f64::INFINITY]).is_empty());
    }

    #[test]
    fn a_quantile_has_its_share_at_or_below_it() {
        let epsilons: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found: Vec<f64> = quantiles(&epsilons).iter().map(|q| q.epsilon).collect();
        assert_eq!(found, [25.0, 50.0, 75.0, 90.0, 99.0]);
        assert_eq!(quantiles(&[2.0])[0], Quantile { share: 0.25, epsilon: 2.0 });
        assert!(quantiles(&[]).is_empty());
    }
}
