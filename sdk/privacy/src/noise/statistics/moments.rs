//! Mean and variance.

use super::bounds;
use super::law::Law;

/// Mean of `f` over draws.
pub(super) fn average(draws: &[i64], f: impl Fn(f64) -> f64) -> f64 {
    draws.iter().map(|&d| f(d as f64)).sum::<f64>() / draws.len() as f64
}

/// Standard error sqrt(variance / n).
pub(super) fn mean(draws: &[i64], law: &Law) -> f64 {
    bounds::errors(average(draws, |x| x), (law.variance / draws.len() as f64).sqrt())
}

/// The mean of squares, with standard error sqrt((fourth - variance^2) / n).
pub(super) fn variance(draws: &[i64], law: &Law) -> f64 {
    let spread = law.fourth - law.variance * law.variance;
    let found = average(draws, |x| x * x);
    bounds::errors(found - law.variance, (spread / draws.len() as f64).sqrt())
}
