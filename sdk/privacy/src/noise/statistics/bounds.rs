//! How far a statistic may be off: its share of a bound, above 1 in at most some one case
//! in a million under the right law.

use statrs::function::gamma::{gamma_lr, gamma_ur};

/// False-alarm rate of one assertion.
pub(super) const ALPHA: f64 = 1e-6;

/// Standard errors that a normal variate exceeds, either way, with probability ALPHA.
const Z: f64 = 4.891_638_475_699;

/// Standard errors of means of a million terms: exceeded with probability 5.7e-7.
const ERRORS: f64 = 5.0;

/// Below this expected count the normal approximation of a count gives way to the exact
/// Poisson law.
const LEAST_NORMAL_COUNT: f64 = 50.0;

/// Of a p-value: ln p / ln ALPHA, above 1 where p < ALPHA.
fn of_p_value(p: f64) -> f64 {
    if p > 0.0 { p.ln() / ALPHA.ln() } else { f64::INFINITY }
}

/// Of a chi-square statistic: P(chi^2_df >= x) = Q(df/2, x/2).
pub(super) fn chi_square(x: f64, df: f64) -> f64 {
    if df < 1.0 || x <= 0.0 { 0.0 } else { of_p_value(gamma_ur(df / 2.0, x / 2.0)) }
}

/// Of an estimate, by its distance from the truth and its standard error.
pub(super) fn errors(distance: f64, standard_error: f64) -> f64 {
    distance.abs() / (ERRORS * standard_error)
}

/// Of an estimate that must have a p-value of ALPHA: as [`errors`], at Z.
pub(super) fn normal(distance: f64, standard_error: f64) -> f64 {
    distance.abs() / (Z * standard_error)
}

/// Of a count of n trials of probability p.
///
/// Wilson's interval at ALPHA holds p if and only if |count - n p| <= Z sqrt(n p (1 - p)).
/// Where hits or misses are few, they are Poisson; n p where p is 0 or 1 is exact.
pub(super) fn count(count: f64, n: f64, p: f64) -> f64 {
    let (hits, misses) = (n * p, n * (1.0 - p));
    if hits < LEAST_NORMAL_COUNT {
        return poisson(count, hits);
    }
    if misses < LEAST_NORMAL_COUNT {
        return poisson(n - count, misses);
    }
    normal(count - hits, (hits * (1.0 - p)).sqrt())
}

/// Of a count whose law is Poisson: twice the smaller of P(N <= c) = Q(c + 1, mean) and
/// P(N >= c) = P(c, mean).
pub(super) fn poisson(count: f64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return if count == 0.0 { 0.0 } else { f64::INFINITY };
    }
    let at_least = if count == 0.0 { 1.0 } else { gamma_lr(count, mean) };
    of_p_value((2.0 * gamma_ur(count + 1.0, mean).min(at_least)).min(1.0))
}

/// Of Kolmogorov's distance D over n draws: 2.7/sqrt(n) is exceeded with probability
/// 2 e^(-2 * 2.7^2) = 9e-7 under a continuous law, and less often under a discrete one.
pub(super) fn kolmogorov(distance: f64, n: f64) -> f64 {
    distance * n.sqrt() / 2.7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_tables() {
        // Quantiles at 1e-6 (mpmath): chi-square of 1 and 100 degrees, -2 ln ALPHA for 2.
        for (df, x) in [(1.0, 23.928_126_98), (2.0, 27.631_021_12), (100.0, 182.126_777_1)] {
            assert!((chi_square(x, df) - 1.0).abs() < 1e-5, "{df}: {}", chi_square(x, df));
        }
        assert!((libm::erfc(Z / std::f64::consts::SQRT_2) / ALPHA - 1.0).abs() < 1e-9);
        // At a mean of 4, twice P(N >= 17) is 2.3e-6, and twice P(N >= 18) is 5e-7.
        assert!(poisson(18.0, 4.0) > 1.0 && poisson(17.0, 4.0) < 1.0);
        assert!(poisson(0.0, 14.4) < 1.0 && poisson(0.0, 14.6) > 1.0);
        assert!(count(0.0, 1e6, 0.0) < 1.0 && count(1.0, 1e6, 0.0) > 1.0);
        assert!(count(1e6, 1e6, 1.0) < 1.0 && count(1e6 - 1.0, 1e6, 1.0) > 1.0);
    }
}
