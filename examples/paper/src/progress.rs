//! Progress over runs: a bar with the time left on a terminal, a line a run elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::train::Step;

/// Parts of one run on the bar.
const PARTS: u64 = 1000;

/// Progress over a number of runs, on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    runs: u64,
    done: u64,
    what: String,
}

impl Progress {
    pub(crate) fn new(runs: u64) -> Self {
        let bar = (std::io::stderr().is_terminal() && runs > 0).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent} %, {eta} left  {msg}");
            ProgressBar::new(runs * PARTS)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, started: Instant::now(), runs, done: 0, what: String::new() }
    }

    /// A run begins.
    pub(crate) fn start(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}/{} {what}", self.done + 1, self.runs));
        }
    }

    /// A round of it has ended.
    pub(crate) fn step(&self, step: &Step) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done * PARTS + PARTS * step.round / step.rounds);
        }
    }

    /// The run has ended with this accuracy.
    pub(crate) fn done(&mut self, accuracy: f64) {
        self.done += 1;
        let line = format!("{}/{} {}: {accuracy:.2} %", self.done, self.runs, self.what);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done * PARTS);
                bar.suspend(|| eprintln!("{line}"));
            }
            None => eprintln!("{line}, {} left", self.left()),
        }
    }

    fn left(&self) -> HumanDuration {
        let each = self.started.elapsed().as_secs_f64() / self.done.max(1) as f64;
        HumanDuration(Duration::from_secs_f64(each * self.runs.saturating_sub(self.done) as f64))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
