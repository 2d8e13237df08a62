//! What is turned away for being too much or too slow.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};

use super::read;
use crate::Clock;
use crate::http::Peer;
use crate::http::extract::BodyTime;
use crate::testing::{D, Fixture, get, update};

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: SocketAddr = format!("{address}:1").parse().unwrap();
    request.extensions_mut().insert(Peer(address));
    request
}

#[tokio::test]
async fn a_device_that_asks_too_often_is_told_when_to_come_back() {
    let f = Fixture::configured(|config| config.limits.device_requests_per_minute = 3).await;
    f.create_task("task").await;
    let (busy, calm) = (f.device().await, f.device().await);
    let now_ms = f.clock.now_ms();
    for _ in 0..3 {
        assert_eq!(f.send(busy.check_in("task", now_ms)).await.status, StatusCode::OK);
    }
    let refused = f.send(busy.check_in("task", now_ms)).await;
    assert_eq!(refused.headers["retry-after"], "20");
    assert_eq!(refused.json()["retry_after_ms"], 20_000);
    refused.problem(429, "server/too-many-requests");
    // Another's name in a header costs nobody anything.
    let mut forged = busy.check_in("task", now_ms);
    let name = calm.key.device().to_string();
    forged.headers_mut().insert("adafed-device", name.parse().unwrap());
    f.send(forged).await.problem(401, "wire/signature");
    for _ in 0..3 {
        assert_eq!(f.send(calm.check_in("task", now_ms)).await.status, StatusCode::OK);
    }
    f.clock.advance(20_000);
    assert_eq!(f.send(busy.check_in("task", f.clock.now_ms())).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_shows_no_credentials_has_a_share_of_its_own() {
    let f = Fixture::configured(|config| config.limits.address_requests_per_minute = 2).await;
    let guess = || {
        let request = Request::get("/v1/tasks").header("authorization", "Bearer guess");
        request.body(Body::empty()).unwrap()
    };
    f.send(from("10.0.0.1", get("/healthz"))).await;
    f.send(from("10.0.0.1", guess())).await.problem(401, "server/admin");
    f.send(from("10.0.0.1", guess())).await.problem(429, "server/too-many-requests");
    f.send(from("10.0.0.1", get("/healthz"))).await.problem(429, "server/too-many-requests");
    assert_eq!(f.send(from("10.0.0.2", get("/healthz"))).await.status, StatusCode::OK);
    for _ in 0..5 {
        assert_eq!(f.send(from("10.0.0.1", read("/v1/tasks"))).await.status, StatusCode::OK);
    }
}

/// A body that never ends, and has begun to be read once its sender is polled.
fn endless() -> Body {
    Body::new(Endless)
}

struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    let mut slow = device.check_in("task", f.clock.now_ms());
    *slow.body_mut() = endless();
    slow.extensions_mut().insert(BodyTime(Duration::from_millis(20)));
    f.send(slow).await.problem(408, "server/slow-body");
}

#[tokio::test]
async fn an_upload_that_finds_no_place_is_turned_away_before_its_body_is_read() {
    let f = Fixture::configured(|config| config.limits.concurrent_uploads = 1).await;
    f.create_task("task").await;
    let (one, assignment) = f.assigned("task").await;
    let (two, _) = f.assigned("task").await;
    let body = update(&assignment, D, 1);
    let place = f.service.front().guard.place().await.unwrap();
    let refused = f.upload(&one, body.clone(), 0).await;
    assert_eq!(refused.json()["retry_after_ms"], 10_000);
    refused.problem(503, "server/overloaded");
    drop(place);
    assert_eq!(f.upload(&two, body, 0).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_panic_is_a_problem_document() {
    let answer = super::super::after_panic(Box::new("lost"));
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}
