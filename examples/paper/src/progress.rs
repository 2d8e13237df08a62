//! Progress over runs: a bar with the time left on a terminal; elsewhere a line a run, and a line a
//! minute within a long one.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::train::Step;

/// Between two lines within a run.
const PAUSE: Duration = Duration::from_secs(60);

/// Parts of one run on the bar.
const PARTS: u64 = 1000;

/// Progress over a number of runs, on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// Time of the runs that are done. Data and features do not count: runs share them.
    spent: Duration,
    /// When the run at hand began.
    started: Instant,
    /// When the last line was written.
    last_line: Cell<Instant>,
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
        let now = Instant::now();
        let (spent, last_line, what) = (Duration::ZERO, Cell::new(now), String::new());
        Self { bar, spent, started: now, last_line, runs, done: 0, what }
    }

    /// Something is made that runs share, which can take minutes.
    pub(crate) fn preparing(&self, what: &'static str) {
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => eprintln!("{what}"),
        }
    }

    /// A run begins.
    pub(crate) fn start(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        self.started = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}/{} {what}", self.done + 1, self.runs));
        }
    }

    /// A round of it has ended.
    pub(crate) fn step(&self, step: &Step) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done * PARTS + PARTS * step.round / step.rounds);
        } else if self.last_line.get().elapsed() >= PAUSE {
            self.last_line.set(Instant::now());
            let (Step { round, rounds }, left) = (step, self.left(step.share()));
            let run = self.done + 1;
            eprintln!("{run}/{} {}: round {round} of {rounds}, {left} left", self.runs, self.what);
        }
    }

    /// The run has ended with this accuracy.
    pub(crate) fn done(&mut self, accuracy: f64) {
        self.done += 1;
        self.spent += self.started.elapsed();
        self.started = Instant::now();
        let line = format!("{}/{} {}: {accuracy:.2} %", self.done, self.runs, self.what);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done * PARTS);
                bar.suspend(|| eprintln!("{line}"));
            }
            None => {
                self.last_line.set(Instant::now());
                eprintln!("{line}, {} left", self.left(0.0));
            }
        }
    }

    /// The time left, after `share` of the run at hand.
    fn left(&self, share: f64) -> HumanDuration {
        let done = self.done as f64 + share;
        let left = (self.runs as f64 - done).max(0.0) / done;
        HumanDuration((self.spent + self.started.elapsed()).mul_f64(left))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
