//! A transport that hands requests to the server's router, without a socket.

use adafed::transport::{Error, Request, Response, Transport};
use axum::Router;
use axum::body::{Body, to_bytes};
use tokio::runtime::Handle;
use tower::ServiceExt;

/// Calls a router on a runtime that runs elsewhere.
#[derive(Clone, Debug)]
pub struct InProcess {
    router: Router,
    runtime: Handle,
}

impl InProcess {
    /// A transport to `router`.
    #[must_use]
    pub const fn new(router: Router, runtime: Handle) -> Self {
        Self { router, runtime }
    }
}

impl Transport for InProcess {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let failed = |reason: String| Error { reason };
        let mut builder = axum::http::Request::builder().method(request.method).uri(&request.path);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let http =
            builder.body(Body::from(request.body.clone())).map_err(|e| failed(e.to_string()))?;
        let router = self.router.clone();
        let exchange = async move {
            let answer = router.oneshot(http).await.map_err(|e| failed(e.to_string()))?;
            let status = answer.status().as_u16();
            let body = to_bytes(answer.into_body(), adafed::wire::LARGEST).await;
            let body = body.map_err(|e| failed(e.to_string()))?.to_vec();
            Ok(Response { status, body })
        };
        self.runtime.block_on(exchange)
    }
}
