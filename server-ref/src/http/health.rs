//! Handlers for load balancers, supervisors and monitoring, and the interface's description.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::extract::{Operator, Read};
use super::openapi::openapi;
use crate::{Error, Service};

/// Media type of metrics.
pub(super) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database can be written.
pub(super) async fn ready(State(service): State<Service>) -> Result<&'static str, Error> {
    service.check_writable().await.map(|()| "ready\n")
}

/// `GET /metrics`
pub(super) async fn metrics(
    State(service): State<Service>,
    _: Operator<Read>,
) -> Result<impl IntoResponse, Error> {
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], service.metrics().await?))
}

/// `GET /v1/openapi.json`
pub(super) async fn description() -> Json<serde_json::Value> {
    Json(openapi())
}
