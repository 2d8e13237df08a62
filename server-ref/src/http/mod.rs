//! The HTTP interface. A handler takes typed extractors, makes one call and encodes.
//!
//! Devices speak encoded messages, people JSON; every error is a problem document of
//! the one table in `problem`.

mod dashboard;
mod devices;
mod extract;
mod fleet;
mod front;
mod health;
mod limits;
mod observe;
mod openapi;
mod operators;
mod problem;
pub(crate) mod range;
mod respond;
mod routes;
mod tasks;
#[cfg(test)]
mod tests;

use std::any::Any;

use adafed_wire::path;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

pub(crate) use front::{Front, Peer};
pub use openapi::openapi;
#[cfg(test)]
pub(crate) use problem::Problem;

use crate::{Error, Service};

/// Answers below this size are not worth compressing, in bytes.
const LEAST_COMPRESSED: u16 = 1024;

/// Every route, and what surrounds them all: the last layer is the outermost.
pub(crate) fn router(service: Service) -> Router {
    routes::router(service.front())
        .fallback(async || Error::UnknownPath)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(from_fn(dashboard::readable))
        .layer(from_fn(observe::challenge))
        .layer(from_fn_with_state(service.clone(), observe::limit_strangers))
        .layer(from_fn_with_state(service.clone(), observe::observe))
        .layer(compression())
        .with_state(service)
}

fn compression() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(SizeAbove::new(LEAST_COMPRESSED).and(is_text))
}

/// What people read. Encoded messages are noise, packed already, and named by a strong tag.
fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    const TEXTS: [&str; 4] = [
        "application/json",
        "application/problem+json",
        "text/html",
        "application/openmetrics-text",
    ];
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    TEXTS.iter().any(|text| content_type.starts_with(text))
}

/// The panic itself has been reported by its hook.
fn after_panic(_: Box<dyn Any + Send>) -> Response {
    Error::Stopped.into_response()
}

/// Largest body of the route, in bytes: what an error message says.
#[derive(Clone, Copy)]
struct BodyLimit(usize);
