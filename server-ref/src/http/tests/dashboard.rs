//! The dashboard's pages over HTTP; what stands on them is tested beside them.

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::read;
use crate::testing::{Answer, Fixture, get};

const ACCEPT: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

/// As a browser asks.
fn browse(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("accept", ACCEPT.parse().unwrap());
    request
}

/// Checks that an answer is a page that loads nothing; its text.
#[track_caller]
fn page(answer: &Answer, status: StatusCode) -> String {
    assert_eq!(answer.status, status);
    let types: Vec<_> = answer.headers.get_all("content-type").iter().collect();
    assert_eq!(types, ["text/html; charset=utf-8"]);
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers["cache-control"], "no-store");
    String::from_utf8(answer.body.clone()).unwrap()
}

#[tokio::test]
async fn pages_are_there_for_whoever_may_read() {
    let f = Fixture::with_task("task").await;
    let (_device, _) = f.assigned("task").await;
    let text = page(&f.send(read("/")).await, StatusCode::OK);
    assert!(text.contains("href=\"/tasks/task\""));
    let text = page(&f.send(read("/tasks/task")).await, StatusCode::OK);
    assert!(text.contains("data-figure=\"participants\" data-value=\"1\""));
    f.send(get("/tasks/task")).await.problem(401, "server/admin");
}

#[tokio::test]
async fn refusals_are_pages_in_a_browser_and_documents_elsewhere() {
    let f = Fixture::with_task("task").await;
    let unknown = f.send(browse(read("/tasks/other"))).await;
    let text = page(&unknown, StatusCode::NOT_FOUND);
    assert!(text.contains("Unknown task") && text.contains("other"), "{text}");
    f.send(read("/tasks/other")).await.problem(404, "server/unknown-task");
    let stranger = f.send(browse(get("/"))).await;
    page(&stranger, StatusCode::UNAUTHORIZED);
    assert!(stranger.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    page(&f.send(browse(read("/nowhere"))).await, StatusCode::NOT_FOUND);
    let text = page(&f.send(browse(read("/tasks/%3Cb%3E"))).await, StatusCode::BAD_REQUEST);
    assert!(!text.contains("<b>"), "{text}");
}
