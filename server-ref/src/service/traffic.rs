//! Bytes sent to devices, counted in memory and stored in passing: a download must not
//! cost a write to disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adafed_wire::TaskId;

use super::Service;
use crate::Error;
use crate::store::{rounds, tasks};

/// Bytes sent and not yet stored, by task.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Mutex<HashMap<TaskId, u64>>);

impl Traffic {
    pub(crate) fn count(&self, task: &TaskId, bytes: u64) {
        let mut pending = self.lock();
        match pending.get_mut(task) {
            Some(sum) => *sum += bytes,
            None => drop(pending.insert(task.clone(), bytes)),
        }
    }

    /// Bytes counted for a task.
    pub(crate) fn pending(&self, task: &TaskId) -> u64 {
        self.lock().get(task).copied().unwrap_or(0)
    }

    /// Takes what was counted for a task.
    pub(crate) fn take(&self, task: &TaskId) -> u64 {
        self.lock().remove(task).unwrap_or(0)
    }

    /// Takes what was counted, by name: two servers that store it meet in the same order.
    fn take_all(&self) -> Vec<(TaskId, u64)> {
        let mut counted: Vec<_> = self.lock().drain().collect();
        counted.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        counted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Stores what was counted, under each task's current round.
    pub(crate) async fn flush_traffic(&self) -> Result<(), Error> {
        let counted = self.0.traffic.take_all();
        if counted.is_empty() {
            return Ok(());
        }
        let stored = counted.clone();
        let flush = async move |tx: &mut _| {
            for (task, bytes) in &stored {
                let round = tasks::find(tx, task).await?.shown_round();
                rounds::add_bytes(tx, task, round, 0, *bytes).await?;
            }
            Ok(())
        };
        let flushed = self.0.store.run_tx("flush_traffic", flush).await;
        if flushed.is_err() {
            counted.iter().for_each(|(task, bytes)| self.0.traffic.count(task, *bytes));
        }
        flushed
    }
}
