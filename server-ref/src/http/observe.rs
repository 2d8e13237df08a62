//! What surrounds every request: its name, its span, its counts, and what an answer to
//! somebody unknown says about how to be known.

use std::time::Instant;

use adafed_wire::{DEVICE_HEADER, DeviceId};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, info_span};

use super::front::Peer;
use crate::Service;

/// Header with a request's name, given by a proxy or made here.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken from a request.
const LONGEST_ID: usize = 64;
/// Route of a request for a path that there is not: paths of strangers do not become labels.
const NO_ROUTE: &str = "other";

const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"AdaFed\"");
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"AdaFed\", charset=\"UTF-8\"");

/// Runs a request in a span of its own, counts it and names it in the answer.
pub(super) async fn observe(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id = id(request.headers(), &service);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, route) = (known(request.method()), route.unwrap_or_else(|| NO_ROUTE.to_owned()));
    let span = span(&request, method, &route, &id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    span.record("status", status).record("duration_ms", took.as_millis() as u64);
    span.in_scope(|| debug!("answered"));
    service.front().metrics.answered(method, &route, status, took);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn span(request: &Request, method: &str, route: &str, id: &HeaderValue) -> Span {
    let id = id.to_str().unwrap_or_default();
    let span = info_span!(
        "request",
        id,
        method,
        route,
        device = Empty,
        status = Empty,
        duration_ms = Empty
    );
    let device = request.headers().get(DEVICE_HEADER).and_then(|v| v.to_str().ok());
    // Only a well-formed name: a header is a stranger's text.
    if let Some(device) = device.and_then(|d| d.parse::<DeviceId>().ok()) {
        span.record("device", tracing::field::display(device));
    }
    span
}

/// The name in the request, if it is short and plain; else a random one.
fn id(headers: &HeaderMap, service: &Service) -> HeaderValue {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    let given = headers.get(REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(plain)
    });
    let made = || HeaderValue::try_from(service.new_request_id());
    given.cloned().or_else(|| made().ok()).unwrap_or(HeaderValue::from_static("none"))
}

/// A method's name; those that are none of HTTP's own do not become labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// Counts the requests of those who are unknown, by address: without credentials, or with
/// some that are refused. Whoever shows good ones is not held up by a neighbour.
pub(super) async fn limit_strangers(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let Some(Peer(address)) = request.extensions().get::<Peer>().copied() else {
        return next.run(request).await;
    };
    let enrols = request.method() == Method::POST && request.uri().path() == super::path::DEVICES;
    let headers = request.headers();
    let nameless = !headers.contains_key(AUTHORIZATION) && !headers.contains_key(DEVICE_HEADER);
    let count = || service.front().guard.address(address.ip());
    if (enrols || nameless)
        && let Err(refusal) = count()
    {
        return refusal.into_response();
    }
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED || enrols || nameless {
        return response;
    }
    count().map_or_else(IntoResponse::into_response, |()| response)
}

/// Says how to be known, to whoever is not: a browser asks its user for a password then.
pub(super) async fn challenge(request: Request, next: Next) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = if browser { BASIC } else { BEARER };
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
