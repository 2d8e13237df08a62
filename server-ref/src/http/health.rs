//! Handlers for load balancers and supervisors.

use axum::extract::State;

use crate::{Error, Service};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database can be written.
pub(super) async fn ready(State(service): State<Service>) -> Result<&'static str, Error> {
    service.check_writable().await.map(|()| "ready\n")
}
