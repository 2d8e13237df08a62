//! What can end an experiment.

use std::path::PathBuf;

/// An error of the experiments.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Data, model or training.
    #[error(transparent)]
    Device(#[from] adafed::Error),
    /// The algorithm.
    #[error(transparent)]
    Algorithm(#[from] adafed::algorithm::Error),
    /// The budget.
    #[error(transparent)]
    Privacy(#[from] adafed::privacy::Error),
    /// The plan.
    #[error(transparent)]
    Wire(#[from] adafed::wire::Error),
    /// The partition.
    #[error(transparent)]
    Partition(#[from] adafed_examples::partition::Error),
    /// A result or a plan as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An experiment's description.
    #[error("{path}: {reason}")]
    Experiment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Standard output.
    #[error("cannot print: {0}")]
    Output(#[from] std::io::Error),
    /// Caller: something that is not there.
    #[error("there is no {what} {name:?}; there are: {known}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        known: String,
    },
    /// Caller: settings that contradict each other.
    #[error("{what}: {expected}")]
    Settings {
        /// The setting.
        what: &'static str,
        /// What it must be.
        expected: String,
    },
    /// An error of one run among many.
    #[error("{what}: {source}")]
    Run {
        /// The run.
        what: String,
        /// What ended it.
        source: Box<Self>,
    },
    /// Bug: a plot could not be drawn.
    #[error("a plot could not be drawn: {reason}")]
    Plot {
        /// What the library said.
        reason: String,
    },
}

impl From<adafed::data::Error> for Error {
    fn from(error: adafed::data::Error) -> Self {
        Self::Device(error.into())
    }
}

impl From<adafed::nn::Error> for Error {
    fn from(error: adafed::nn::Error) -> Self {
        Self::Device(error.into())
    }
}

impl Error {
    /// Whether a data set is not on this machine.
    pub(crate) fn is_missing_data(&self) -> bool {
        match self {
            Self::Run { source, .. } => source.is_missing_data(),
            Self::Device(adafed::Error::Data(error)) => {
                matches!(error, adafed::data::Error::Missing { .. })
            }
            _ => false,
        }
    }

    /// Says in which run it came up.
    pub(crate) fn during(self, what: String) -> Self {
        Self::Run { what, source: Box::new(self) }
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
