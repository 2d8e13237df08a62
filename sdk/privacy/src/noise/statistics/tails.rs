//! Tails: how much is far out, and how far.

use super::bounds;
use super::law::Law;

/// |X| >= `from` as a count.
pub(super) fn beyond(draws: &[i64], law: &Law, from: i64) -> f64 {
    let found = draws.iter().filter(|d| d.abs() >= from).count() as f64;
    bounds::count(found, draws.len() as f64, law.beyond(from))
}

/// |X| >= m sigma for m = 2, 3, 4.
pub(super) fn tails(draws: &[i64], law: &Law) -> f64 {
    let one = |m: f64| beyond(draws, law, (m * law.sigma).ceil() as i64);
    [2.0, 3.0, 4.0].into_iter().map(one).fold(0.0, f64::max)
}

/// |X| > 4 sigma: what truncation there removes, even where 4 sigma is an integer.
pub(super) fn strict_tail(draws: &[i64], law: &Law) -> f64 {
    beyond(draws, law, (4.0 * law.sigma).floor() as i64 + 1)
}

/// Nothing is beyond 9 sigma, and a rounding: a million draws have a probability of 1e-12.
pub(super) fn far_tail(draws: &[i64], law: &Law) -> f64 {
    let farthest = draws.iter().map(|d| d.unsigned_abs()).max().unwrap_or(0);
    farthest as f64 / (9.0 * law.sigma + 0.5)
}
