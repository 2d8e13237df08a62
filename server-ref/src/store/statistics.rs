//! How transactions ended, by name: for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How an attempt at a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Done,
    /// It met another transaction and is run again.
    Conflict,
    Failed,
}

impl Outcome {
    /// Name, as metrics have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<BTreeMap<(&'static str, Outcome), u64>>);

impl Statistics {
    pub(super) fn count(&self, name: &'static str, outcome: Outcome) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((name, outcome)).or_default() += 1;
    }

    /// Every count so far.
    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, Outcome), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
