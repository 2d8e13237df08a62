//! The HTTP interface. A handler takes typed extractors, makes one call and encodes.
//!
//! Devices speak encoded messages, people JSON; every error is a problem document of
//! the one table in `problem`.

mod admin;
mod dashboard;
mod devices;
mod extract;
mod health;
mod people;
mod problem;
mod respond;
#[cfg(test)]
mod tests;

use adafed_wire::{CheckinRequest, EnrolRequest, Message, path};
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Router};

#[cfg(test)]
pub(crate) use problem::Problem;

use crate::{Error, Service};

/// Largest body of a route that takes small JSON, in bytes.
const SMALL_BODY: usize = 4 << 10;

/// Every route.
pub(crate) fn router(service: Service) -> Router {
    let large = service.max_body_bytes();
    Router::new()
        .route(path::DEVICES, limited(post(devices::enrol), EnrolRequest::LIMIT))
        .route(path::CHECKIN, limited(post(devices::check_in), CheckinRequest::LIMIT))
        .route("/v1/tasks/{task}/plan", get(devices::plan))
        .route("/v1/tasks/{task}/content/{digest}", get(devices::content))
        .route(
            "/v1/tasks/{task}/rounds/{round}/updates/{device}",
            limited(put(devices::upload), large),
        )
        .route("/v1/tasks", limited(get(people::tasks).post(admin::create_task), large))
        .route("/v1/tasks/{task}", get(people::task))
        .route("/v1/tasks/{task}/rounds", get(people::rounds))
        .route("/v1/tasks/{task}/privacy", get(people::privacy))
        .route("/v1/tokens", limited(post(admin::create_token), SMALL_BODY))
        .route("/", get(dashboard::overview))
        .route("/tasks/{task}", get(dashboard::task))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(async || Error::UnknownPath)
        .method_not_allowed_fallback(async || Error::Method)
        .with_state(service)
}

/// Bounds a route's body, and tells the extractors by how much.
fn limited(route: MethodRouter<Service>, limit: usize) -> MethodRouter<Service> {
    let route: MethodRouter<Service> = route.layer(DefaultBodyLimit::max(limit));
    route.layer(Extension(BodyLimit(limit)))
}

/// Largest body of the route, in bytes: what an error message says.
#[derive(Clone, Copy)]
struct BodyLimit(usize);
