//! Plans that were read before: a plan never changes, so that its digest finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adafed_wire::{Digest, TaskPlan};

/// Plans kept; more than a server has tasks at a time.
const KEPT: usize = 64;

/// Decoded plans by digest.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<HashMap<Digest, Arc<TaskPlan>>>);

impl Plans {
    pub(super) fn find(&self, digest: Digest) -> Option<Arc<TaskPlan>> {
        self.lock().get(&digest).cloned()
    }

    pub(super) fn keep(&self, digest: Digest, plan: TaskPlan) -> Arc<TaskPlan> {
        let mut plans = self.lock();
        if plans.len() >= KEPT {
            plans.clear();
        }
        plans.entry(digest).or_insert_with(|| Arc::new(plan)).clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<TaskPlan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
