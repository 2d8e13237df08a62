//! Memory of the server's processes over time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// One look: uploads done, and resident bytes of all processes.
type Sample = (u64, u64);

/// Resident memory in MB, summed over processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Before the first upload.
    pub before_mb: f64,
    /// When a tenth of the uploads were in.
    pub at_10_percent_mb: f64,
    /// When half of them were in.
    pub at_50_percent_mb: f64,
    /// When all of them were in.
    pub at_100_percent_mb: f64,
    /// The most that was ever seen of this round, its end included.
    pub peak_mb: f64,
}

/// Looks again and again until `over`.
pub(super) fn watch(processes: &[u32], done: &AtomicU64, over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    loop {
        samples.push((done.load(Ordering::Relaxed), resident(processes)));
        if over.load(Ordering::Relaxed) {
            return samples;
        }
        std::thread::sleep(EVERY);
    }
}

/// What the samples of a round of `uploads` say; `None` where memory cannot be seen.
pub(super) fn memory(samples: &[Sample], uploads: u64) -> Option<Memory> {
    let at = |percent: u64| {
        let reached = samples.iter().find(|(done, _)| *done * 100 >= uploads * percent);
        reached.or(samples.last()).map_or(0.0, |(_, bytes)| *bytes as f64 / 1e6)
    };
    let peak = samples.iter().map(|(_, bytes)| *bytes).max().filter(|bytes| *bytes > 0)?;
    Some(Memory {
        before_mb: at(0),
        at_10_percent_mb: at(10),
        at_50_percent_mb: at(50),
        at_100_percent_mb: at(100),
        peak_mb: peak as f64 / 1e6,
    })
}

fn resident(processes: &[u32]) -> u64 {
    let of = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    processes.iter().filter_map(of).sum::<u64>() * 1024
}
