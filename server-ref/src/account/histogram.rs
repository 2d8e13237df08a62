//! Devices by epsilon.

use crate::report::HistogramBucket;

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
}
