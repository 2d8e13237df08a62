//! Golden vectors, run against the production code.

mod accounting;
mod adadpigu;
mod gradients;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

pub use accounting::accounting;
pub use adadpigu::adadpigu;
pub use gradients::gradients;

/// Why vectors could not be run at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Environment: the file cannot be read.
    #[error("cannot read {path}: {source}; give the folder or file that holds the vectors")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Caller: the file is not a vector file of this kind.
    #[error("{path} is not a vector file of this kind: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
}

/// How one case came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// Every value within its tolerance.
    Passed,
    /// Some value was not.
    Failed {
        /// Which one, and by how much.
        reason: String,
    },
    /// The case needs something that does not exist yet.
    Unsupported {
        /// What.
        reason: String,
    },
}

/// One case: the worst error, as a multiple of the tolerance.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Name in the vector file.
    pub name: String,
    /// Values compared.
    pub values: usize,
    /// Worst error.
    pub worst: f64,
    /// Tolerance that it is held against.
    pub tolerance: f64,
    /// How it came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Case {
    /// An empty case: nothing compared yet.
    #[must_use]
    pub fn new(name: impl Into<String>, tolerance: f64) -> Self {
        Self { name: name.into(), values: 0, worst: 0.0, tolerance, outcome: Outcome::Passed }
    }

    /// A case that cannot run.
    #[must_use]
    pub fn unsupported(name: impl Into<String>, reason: impl Into<String>) -> Self {
        let outcome = Outcome::Unsupported { reason: reason.into() };
        Self { outcome, ..Self::new(name, 0.0) }
    }

    /// Takes in one error, in the unit of the tolerance. Not a number fails.
    pub fn error(&mut self, error: f64, what: impl FnOnce() -> String) {
        self.values += 1;
        let within = error <= self.tolerance;
        if error > self.worst || error.is_nan() {
            self.worst = error;
        }
        if !within && self.outcome == Outcome::Passed {
            let reason = format!("{}: error {error:.3e}", what());
            self.outcome = Outcome::Failed { reason };
        }
    }

    /// Compares vectors relative to the largest expected entry.
    pub fn vectors(&mut self, what: &str, found: &[f64], expected: &[f64]) {
        self.vectors_above(what, found, expected, 1e-300);
    }

    /// As [`Case::vectors`], relative to `least` where all expected entries are smaller.
    pub fn vectors_above(&mut self, what: &str, found: &[f64], expected: &[f64], least: f64) {
        let largest = expected.iter().fold(least, |m, x| m.max(x.abs()));
        if found.len() != expected.len() {
            let lengths = (found.len(), expected.len());
            return self.error(f64::INFINITY, || format!("{what}: lengths {lengths:?}"));
        }
        for (j, (f, e)) in found.iter().zip(expected).enumerate() {
            self.error((f - e).abs() / largest, || format!("{what}[{j}] is {f}, expected {e}"));
        }
    }
}

/// A JSON vector file, found at `path` itself or as `name` inside the folder `path`.
fn read_json(path: &Path, names: &[&str]) -> Result<(PathBuf, Value), Error> {
    let inside = names.iter().map(|n| path.join(n)).find(|p| p.is_file());
    let path = inside.unwrap_or_else(|| path.to_owned());
    let text = std::fs::read_to_string(&path)
        .map_err(|source| Error::Read { path: path.clone(), source })?;
    let value = serde_json::from_str(&text)
        .map_err(|e| Error::Malformed { path: path.clone(), reason: e.to_string() })?;
    Ok((path, value))
}

/// A number; the files write infinities and NaN as text.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(s) => s.parse().unwrap_or(f64::NAN),
        other => other.as_f64().unwrap_or(f64::NAN),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(number).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
