//! A listening server: a service, a socket and the tick.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use crate::{Clock, Error, ServerConfig, Service, SystemClock};

/// A server that owns its socket and does not serve yet.
#[derive(Debug)]
pub struct Server {
    service: Service,
    listener: TcpListener,
    address: SocketAddr,
    tick: Duration,
}

impl Server {
    /// Opens the database and takes the address. Connections wait until
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// Those of [`Service::open`]; [`Error::Listen`] for an address that is not free.
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
        let service = Service::open_with_clock(&config, clock).await?;
        let unusable = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        Ok(Self { service, listener, address, tick: config.tick })
    }

    /// Address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
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

    /// Serves until `shutdown` completes, finishes open requests and closes the database.
    ///
    /// # Errors
    /// [`Error::Listen`] when the socket fails; those of the database.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let Self { service, listener, address, tick } = self;
        let ticking = tokio::spawn(keep_ticking(service.clone(), tick));
        info!(%address, "serving");
        let serving = axum::serve(listener, service.router()).with_graceful_shutdown(shutdown);
        let served = serving.await.map_err(|source| Error::Listen { address, source });
        ticking.abort();
        info!("closing");
        service.close().await?;
        served
    }
}

async fn keep_ticking(service: Service, every: Duration) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(e) = service.tick().await {
            error!(code = e.code(), "tick failed: {e}");
        }
    }
}
