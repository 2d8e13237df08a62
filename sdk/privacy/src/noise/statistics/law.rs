//! Ideal laws on the integers, symmetric about zero, as numbers to compare draws with.

use std::f64::consts::{PI, SQRT_2};

/// Up to this deviation probabilities are summed; above, the error of the closed form is
/// below 1e-2 / sigma^4 < 1e-10, a ten-thousandth of what a million draws can tell.
const LARGEST_TABLE: f64 = 128.0;

/// Deviations that a table reaches: what is beyond has probability 1e-348.
const REACH: f64 = 40.0;

/// A law on the integers with P(X = n) = P(X = -n).
pub(super) struct Law {
    /// The parameter: the deviation but for rounding and discreteness.
    pub(super) sigma: f64,
    /// Variance.
    pub(super) variance: f64,
    /// Fourth moment.
    pub(super) fourth: f64,
    /// P(X >= n) for n >= 1.
    upper: Box<dyn Fn(i64) -> f64 + Send + Sync>,
}

impl Law {
    /// P(n) proportional to e^(-n^2 / (2 sigma^2)).
    pub(super) fn discrete_gaussian(sigma: f64) -> Self {
        if sigma <= LARGEST_TABLE {
            return Self::table(sigma, |n| (-n * n / (2.0 * sigma * sigma)).exp());
        }
        // Euler-Maclaurin from the middles of the cells: with f the normal density,
        // sum_{k >= n} f(k) = int_{n - 1/2} f + f'(n - 1/2)/24 + ..; the whole sum is 1.
        let upper = move |n: i64| {
            let z = (n as f64 - 0.5) / sigma;
            let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
            above(z) - z * density / (24.0 * sigma * sigma)
        };
        let (variance, fourth) = (sigma * sigma, 3.0 * sigma.powi(4));
        Self { sigma, variance, fourth, upper: Box::new(upper) }
    }

    /// round(N(0, sigma^2)).
    pub(super) fn rounded_normal(sigma: f64) -> Self {
        if sigma <= LARGEST_TABLE {
            return Self::table(sigma, |n| above((n - 0.5) / sigma) - above((n + 0.5) / sigma));
        }
        // Sheppard: moments of the normal law and of the uniform one on a cell.
        let square = sigma * sigma;
        let (variance, fourth) =
            (square + 1.0 / 12.0, 3.0 * square * square + square / 2.0 + 1.0 / 80.0);
        let upper = move |n: i64| above((n as f64 - 0.5) / sigma);
        Self { sigma, variance, fourth, upper: Box::new(upper) }
    }

    /// The law whose P(n) is proportional to `weight` of |n|.
    fn table(sigma: f64, weight: impl Fn(f64) -> f64) -> Self {
        let reach = (REACH * sigma).ceil() as usize + 2;
        let mut upper: Vec<f64> = (0..=reach).map(|n| weight(n as f64)).collect();
        // The smallest first, so that nothing is lost.
        let total = 2.0 * upper[1..].iter().rev().sum::<f64>() + upper[0];
        let moment = |power| {
            let terms = upper.iter().enumerate().rev();
            2.0 * terms.map(|(n, w)| (n as f64).powi(power) * w).sum::<f64>() / total
        };
        let (variance, fourth) = (moment(2), moment(4));
        for n in (0..reach).rev() {
            upper[n] += upper[n + 1];
        }
        let upper = move |n: i64| upper.get(n as usize).map_or(0.0, |sum| sum / total);
        Self { sigma, variance, fourth, upper: Box::new(upper) }
    }

    /// P(X < n).
    pub(super) fn below(&self, n: i64) -> f64 {
        if n > 0 { 1.0 - (self.upper)(n) } else { (self.upper)(1 - n) }
    }

    /// P(low <= X < high).
    pub(super) fn between(&self, low: i64, high: i64) -> f64 {
        if low > 0 {
            return (self.upper)(low) - (self.upper)(high);
        }
        self.below(high) - self.below(low)
    }

    /// P(|X| >= n), for n >= 1.
    pub(super) fn beyond(&self, n: i64) -> f64 {
        2.0 * (self.upper)(n)
    }

    /// The least n with P(X < n) >= p, within 9 deviations.
    pub(super) fn quantile(&self, p: f64) -> i64 {
        let reach = (9.0 * self.sigma).ceil() as i64;
        let (mut low, mut high) = (-reach, reach);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.below(middle) < p { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// P(N(0, 1) > z).
fn above(z: f64) -> f64 {
    0.5 * libm::erfc(z / SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sigma; P(0), P(1); variance, fourth moment; P(|X| >= 2 sigma), 3 and 4: mpmath, with
    /// 40 digits.
    #[rustfmt::skip]
    const TABLE: [[f64; 8]; 7] = [
        [0.25, 0.999_329_524_583_06, 0.000_335_237_708_457_201, 0.000_670_475_417_015_648,
            0.000_670_475_417_319_384, 6.704_754_2e-4, 6.704_754_2e-4, 6.704_754_2e-4],
        [0.5, 0.786_570_707_041_948, 0.106_450_769_423_145, 0.215_012_675_088_138,
            0.221_347_161_968_545, 0.213_429_29, 5.277_541_1e-4, 5.277_541_1e-4],
        [1.0, 0.398_942_278_266_862, 0.241_970_723_224_461, 0.999_999_788_767_728,
            3.000_007_071_722_21, 0.117_116_28, 9.134_342_8e-3, 2.706_460_6e-4],
        [2.342, 0.170_342_562_084_301, 0.155_501_158_145_377, 5.484_964,
            90.254_490_243_888, 0.052_845_474, 1.252_194e-3, 4.372_059e-5],
        [3.0, 0.132_980_760_133_811, 0.125_794_409_230_998, 9.0,
            243.0, 0.065_493_126, 4.420_564_6e-3, 1.176_326e-4],
        [9.0, 0.044_326_920_044_603_6, 0.044_054_139_861_676_4, 81.0,
            19_683.0, 0.051_721_399, 3.219_547e-3, 7.931_105_3e-5],
        [100.0, 0.003_989_422_804_014_33, 0.003_989_223_337_860_82, 1e4,
            3e8, 0.046_041_973, 2.744_336_1e-3, 6.468_970_8e-5],
    ];

    /// Relative: 15 digits and a sum of some thousand terms; 7 digits.
    const OF_PROBABILITIES: f64 = 1e-13;
    const OF_TAILS: f64 = 5e-7;

    #[test]
    fn the_discrete_gaussian_is_that_of_the_table() {
        for [sigma, p0, p1, variance, fourth, two, three, four] in TABLE {
            let law = Law::discrete_gaussian(sigma);
            let tail = |m: f64| law.beyond((m * sigma).ceil() as i64);
            let check = |found: f64, expected: f64, tolerance| {
                let off = (found / expected - 1.0).abs();
                assert!(off < tolerance, "{sigma}: {found}, expected {expected}");
            };
            check(law.between(0, 1), p0, OF_PROBABILITIES);
            check(law.between(1, 2), p1, OF_PROBABILITIES);
            check(law.variance, variance, OF_PROBABILITIES);
            check(law.fourth, fourth, OF_PROBABILITIES);
            check(tail(2.0), two, OF_TAILS);
            check(tail(3.0), three, OF_TAILS);
            check(tail(4.0), four, OF_TAILS);
        }
    }

    #[test]
    fn sums_and_closed_forms_agree() {
        for law in [Law::discrete_gaussian as fn(f64) -> Law, Law::rounded_normal] {
            let (summed, closed) = (law(LARGEST_TABLE), law(LARGEST_TABLE.next_up()));
            for n in [-900, -512, -129, -1, 0, 1, 77, 300, 640] {
                assert!((summed.below(n) - closed.below(n)).abs() < 1e-10, "{n}");
            }
            assert!((summed.variance / closed.variance - 1.0).abs() < 1e-12);
            assert!((summed.fourth / closed.fourth - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn quantiles_invert_the_distribution_function() {
        let law = Law::rounded_normal(9.0);
        for p in [1e-6, 0.005, 0.3, 0.5, 0.9] {
            let n = law.quantile(p);
            assert!(law.below(n) >= p && law.below(n - 1) < p, "{p}: {n}");
        }
    }
}
