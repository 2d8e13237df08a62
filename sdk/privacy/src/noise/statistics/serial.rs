//! Independence from one draw to the next.

use super::bounds;
use super::law::Law;

/// Least expected number of terms, or variance of a count, that is taken as normal.
const LEAST_NORMAL: f64 = 50.0;

/// Autocorrelation at lags 1 to 5: products of independent draws have mean 0 and variance
/// `variance`^2, so that their mean over n has a standard error of `variance` / sqrt(n).
/// Where hardly two draws in a row are not zero, such pairs are counted instead.
pub(super) fn autocorrelation(draws: &[i64], law: &Law) -> f64 {
    let n = draws.len() as f64;
    let pairs = n * law.beyond(1).powi(2);
    let one = |lag: usize| {
        let products = draws.iter().zip(&draws[lag..]).map(|(&a, &b)| a as f64 * b as f64);
        if pairs < LEAST_NORMAL {
            return bounds::poisson(products.filter(|p| *p != 0.0).count() as f64, pairs);
        }
        bounds::errors(products.sum::<f64>() / n, law.variance / n.sqrt())
    };
    (1..=5).map(one).fold(0.0, f64::max)
}

/// Runs of one sign among the draws that have one, and runs of large and of small values.
pub(super) fn runs(draws: &[i64], law: &Law) -> f64 {
    let deviation = law.sigma.ceil() as u64;
    let signs: Vec<bool> = draws.iter().filter(|d| **d != 0).map(|d| *d > 0).collect();
    let sizes: Vec<bool> = draws.iter().map(|d| d.unsigned_abs() >= deviation).collect();
    wald_wolfowitz(&signs).max(wald_wolfowitz(&sizes))
}

/// Given n_1 true and n_0 false ones in any order, the number of runs has mean
/// m = 1 + 2 n_0 n_1 / n and variance (m - 1)(m - 2)/(n - 1), and is asymptotically normal.
fn wald_wolfowitz(values: &[bool]) -> f64 {
    let n = values.len() as f64;
    let large = values.iter().filter(|v| **v).count() as f64;
    let runs = 1.0 + values.windows(2).filter(|pair| pair[0] != pair[1]).count() as f64;
    let mean = 1.0 + 2.0 * large * (n - large) / n;
    let variance = (mean - 1.0) * (mean - 2.0) / (n - 1.0);
    if variance < LEAST_NORMAL { 0.0 } else { bounds::normal(runs - mean, variance.sqrt()) }
}
