//! What a cell of an experiment came to: one JSON file, written after every seed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use adafed_examples::files;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::settings::Settings;

/// The figures of one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellResult {
    /// Experiment.
    pub(crate) experiment: String,
    /// Arm.
    pub(crate) arm: String,
    /// Position in the grid.
    pub(crate) at: BTreeMap<String, toml::Value>,
    /// What was run, whole.
    pub(crate) settings: Settings,
    /// Whether a release of it would be private: false for the oracle.
    pub(crate) private: bool,
    /// Noise multiplier of every step.
    pub(crate) noise_multiplier: f64,
    /// Sampling rate of every step.
    pub(crate) rate: f64,
    /// Steps of a device.
    pub(crate) steps: u64,
    /// Trained parameters.
    pub(crate) parameters: usize,
    /// What is released beside the gradients, from the same budget.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) beside: Vec<Beside>,
    /// Epsilon of all releases by privacy loss distributions; none where it is not private.
    pub(crate) epsilon_pld: Option<f64>,
    /// The same by Renyi divergences.
    pub(crate) epsilon_rdp: Option<f64>,
    /// Expected upload of one device over the run, of all that it releases, in bytes.
    pub(crate) bytes_up: u64,
    /// One entry a seed, ascending.
    pub(crate) seeds: Vec<SeedResult>,
}

/// A release beside the gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// What is released.
    pub(crate) what: String,
    /// Noise multiplier of each release.
    pub(crate) noise_multiplier: f64,
    /// Sampling rate of each release.
    pub(crate) rate: f64,
    /// How often it is released.
    pub(crate) releases: u64,
}

/// The figures of one seed; accuracies in percent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SeedResult {
    pub(crate) seed: u64,
    /// Accuracy of the last iterate.
    pub(crate) last: f64,
    /// Accuracy of the moving average of iterates, where one is kept.
    pub(crate) average: Option<f64>,
    /// The clip norm at the end, where it follows the norms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clip: Option<f64>,
    /// Noise energy of a round as a share of what DP-SGD has on all coordinates, in the mean.
    #[serde(default)]
    pub(crate) noise_energy: Option<f64>,
    /// Seconds of training, and of evaluation and what comes before.
    pub(crate) train_s: f64,
    pub(crate) wall_s: f64,
    /// Peak resident memory of the process, in MB of 10^6 bytes.
    pub(crate) peak_rss_mb: f64,
}

impl SeedResult {
    /// The accuracy that is reported: of the average where one is kept, else of the last
    /// iterate. Which one it is was settled before the test set was looked at.
    pub(crate) fn reported(&self) -> f64 {
        self.average.unwrap_or(self.last)
    }
}

/// Mean, and standard deviation over seeds; none for a single one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) mean: f64,
    pub(crate) deviation: Option<f64>,
    pub(crate) count: usize,
}

impl Summary {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { mean, deviation, count })
    }

    /// Half the width of the 95 % confidence interval of the mean (Student's t).
    pub(crate) fn half_width(self) -> Option<f64> {
        /// 97.5 % quantiles of Student's t for 1, 2, .. degrees of freedom; the last one is too
        /// wide for more.
        const T: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
        let t = T[self.count.checked_sub(2)?.min(T.len() - 1)];
        Some(t * self.deviation? / (self.count as f64).sqrt())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, deviation, count } = self;
        match deviation {
            Some(deviation) => write!(f, "{mean:.2} ± {deviation:.2} ({count})"),
            None => write!(f, "{mean:.2} ({count})"),
        }
    }
}

/// Those of `seeds` that a result, where there is one, has no figures of.
pub(crate) fn missing(known: Option<&CellResult>, seeds: &[u64]) -> Vec<u64> {
    let done = |seed: &u64| known.is_some_and(|k| k.seeds.iter().any(|s| s.seed == *seed));
    seeds.iter().filter(|seed| !done(seed)).copied().collect()
}

impl CellResult {
    /// Adds the figures of seeds that it has none of.
    pub(crate) fn add(&mut self, seeds: Vec<SeedResult>) {
        for seed in seeds {
            if self.seeds.iter().all(|known| known.seed != seed.seed) {
                self.seeds.push(seed);
            }
        }
        self.seeds.sort_by_key(|seed| seed.seed);
    }

    /// Whether what is said of all seeds is the same, as far as processors compute alike.
    pub(crate) fn is_of_the_plan_of(&self, other: &Self) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
        let beside = |a: &Beside, b: &Beside| {
            a.what == b.what
                && a.releases == b.releases
                && close(a.rate, b.rate)
                && close(a.noise_multiplier, b.noise_multiplier)
        };
        let whole =
            |result: &Self| (result.steps, result.parameters, result.bytes_up, result.beside.len());
        whole(self) == whole(other)
            && close(self.rate, other.rate)
            && close(self.noise_multiplier, other.noise_multiplier)
            && self.beside.iter().zip(&other.beside).all(|(a, b)| beside(a, b))
    }

    /// Summary of the reported accuracies.
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.seeds.iter().map(SeedResult::reported).collect::<Vec<_>>())
    }

    /// Reads a file; none where there is none.
    ///
    /// # Errors
    /// A file that is no result, by name.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let described = |error: serde_json::Error| Error::Experiment {
            path: path.to_owned(),
            reason: format!("{error}; remove it to run the cell again"),
        };
        serde_json::from_str(&text).map(Some).map_err(described)
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        write_whole(folder, &name, &(serde_json::to_string_pretty(self)? + "\n"))
    }
}

/// Writes a file whole or not at all, and makes its folder.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn write_whole(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let path = folder.join(name);
    files::write_whole(folder, name, text).map_err(Error::file("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_that_of_a_sample() {
        let summary = Summary::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { mean: 2.0, deviation: Some(1.0), count: 3 });
        // t(0.975, 2) / sqrt(3)
        assert!((summary.half_width().unwrap() - 2.4843).abs() < 1e-3);
        assert_eq!(Summary::of(&[4.0]).unwrap().half_width(), None);
        assert_eq!(Summary::of(&[]), None);
    }
}
