//! The audit of many runs: how well does a score tell runs with an example from runs
//! without it?

use super::gaussian::quantile;
use super::{AssumedGaussian, Confidence, Proportion, check_numbers};
use crate::{Delta, Error};

/// More than difference, quotient and logarithm of probabilities above 1e-20 err by.
const ERROR: f64 = 1e-13;

/// What scores of runs with and without one example tell about epsilon.
///
/// Holds simultaneous bounds on P\[score >= t\] for each threshold t, under both data sets;
/// so every conclusion from it has the confidence that [`distinguish`] was given, and so have
/// all of them together.
#[derive(Clone, Debug, PartialEq)]
pub struct Distinguished {
    reached: Vec<[Bounds; 2]>,
}

/// Of a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    low: f64,
    high: f64,
}

impl Bounds {
    fn complement(self) -> Self {
        Self { low: 1.0 - self.high, high: 1.0 - self.low }
    }
}

/// Compares scores of independent runs, `with` one example and `without` it.
///
/// `thresholds`, and what the score is, must be fixed before the runs: thresholds taken
/// from the same runs void the confidence. The four bounds at each of T thresholds share the
/// failure probability (Bonferroni, 4T parts).
///
/// # Errors
/// [`Error::Parameter`] for a score or threshold that is not a number, [`Error::Length`] for
/// no score or no threshold.
pub fn distinguish(
    with: &[f64],
    without: &[f64],
    thresholds: &[f64],
    confidence: Confidence,
) -> Result<Distinguished, Error> {
    for (what, values) in [("scores", with), ("scores", without), ("thresholds", thresholds)] {
        check_numbers(what, values)?;
        if values.is_empty() {
            return Err(Error::Length { what, found: 0, expected: 1 });
        }
    }
    let each = confidence.of_each(4 * thresholds.len());
    let (with, without) = (sorted(with), sorted(without));
    let at = |t: &f64| Ok([reached(&with, *t, each)?, reached(&without, *t, each)?]);
    Ok(Distinguished { reached: thresholds.iter().map(at).collect::<Result<_, Error>>()? })
}

fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut scores = scores.to_vec();
    scores.sort_unstable_by(f64::total_cmp);
    scores
}

/// Bounds on P\[score >= threshold\].
fn reached(sorted: &[f64], threshold: f64, confidence: Confidence) -> Result<Bounds, Error> {
    let below = sorted.partition_point(|score| *score < threshold);
    let share = Proportion::new((sorted.len() - below) as u64, sorted.len() as u64)?;
    Ok(Bounds { low: share.lower(confidence), high: share.upper(confidence) })
}

impl Distinguished {
    /// Every pair of probabilities of one event, in both directions: above and below each
    /// threshold, example in and out.
    fn events(&self) -> impl Iterator<Item = (Bounds, Bounds)> + '_ {
        self.reached.iter().flat_map(|[with, without]| {
            let below = (with.complement(), without.complement());
            [(*with, *without), (*without, *with), below, (below.1, below.0)]
        })
    }

    /// Lower bound on epsilon at `delta`, rounded down; 0 where nothing was distinguished.
    ///
    /// # Guarantee
    /// A mechanism that is (epsilon, delta)-DP for these two data sets gives a larger bound
    /// with probability at most 1 less the confidence, whatever its law: for every event,
    /// P <= e^epsilon Q + delta, hence epsilon >= ln((P_low - delta) / Q_high).
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> f64 {
        let bound = |(p, q): (Bounds, Bounds)| ((p.low - delta.value()) / q.high).ln() - ERROR;
        self.events().map(bound).fold(0.0, f64::max)
    }

    /// What follows if the mechanism is a Gaussian one, which is not checked here.
    ///
    /// mu >= Phi^-1(1 - alpha) - Phi^-1(beta), alpha and beta upper bounds on the false
    /// positive and false negative rate of a threshold.
    #[must_use]
    pub fn assuming_gaussian(&self) -> AssumedGaussian {
        // P is seen where the score says so: beta = 1 - P, alpha = Q.
        let bound = |(p, q): (Bounds, Bounds)| -quantile(q.high) - quantile(p.complement().high);
        AssumedGaussian { mu: self.events().map(bound).fold(0.0, f64::max) }
    }
}
