//! Audits: lower bounds on epsilon, from what a mechanism was seen to release.
//!
//! An accountant bounds epsilon from above by argument; an audit bounds it from below by
//! experiment. A lower bound above the claim refutes the claim, with the stated confidence;
//! one below it proves nothing.
//!
//! | audit | runs | assumes |
//! | --- | --- | --- |
//! | [`Distinguished::epsilon`] | many, with and without one example | nothing |
//! | [`AssumedGaussian::epsilon`] | the same | that the mechanism is a Gaussian one |
//! | [`OneRun::epsilon`] | one, many examples included by coins | nothing |

mod binomial;
mod distinguishing;
mod gaussian;
mod one_run;

pub use binomial::Proportion;
pub use distinguishing::{Distinguished, distinguish};
pub use gaussian::AssumedGaussian;
pub use one_run::OneRun;

use crate::Error;

/// How sure a bound must be: it is wrong with probability at most 1 less this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    /// Probability of a wrong bound, above 0.
    failure: f64,
}

impl Confidence {
    /// Checks and wraps a number strictly between 0 and 1, such as 0.999.
    ///
    /// # Errors
    /// [`Error::Parameter`] for any other number.
    pub fn new(confidence: f64) -> Result<Self, Error> {
        if confidence > 0.0 && confidence < 1.0 {
            return Ok(Self { failure: 1.0 - confidence });
        }
        let (name, expected) = ("confidence", "a number between 0 and 1, both excluded");
        Err(Error::Parameter { name, value: confidence, expected })
    }

    /// What each of `count` bounds needs so that all of them hold together (Bonferroni).
    #[must_use]
    pub fn of_each(self, count: usize) -> Self {
        Self { failure: self.failure / count.max(1) as f64 }
    }
}

/// Refuses what has no place in an order.
fn check_numbers(name: &'static str, values: &[f64]) -> Result<(), Error> {
    let expected = "a number, which may be infinite";
    match values.iter().find(|value| value.is_nan()) {
        Some(value) => Err(Error::Parameter { name, value: *value, expected }),
        None => Ok(()),
    }
}

/// Relative distance at which two numbers are as good as one.
const CLOSE: f64 = 1e-13;

/// Two close numbers in \[`low`, `high`\] of which only the second is `above`, for a property
/// that holds from some number on.
fn bisect(mut low: f64, mut high: f64, above: impl Fn(f64) -> bool) -> (f64, f64) {
    while high - low > CLOSE * high.abs() {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        *(if above(middle) { &mut high } else { &mut low }) = middle;
    }
    (low, high)
}

#[cfg(test)]
mod tests;
