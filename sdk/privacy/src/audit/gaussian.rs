//! What an audit may conclude when it takes the mechanism to be a Gaussian one.

use std::f64::consts::SQRT_2;

use super::bisect;
use crate::Delta;

/// Beyond this many deviations the normal law is out of reach of f64.
const FAR: f64 = 38.0;

/// More than the error of a normal probability as it is computed here, relative, and of the
/// difference of two of them.
const ERROR: f64 = 1e-12;

/// A lower bound on epsilon under an assumption that the audit does not check: the mechanism
/// is a Gaussian one, mu = sensitivity over standard deviation (mu-GDP).
///
/// Under it a trade-off that is seen at one threshold says what it is at all of them, also at
/// deltas far below what could be counted (Nasr et al. 2023, arXiv 2302.07956, sections 4 and
/// 5). Where the assumption is wrong the bound means nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AssumedGaussian {
    pub(super) mu: f64,
}

impl AssumedGaussian {
    /// Lower bound on mu, rounded down; 0 where nothing was distinguished.
    #[must_use]
    pub const fn mu(&self) -> f64 {
        self.mu
    }

    /// Lower bound on epsilon, rounded down.
    ///
    /// mu-GDP is the same as (epsilon, delta)-DP for all epsilon with
    /// delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)
    /// (Dong, Roth, Su, arXiv 1905.02383, corollary 2.13).
    ///
    /// # Edge cases
    /// | input | answer |
    /// | --- | --- |
    /// | mu 0, delta 1, or no epsilon above 0 needed | 0 |
    /// | delta 0 or too small for f64 | what the smallest delta that f64 can tell needs |
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> f64 {
        let mu = self.mu;
        let needs_more = |epsilon: f64| {
            let kept = normal(mu / 2.0 - epsilon / mu);
            let taken = epsilon.exp() * normal(-mu / 2.0 - epsilon / mu);
            kept * (1.0 - ERROR) - taken * (1.0 + ERROR) > delta.value()
        };
        if mu <= 0.0 || !needs_more(0.0) {
            return 0.0;
        }
        // Phi(-38) is 0 in f64 beyond this end.
        bisect(0.0, mu * (FAR + mu), |epsilon| !needs_more(epsilon)).0
    }
}

/// Phi(x).
fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Phi^-1(p), rounded up; infinite for 0 and 1.
pub(super) fn quantile(p: f64) -> f64 {
    let p = p * (1.0 + ERROR);
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    bisect(-FAR, FAR, |x| normal(x) >= p).1
}
