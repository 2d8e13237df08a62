//! The result of a run: what was reached, what it cost in privacy and in bytes.
//!
//! [`write()`] puts `report.json`, `report.html` and the plots as SVG files into a
//! directory, [`PrivacyReports`] what its devices signed; [`summary_table`] is the same in a terminal. The page needs no network
//! and no script, so it can be mailed and read anywhere.

mod files;
mod html;
mod plot;
mod privacy;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use privacy::PrivacyReports;
pub use text::summary_table;

/// What can go wrong while writing a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a figure that is NaN or infinite, which neither JSON nor a plot can show.
    #[error("{figure} is not a finite number, so it cannot be reported")]
    NotFinite {
        /// Name of the figure, with its round where it has one.
        figure: String,
    },
    /// Environment: the report could not be written.
    #[error("{} cannot be written ({source}); choose a directory that you may write to", .path.display())]
    Write {
        /// File or directory at fault.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bug: a plot could not be drawn or the report could not be serialised.
    #[error("{what} could not be produced: {reason}; this is a defect, please report it")]
    Render {
        /// What was produced.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// The figures of one run. Serialises to `report.json`; keys are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of AdaFed that made the report.
    pub version: String,
    /// Name of the task.
    pub task: String,
    /// What was trained on, in words, for instance `digits, dirichlet:0.5`.
    pub data: String,
    /// Seed of data, partition and sampling (never of the noise).
    pub seed: u64,
    /// Devices in the fleet.
    pub clients: usize,
    /// Committed rounds, both phases together.
    pub rounds: u64,
    /// Accuracy of the final model on the public test set, in percent.
    pub final_accuracy: f64,
    /// Epsilon of the device that spent most.
    pub epsilon_max: f64,
    /// Epsilon of the device in the middle.
    pub epsilon_median: f64,
    /// Delta that every epsilon here is stated at.
    pub delta: f64,
    /// Accountant that gave the epsilon, for instance `pld`.
    pub accountant: String,
    /// Standard deviation of the noise on a sum over the clipping norm.
    pub noise_multiplier: f64,
    /// Probability that a step samples a given example.
    pub sampling_rate: f64,
    /// Noisy local steps of the device that took most.
    pub steps: u64,
    /// Share of coordinates that the first mask keeps, 0 to 1.
    pub retention: f64,
    /// How importance was measured.
    pub importance: String,
    /// How gradients were scaled.
    pub scale: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Coordinates that the last round trained.
    pub active_coordinates: usize,
    /// Bytes from devices to the server.
    pub bytes_up: u64,
    /// What `bytes_up` had been, with every parameter sent as a dense 32-bit float.
    pub bytes_up_dense_f32: u64,
    /// Bytes from the server to devices.
    pub bytes_down: u64,
    /// Duration in seconds.
    pub wall_s: f64,
    /// How many devices spent how much epsilon, in ascending buckets.
    pub epsilon_histogram: Vec<EpsilonBucket>,
    /// The rounds in order.
    pub history: Vec<RoundRecord>,
}

/// Devices whose epsilon is above `from` and at most `to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpsilonBucket {
    /// Lower end, excluded (the first bucket includes it).
    pub from: f64,
    /// Upper end, included.
    pub to: f64,
    /// Devices in the bucket.
    pub clients: usize,
}

/// Part of the schedule that a round belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Every coordinate is trained and importance is measured.
    WarmUp,
    /// Only the coordinates of the mask are trained.
    Main,
}

/// One committed round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Number of the round, from 1.
    pub round: u64,
    /// Phase of the round.
    pub phase: Phase,
    /// Accuracy after the round in percent, where it was measured.
    pub accuracy: Option<f64>,
    /// Epsilon spent so far by the device that spent most.
    pub epsilon: f64,
    /// Coordinates that the round trained.
    pub active_coordinates: usize,
    /// Devices whose update was taken.
    pub participants: usize,
    /// Bytes from devices to the server in this round.
    pub bytes_up: u64,
    /// What `bytes_up` had been as dense 32-bit floats.
    pub bytes_up_dense_f32: u64,
    /// Bytes from the server to devices in this round.
    pub bytes_down: u64,
}

/// Sorts devices into `buckets` equal buckets from 0 to the largest epsilon.
///
/// # Edge cases
/// | case | result |
/// | --- | --- |
/// | no device, or no bucket | no bucket |
/// | nothing spent by anyone | one bucket `0..0` with every device |
#[must_use]
pub fn epsilon_histogram(epsilons: &[f64], buckets: usize) -> Vec<EpsilonBucket> {
    let top = epsilons.iter().copied().fold(0.0, f64::max);
    if epsilons.is_empty() || buckets == 0 {
        return Vec::new();
    }
    if top == 0.0 {
        return vec![EpsilonBucket { from: 0.0, to: 0.0, clients: epsilons.len() }];
    }
    let edge = |bucket: usize| top * bucket as f64 / buckets as f64;
    let mut counts = vec![0; buckets];
    for epsilon in epsilons {
        let bucket = (epsilon / top * buckets as f64).ceil() as usize;
        counts[bucket.saturating_sub(1).min(buckets - 1)] += 1;
    }
    let with_edges =
        |(bucket, clients)| EpsilonBucket { from: edge(bucket), to: edge(bucket + 1), clients };
    counts.into_iter().enumerate().map(with_edges).collect()
}

/// Writes `report.json`, `report.html` and the plots (`accuracy.svg`,
/// `coordinates.svg`, `bytes.svg`, `epsilon.svg`) into `directory`, which is made if it
/// is not there. Each file appears whole or not at all; the page appears last.
///
/// # Errors
/// [`Error::NotFinite`] before anything is written, [`Error::Write`] naming the file or
/// directory, [`Error::Render`] when a plot cannot be drawn.
pub fn write(report: &Report, directory: &Path) -> Result<(), Error> {
    check_finite(report)?;
    let json = serde_json::to_string_pretty(report)
        .map_err(|error| Error::Render { what: "report.json", reason: error.to_string() })?;
    let plots = plot::all(report)?;
    let page = html::page(report, &plots);
    files::make_directory(directory)?;
    files::write_whole(directory, "report.json", &json)?;
    for plot in &plots {
        files::write_whole(directory, plot.file, &plot.svg)?;
    }
    files::write_whole(directory, "report.html", &page)
}

fn check_finite(report: &Report) -> Result<(), Error> {
    let figures = [
        ("final_accuracy", report.final_accuracy),
        ("epsilon_max", report.epsilon_max),
        ("epsilon_median", report.epsilon_median),
        ("delta", report.delta),
        ("noise_multiplier", report.noise_multiplier),
        ("sampling_rate", report.sampling_rate),
        ("retention", report.retention),
        ("wall_s", report.wall_s),
    ];
    let buckets = report.epsilon_histogram.iter().flat_map(|bucket| [bucket.from, bucket.to]);
    let rounds = report.history.iter().flat_map(|record| {
        let round = record.round;
        [
            (format!("accuracy of round {round}"), record.accuracy.unwrap_or(0.0)),
            (format!("epsilon of round {round}"), record.epsilon),
        ]
    });
    let named = figures.into_iter().map(|(name, value)| (name.to_owned(), value));
    let buckets = buckets.map(|value| ("epsilon_histogram".to_owned(), value));
    match named.chain(buckets).chain(rounds).find(|(_, value)| !value.is_finite()) {
        Some((figure, _)) => Err(Error::NotFinite { figure }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
