//! A listening server: a service, a socket and the tick.

mod connection;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info};

use crate::{Clock, Error, ServerConfig, Service, SystemClock, Tls};
use connection::{Patience, Serving};
use tls::Certificates;

/// Reads the files for HTTPS as a server would.
///
/// # Errors
/// [`Error::Tls`] names the file that cannot be used.
pub(crate) fn check_certificates(files: &Tls) -> Result<(), Error> {
    Certificates::load(files.clone()).map(drop)
}

/// A server that owns its socket and does not serve yet.
pub struct Server {
    service: Service,
    listener: TcpListener,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    tick: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the database and takes the address. Connections wait until
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// Those of [`Service::open`]; [`Error::Tls`] for certificates that cannot be used;
    /// [`Error::Listen`] for an address that is not free.
    pub async fn bind(config: ServerConfig) -> Result<Self, Error> {
        Self::bind_with_clock(config, Arc::new(SystemClock)).await
    }

    /// As [`bind`](Self::bind), under a clock of the caller's.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    pub async fn bind_with_clock(
        config: ServerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let certificates = config.tls.clone().map(Certificates::load).transpose()?;
        let service = Service::open_with_clock(&config, clock).await?;
        let unusable = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let certificates = certificates.map(Arc::new);
        Ok(Self { service, listener, address, certificates, tick: config.tick })
    }

    /// Address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Address with its scheme, as `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The service behind it, for tasks, tokens and reports in the same process.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// The HTTP interface, for in-process transports.
    pub fn router(&self) -> axum::Router {
        self.service.router()
    }

    /// Serves until `shutdown` completes, finishes open requests for a limited time and
    /// closes the database.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let url = self.url();
        let Self { service, listener, certificates, tick, .. } = self;
        // From here on the signal does not end the process.
        let hangup = Hangup::new();
        let ticks = keep_ticking(service.clone(), certificates.clone(), tick, hangup);
        let ticking = tokio::spawn(ticks);
        info!(url, "serving");
        let router = service.router();
        let serving = Serving { router, certificates, patience: Patience::default() };
        connection::serve(listener, serving, shutdown).await;
        ticking.abort();
        info!("closing");
        service.close().await
    }
}

async fn keep_ticking(
    service: Service,
    certificates: Option<Arc<Certificates>>,
    every: Duration,
    mut hangup: Hangup,
) {
    // Certificates were read a moment ago; deadlines may have passed while nobody served.
    tick(&service, None).await;
    let mut interval = tokio::time::interval_at(Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => tick(&service, certificates.as_deref()).await,
            () = hangup.heard() => certificates.iter().for_each(|c| c.reload()),
        }
    }
}

async fn tick(service: &Service, certificates: Option<&Certificates>) {
    if let Err(e) = service.tick().await {
        error!(code = e.code(), "tick failed: {e}");
    }
    service.front().guard.prune();
    certificates.into_iter().for_each(Certificates::refresh);
}

/// The signal by which supervisors ask for files to be read again, where there is one.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { signal: signal(SignalKind::hangup()).ok() }
    }

    #[cfg(unix)]
    async fn heard(&mut self) {
        match &mut self.signal {
            Some(signal) => signal.recv().await.unwrap_or(()),
            None => std::future::pending().await,
        }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn heard(&mut self) {
        std::future::pending().await
    }
}
