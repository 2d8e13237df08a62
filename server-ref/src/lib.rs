//! Reference aggregation server of AdaFed: rounds, exact aggregation, the global
//! privacy account, storage and HTTP.
//!
//! The way of an upload is the way through the modules: `http` (decode, verify) ->
//! [`Service`] (one transaction) -> `round` (may it be taken?) -> `store` -> `aggregate`
//! -> `adafed_algorithm`.
//!
//! ```no_run
//! # async fn example() -> Result<(), adafed_server::Error> {
//! use adafed_server::{Server, ServerConfig};
//!
//! let listen = ([127, 0, 0, 1], 0).into();
//! let config = ServerConfig::new(listen, "adafed.sqlite", "a long random token");
//! let server = Server::bind(config).await?;
//! let token = server.service().create_token(10).await?;
//! println!("{}, enrol with {token}", server.url());
//! server.run(std::future::pending()).await
//! # }
//! ```
#![forbid(unsafe_code)]

mod account;
mod aggregate;
pub mod cli;
mod clock;
mod config;
mod dashboard;
mod error;
mod http;
mod metrics;
mod report;
mod round;
mod secret;
mod server;
mod service;
mod store;
mod telemetry;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Database, LEAST_ADMIN_TOKEN, Limits, ServerConfig, Tls};
pub use error::Error;
pub use http::openapi;
pub use report::{
    DevicePrivacy, DeviceState, DeviceStatus, Evaluation, Forecast, HistogramBucket,
    OperatorStatus, PrivacyReport, PrivacyUnit, Quantile, RoundReport, Scope, TaskState,
    TaskStatus, TokenStatus,
};
pub use round::Phase;
pub use server::Server;
pub use service::{CreatedToken, NewEvaluation, NewOperator, NewToken, Service};

/// Runs a long computation where it does not hold up other requests.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)
}
