//! Contents that are held already, and parts of contents.

use adafed_wire::{Digest, path};
use axum::http::StatusCode;

use super::read;
use crate::testing::{Answer, Fixture, name};

async fn fetch(f: &Fixture, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = read(path);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    f.send(request).await
}

#[tokio::test]
async fn content_is_cached_by_its_digest() {
    let f = Fixture::with_task("task").await;
    let (_, assignment) = f.assigned("task").await;
    let path = path::content(&name("task"), &assignment.model);
    let first = fetch(&f, &path, &[]).await;
    let etag = first.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", assignment.model));
    assert_eq!(first.headers["cache-control"], "private, max-age=31536000, immutable");
    for held in [&*etag, "*", &format!("W/{etag}"), &format!("\"x\", {etag}")] {
        let second = fetch(&f, &path, &[("if-none-match", held)]).await;
        assert_eq!((second.status, second.body.len()), (StatusCode::NOT_MODIFIED, 0), "{held}");
    }
    let unknown = path::content(&name("task"), &Digest::of(b"unknown"));
    fetch(&f, &unknown, &[]).await.problem(404, "server/unknown-content");
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_was() {
    let f = Fixture::with_task("task").await;
    for path in ["/v1/tasks/task/plan", "/v1/tasks/task/model"] {
        let whole = fetch(&f, path, &[]).await;
        assert_eq!(whole.headers["accept-ranges"], "bytes");
        let rest = fetch(&f, path, &[("range", "bytes=7-")]).await;
        assert_eq!(rest.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(rest.body, whole.body[7..], "{path}");
        let (last, length) = (whole.body.len() - 1, whole.body.len());
        assert_eq!(rest.headers["content-range"], format!("bytes 7-{last}/{length}"));
        let etag = whole.headers["etag"].to_str().unwrap();
        for (base, status) in [(etag, 206), ("\"other\"", 200)] {
            let answer = fetch(&f, path, &[("range", "bytes=7-"), ("if-range", base)]).await;
            assert_eq!(answer.status, status, "{base}");
        }
        let outside = fetch(&f, path, &[("range", &format!("bytes={length}-"))]).await;
        assert_eq!(outside.headers["content-range"], format!("bytes */{length}"));
        outside.problem(416, "server/range");
        let several = fetch(&f, path, &[("range", "bytes=0-1,3-4")]).await;
        assert_eq!((several.status, several.body.len()), (StatusCode::OK, length));
    }
}
