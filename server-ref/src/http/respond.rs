//! Encoded answers to devices.

use adafed_wire::{MEDIA_TYPE, Message, encode};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::Error;
use crate::service::Download;

const ENCODED: HeaderValue = HeaderValue::from_static(MEDIA_TYPE);
/// Content has its digest for a name, so a copy never grows old.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A message as a body.
pub(crate) fn message<M: Message>(message: &M) -> Result<(usize, Response), Error> {
    let bytes = encode(message)?;
    Ok((bytes.len(), ([(CONTENT_TYPE, ENCODED)], bytes).into_response()))
}

/// Content by digest: 304 without a body when the device holds it.
pub(crate) fn download(request: &HeaderMap, content: Download) -> (usize, Response) {
    let etag = format!("\"{}\"", content.digest);
    let held = request.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let known = held.is_some_and(|list| list.split(',').any(|tag| tag.trim() == etag));
    let headers = [(CONTENT_TYPE, ENCODED), (CACHE_CONTROL, FOREVER)];
    let etag = [(ETAG, etag)];
    if known {
        return (0, (StatusCode::NOT_MODIFIED, headers, etag).into_response());
    }
    (content.bytes.len(), (headers, etag, content.bytes).into_response())
}
