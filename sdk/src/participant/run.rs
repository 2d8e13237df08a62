//! Ticks on the caller's thread until there is nothing more to do.

use std::time::Duration;

use super::{Activity, Next, Participant, Progress, Verdict};
use crate::Error;
use crate::store::Store;
use crate::transport::Transport;

/// Longest sleep between two looks at the host's conditions, in milliseconds.
const NAP_MS: u64 = 20;

impl<T: Transport, S: Store> Participant<T, S> {
    /// Ticks until the task has ended or the host's [`Conditions`](super::Conditions) say
    /// [`Verdict::Stop`], and shows every progress to `observe`. Between ticks it sleeps as
    /// long as they ask, and looks at the conditions meanwhile.
    ///
    /// # Errors
    /// As [`Participant::tick`]; calling again goes on.
    pub fn run(&mut self, mut observe: impl FnMut(&Progress)) -> Result<(), Error> {
        while self.conditions.verdict() != Verdict::Stop {
            let progress = self.tick()?;
            observe(&progress);
            match progress.next {
                Next::Now => {}
                Next::At(at_ms) => self.sleep_until(at_ms, progress.activity == Activity::Paused),
                Next::Never => return Ok(()),
            }
        }
        Ok(())
    }

    /// Returns earlier where the conditions end a pause or say that all is over.
    fn sleep_until(&self, at_ms: u64, paused: bool) {
        loop {
            let left_ms = at_ms.saturating_sub(self.clock.now_ms());
            let verdict = self.conditions.verdict();
            let lifted = paused && verdict == Verdict::Go;
            if left_ms == 0 || lifted || verdict == Verdict::Stop {
                return;
            }
            std::thread::sleep(Duration::from_millis(left_ms.min(NAP_MS)));
        }
    }
}
