//! The audit of one run: many canaries, each in or out by a fair coin, and guesses at the
//! coins (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).

use super::binomial::{at_least, exactly};
use super::{Confidence, bisect, check_numbers};
use crate::{Delta, Epsilon, Error};

/// Largest epsilon that is looked for: more than 2^32 guesses can show.
const MOST_EPSILON: f64 = 64.0;

/// More than the relative error of a p-value as it is computed here.
const ERROR: f64 = 1e-9;

/// Outcome of one run: how many of the guesses at the coins were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneRun {
    canaries: u64,
    guesses: u64,
    correct: u64,
}

impl OneRun {
    /// Checks and wraps the counts: of canaries, whose coins are fair and independent; of
    /// guesses, a number fixed beforehand; of those that are right.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless correct <= guesses <= canaries <= 2^32.
    pub fn new(canaries: u64, guesses: u64, correct: u64) -> Result<Self, Error> {
        let counts = [
            ("canaries", canaries, 1 << 32, "at most 2^32"),
            ("guesses", guesses, canaries, "at most one a canary"),
            ("correct guesses", correct, guesses, "at most as many as guesses"),
        ];
        match counts.into_iter().find(|(_, value, most, _)| value > most) {
            Some((name, value, _, expected)) => {
                Err(Error::Parameter { name, value: value as f64, expected })
            }
            None => Ok(Self { canaries, guesses, correct }),
        }
    }

    /// Guesses by scores (algorithm 1): "in" for the `positive` canaries of the highest score,
    /// "out" for the `negative` ones of the lowest, no guess for the others. Equal scores are
    /// guessed in the order of their numbers.
    ///
    /// `positive` and `negative` must be fixed before the run.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is one coin a score and at most one guess a canary;
    /// [`Error::Parameter`] for a score that is not a number.
    pub fn of_scores(
        scores: &[f64],
        included: &[bool],
        positive: usize,
        negative: usize,
    ) -> Result<Self, Error> {
        check_numbers("scores", scores)?;
        let (expected, guesses) = (scores.len(), positive.saturating_add(negative));
        for (what, found, fits) in [
            ("coins", included.len(), included.len() == expected),
            ("guesses", guesses, guesses <= expected),
        ] {
            if !fits {
                return Err(Error::Length { what, found, expected });
            }
        }
        let mut order: Vec<usize> = (0..expected).collect();
        order.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]));
        let (high, low) = (&order[..positive], &order[expected - negative..]);
        let right = high.iter().filter(|i| included[**i]).count()
            + low.iter().filter(|i| !included[**i]).count();
        Self::new(expected as u64, guesses as u64, right as u64)
    }

    /// Guesses that were right.
    #[must_use]
    pub const fn correct(&self) -> u64 {
        self.correct
    }

    /// Probability of so many correct guesses or more, at most, under a mechanism that is
    /// (epsilon, delta)-DP when one canary is added or removed; rounded up.
    ///
    /// With f(v) = P\[Binomial(r, e^epsilon/(1 + e^epsilon)) >= v\] for r guesses, v of them
    /// correct, and m canaries it is f(v) + 2 m delta max_i (f(v - i) - f(v)) / i over i in
    /// 1..=m (theorem 5.2 there).
    ///
    /// # Edge cases
    /// | input | answer |
    /// | --- | --- |
    /// | no guess, or none correct | 1 |
    /// | more than 1 by the formula | 1 |
    /// | an epsilon above 709, at which guesses may always be right | 1 |
    #[must_use]
    pub fn p_value(&self, epsilon: Epsilon, delta: Delta) -> f64 {
        let (r, v) = (self.guesses, self.correct);
        let (p, rest) = (logistic(epsilon.value()), logistic(-epsilon.value()));
        if rest == 0.0 {
            return 1.0;
        }
        let (mut below, mut steepest) = (0.0, 0.0_f64);
        // From i = v on f(v - i) is 1, and larger i only divide by more.
        for i in 1..=v.min(self.canaries) {
            below += exactly(v - i, r, p, rest);
            steepest = steepest.max(below / i as f64);
        }
        let bound = at_least(v, r, p, rest) + 2.0 * self.canaries as f64 * delta.value() * steepest;
        (bound * (1.0 + ERROR)).min(1.0)
    }

    /// Lower bound on epsilon at `delta`, rounded down; 0 where the guesses are no better than
    /// chance.
    ///
    /// # Guarantee
    /// A mechanism that is (epsilon, delta)-DP gives a larger bound with probability at most 1
    /// less the confidence. Whichever epsilon the bisection ends at, its p-value is below that
    /// probability; a mechanism of smaller epsilon is also one of this epsilon; and the
    /// numbers of correct guesses that refute it are those from some number on or fewer, so
    /// that choosing among epsilons costs nothing.
    #[must_use]
    pub fn epsilon(&self, delta: Delta, confidence: Confidence) -> f64 {
        let refuted = |epsilon: f64| {
            Epsilon::new(epsilon).is_ok_and(|e| self.p_value(e, delta) < confidence.failure)
        };
        if !refuted(0.0) {
            return 0.0;
        }
        bisect(0.0, MOST_EPSILON, |epsilon| !refuted(epsilon)).0
    }
}

/// e^x / (1 + e^x).
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
