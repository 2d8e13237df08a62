//! What can end a simulation.

/// An error of a simulated run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device, its data or its model.
    #[error(transparent)]
    Device(#[from] adafed::Error),
    /// The server.
    #[error(transparent)]
    Server(#[from] adafed_server::Error),
    /// The settings of the algorithm.
    #[error(transparent)]
    Algorithm(#[from] adafed::algorithm::Error),
    /// The privacy parameters.
    #[error(transparent)]
    Privacy(#[from] adafed::privacy::Error),
    /// The plan or its encoding.
    #[error(transparent)]
    Wire(#[from] adafed::wire::Error),
    /// The partition of the data.
    #[error(transparent)]
    Partition(#[from] crate::partition::Error),
    /// The report.
    #[error(transparent)]
    Report(#[from] crate::report::Error),
    /// A model specification that cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A file or folder for results that cannot be written; found before anything runs.
    #[error("cannot write to {path}: {source}; name a folder that exists and is writable")]
    Unwritable {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The operating system.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
    /// The server's account of a device is not that device's own.
    #[error(
        "device {device} counts epsilon {own}, the server {server}: the two accounts must agree"
    )]
    Ledger {
        /// The device.
        device: String,
        /// Epsilon by its own ledger.
        own: f64,
        /// Epsilon by the server.
        server: f64,
    },
}
