//! Every answer of the interface, through the router, one file a topic.

mod credentials;
mod dashboard;
mod devices;
mod limits;
mod openapi;
mod operators;
mod people;
mod ranges;

use axum::body::Body;
use axum::http::Request;

use crate::testing::ADMIN;

/// Any request of an administrator, with JSON or nothing.
fn ask(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    asked_with(ADMIN, method, path, body)
}

/// Any request of a token's holder.
fn asked_with(token: &str, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.header("authorization", format!("Bearer {token}")).body(body.into()).unwrap()
}

fn read(path: &str) -> Request<Body> {
    ask("GET", path, Body::empty())
}
