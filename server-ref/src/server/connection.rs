//! Connections: accepted, shaken hands with and served, each in a task of its own, so that
//! a slow client holds up nobody else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::tls::Certificates;
use crate::http::Peer;

/// Connections at once; others wait in the operating system's queue.
const MOST_CONNECTIONS: usize = 8192;
/// Pause after a failure to accept: too many open files do not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients are waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For a handshake.
    pub(super) handshake: Duration,
    /// For the headers of a request, on a kept connection too.
    pub(super) header: Duration,
    /// For requests that are open when the server is told to stop.
    pub(super) shutdown: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [handshake, header, shutdown] = [10, 30, 20].map(Duration::from_secs);
        Self { handshake, header, shutdown }
    }
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) patience: Patience,
}

/// Serves until `shutdown` completes, then finishes open requests for a limited time.
pub(super) async fn serve(
    listener: TcpListener,
    serving: Serving,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &serving, &graceful) => {}
        () = shutdown => {}
    }
    // Nobody new: the queue of the closed socket is refused by the operating system.
    drop(listener);
    if timeout(serving.patience.shutdown, graceful.shutdown()).await.is_err() {
        warn!("open requests are broken off");
    }
}

async fn accept(listener: &TcpListener, serving: &Serving, graceful: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                debug!("not accepted: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        tokio::spawn(async move {
            serving.connection(stream, address, watcher).await;
            drop(place);
        });
    }
}

impl Serving {
    async fn connection(self, stream: TcpStream, address: SocketAddr, watcher: Watcher) {
        // Answers are small; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(certificates) = &self.certificates else {
            return self.requests(stream, address, watcher).await;
        };
        let handshake = certificates.acceptor().accept(stream);
        match timeout(self.patience.handshake, handshake).await {
            Ok(Ok(stream)) => self.requests(stream, address, watcher).await,
            Ok(Err(e)) => debug!(%address, "no handshake: {e}"),
            Err(_) => debug!(%address, "no handshake in time"),
        }
    }

    async fn requests<S>(self, stream: S, address: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| answer(self.router.clone(), request, address));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.header)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(e) = watcher.watch(connection).await {
            debug!(%address, "connection ended: {e}");
        }
    }
}

async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
    address: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(Peer(address));
    router.oneshot(request).await
}
