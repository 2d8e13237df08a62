//! Computing a report's figures again, and saying where they differ.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PrivacyReport, TaskReport};

/// Largest difference of two figures that counts as none, relative to the larger one.
/// The accountants are deterministic; what is left is the last digits of another
/// machine's elementary functions, some 1e-13.
pub const RELATIVE_TOLERANCE: f64 = 1e-9;

/// A field that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Path of the field, such as `tasks[0].spent.rdp`.
    pub field: String,
    /// What the report says.
    pub stated: String,
    /// What follows from the rest of it.
    pub recomputed: String,
}

impl Difference {
    /// A difference at a path.
    #[must_use]
    pub fn new(field: String, stated: impl ToString, recomputed: impl ToString) -> Self {
        Self { field, stated: stated.to_string(), recomputed: recomputed.to_string() }
    }
}

impl PrivacyReport {
    /// Computes every figure again from the events and plans of the report itself;
    /// returns what differs, nothing where the report is true.
    ///
    /// # Guarantee
    /// Where nothing differs, the events are those that the plans charge for the stated
    /// rounds; every epsilon is within [`RELATIVE_TOLERANCE`] of what both accountants of
    /// this build give for the events; adjacency and trust model are the plans' own.
    ///
    /// What follows from nothing in the report is believed: that no task is left out, and
    /// the hash of the ledger. A signature says whose word that is.
    #[must_use]
    pub fn check(&self) -> Vec<Difference> {
        let tasks = self.tasks.iter().map(TaskReport::recomputed).collect();
        let (policy, head) = (self.policy.clone(), self.ledger_head.clone());
        // A report of an older build is measured against the same figures.
        let recomputed = Self::from_parts(tasks, policy, head, self.software.clone(), None);
        let mut found = differences("", self, &recomputed);
        for (index, task) in self.tasks.iter().enumerate() {
            found.extend(task.contradictions(&format!("tasks[{index}]")));
        }
        found
    }
}

pub(super) fn digest_of(value: &impl Serialize) -> String {
    hex::encode(digest(&SHA256, value_of(value).to_string().as_bytes()))
}

fn value_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("parts of a report have no map whose keys are not text")
}

/// Where two documents differ, field by field, under the path `at` (empty at the root).
#[must_use]
pub fn differences<T: Serialize>(at: &str, stated: &T, recomputed: &T) -> Vec<Difference> {
    compare(at, &value_of(stated), &value_of(recomputed))
}

fn compare(at: &str, stated: &Value, recomputed: &Value) -> Vec<Difference> {
    match (stated, recomputed) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            let dot = if at.is_empty() { "" } else { "." };
            let null = Value::Null;
            let other = |key: &String| b.get(key).unwrap_or(&null);
            let field = |(key, value): (&String, &Value)| {
                compare(&format!("{at}{dot}{key}"), value, other(key))
            };
            a.iter().flat_map(field).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let entry = |(index, (a, b))| compare(&format!("{at}[{index}]"), a, b);
            a.iter().zip(b).enumerate().flat_map(entry).collect()
        }
        _ if agree(stated, recomputed) => Vec::new(),
        _ => vec![Difference::new(at.to_owned(), shown(stated), shown(recomputed))],
    }
}

fn agree(stated: &Value, recomputed: &Value) -> bool {
    if stated.is_f64() && recomputed.is_f64() {
        let (Some(a), Some(b)) = (stated.as_f64(), recomputed.as_f64()) else { return false };
        return (a - b).abs() <= RELATIVE_TOLERANCE * a.abs().max(b.abs());
    }
    stated == recomputed
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
