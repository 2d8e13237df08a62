//! Binomial tails, and the Clopper-Pearson bounds that they give.

use super::{Confidence, bisect};
use crate::Error;

/// Most trials of a proportion: up to here the continued fraction converges quickly.
const MOST_TRIALS: u64 = 1 << 32;

/// More than the relative error of a tail as it is computed here.
const TAIL_ERROR: f64 = 1e-9;

/// Successes in independent trials that share one unknown probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proportion {
    successes: u64,
    trials: u64,
}

impl Proportion {
    /// Checks and wraps two counts.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no trial, more than 2^32 of them, or more successes than
    /// trials.
    pub fn new(successes: u64, trials: u64) -> Result<Self, Error> {
        let refuse = |name, value: u64, expected| {
            Err(Error::Parameter { name, value: value as f64, expected })
        };
        if trials == 0 || trials > MOST_TRIALS {
            return refuse("trials", trials, "1 to 2^32");
        }
        if successes > trials {
            return refuse("successes", successes, "at most the number of trials");
        }
        Ok(Self { successes, trials })
    }

    /// Clopper-Pearson lower bound of the probability, rounded down.
    ///
    /// # Guarantee
    /// It is above the true probability p at most as often as `confidence` allows:
    /// P\[Binomial(n, bound) >= k\] is at most the failure probability.
    ///
    /// # Edge cases
    /// | input | answer |
    /// | --- | --- |
    /// | no success | 0 |
    /// | only successes | the n-th root of the failure probability |
    #[must_use]
    pub fn lower(self, confidence: Confidence) -> f64 {
        if self.successes == 0 {
            return 0.0;
        }
        let tail = |p| at_least(self.successes, self.trials, p, 1.0 - p);
        bisect(0.0, 1.0, |p| tail(p) > confidence.failure * (1.0 - TAIL_ERROR)).0
    }

    /// Clopper-Pearson upper bound of the probability, rounded up.
    ///
    /// # Guarantee
    /// As for [`Proportion::lower`], with P\[Binomial(n, bound) <= k\].
    ///
    /// # Edge cases
    /// | input | answer |
    /// | --- | --- |
    /// | only successes | 1 |
    /// | no success | 1 less the n-th root of the failure probability |
    #[must_use]
    pub fn upper(self, confidence: Confidence) -> f64 {
        let Self { successes, trials } = self;
        if successes == trials {
            return 1.0;
        }
        // P[X <= k] = I_{1-p}(n - k, k + 1).
        let (a, b) = ((trials - successes) as f64, successes as f64 + 1.0);
        let tail = |p: f64| beta(a, b, 1.0 - p, p);
        bisect(0.0, 1.0, |p| tail(p) <= confidence.failure * (1.0 - TAIL_ERROR)).1
    }
}

/// P\[Binomial(n, p) >= k\] = I_p(k, n - k + 1), `rest` being 1 - p; relative error below
/// [`TAIL_ERROR`].
pub(super) fn at_least(k: u64, n: u64, p: f64, rest: f64) -> f64 {
    match k {
        0 => 1.0,
        k if k > n => 0.0,
        k => beta(k as f64, (n - k) as f64 + 1.0, p, rest),
    }
}

/// P\[Binomial(n, p) = k\] for k <= n, `rest` being 1 - p; both above 0.
pub(super) fn exactly(k: u64, n: u64, p: f64, rest: f64) -> f64 {
    let (n, k) = (n as f64, k as f64);
    if k == 0.0 || k == n {
        return if k == 0.0 { (n * (-p).ln_1p()).exp() } else { (n * (-rest).ln_1p()).exp() };
    }
    // C(n, k) = n / (k (n - k)) Gamma(n) / (Gamma(k) Gamma(n - k)).
    front(k, n - k, p, rest) * n / (k * (n - k))
}

/// Regularised incomplete beta function I_x(a, b) with y = 1 - x, for a, b >= 1.
///
/// From the continued fraction of Abramowitz and Stegun, 26.5.8, on the side where it
/// converges fast. Where it does not converge the answer is 1, which as a tail bounds nothing.
fn beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    if x * (a + b + 2.0) > a + 1.0 {
        let rest = fraction(b, a, y).map_or(0.0, |fraction| front(b, a, y, x) / b * fraction);
        return 1.0 - rest;
    }
    fraction(a, b, x).map_or(1.0, |fraction| front(a, b, x, y) / a * fraction).min(1.0)
}

/// The continued fraction of I_x(a, b), by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> Option<f64> {
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut value) = (1.0, d);
    for m in 1..1_000_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = value;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            value *= d * c;
        }
        if (value - before).abs() <= f64::EPSILON * value.abs() {
            return Some(value);
        }
    }
    None
}

/// x^a y^b Gamma(a + b) / (Gamma(a) Gamma(b)), y = 1 - x, without the cancellation of large
/// logarithms: Stirling's formula with its remainder [`stirling`], and the linear terms of
/// `a ln(x n / a) + b ln(y n / b)`, n = a + b, which are each other's opposites, left out.
fn front(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let n = a + b;
    // Both say how far x is from the mean; the smaller side says it more exactly.
    let distance = if x < y { x * n - a } else { b - y * n };
    let exponent = a * curve(distance / a, x * n / a) + b * curve(-distance / b, y * n / b);
    let remainder = stirling(n) - stirling(a) - stirling(b);
    (a * b / (std::f64::consts::TAU * n)).sqrt() * (exponent + remainder).exp()
}

/// ln(ratio) - u for ratio = 1 + u.
fn curve(u: f64, ratio: f64) -> f64 {
    if u.abs() < 0.5 { u.ln_1p() - u } else { ratio.ln() - u }
}

/// ln Gamma(z) - ((z - 1/2) ln z - z + ln(2 pi)/2), for z >= 1: absolute error below 1e-14.
fn stirling(z: f64) -> f64 {
    if z < 12.0 {
        return stirling(z + 1.0) + (z + 0.5) * (1.0 / z).ln_1p() - 1.0;
    }
    let r = 1.0 / (z * z);
    (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / z
}
