//! Encoded answers to devices, and contents that may be held already or asked for in parts.

use adafed_wire::{MEDIA_TYPE, Message, encode};
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::range::{self, Part};
use crate::Error;
use crate::service::{Download, ModelFile};

const ENCODED: HeaderValue = HeaderValue::from_static(MEDIA_TYPE);
/// Media type of a model in a file.
pub(crate) const SAFETENSORS: &str = "application/octet-stream";
/// Content has its digest for a name, so a copy never grows old; it is for its reader only.
const FOREVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// The current model has one name and changes: a copy is good after a question.
const ASK: HeaderValue = HeaderValue::from_static("private, no-cache");

/// A message as a body.
pub(crate) fn message<M: Message>(message: &M) -> Result<(usize, Response), Error> {
    let bytes = encode(message)?;
    Ok((bytes.len(), ([(CONTENT_TYPE, ENCODED)], bytes).into_response()))
}

/// Content by digest, and how many of its bytes are sent.
pub(crate) fn download(request: &HeaderMap, content: Download) -> Result<(usize, Response), Error> {
    let etag = format!("\"{}\"", content.digest);
    let (status, mut headers, body) = part(request, &etag, content.bytes)?;
    headers.insert(CONTENT_TYPE, ENCODED);
    headers.insert(CACHE_CONTROL, FOREVER);
    Ok((body.len(), (status, headers, body).into_response()))
}

/// A model as a file to be saved.
pub(crate) fn model(request: &HeaderMap, model: ModelFile) -> Result<Response, Error> {
    let etag = format!("\"{}\"", model.digest);
    let (status, mut headers, body) = part(request, &etag, model.bytes)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SAFETENSORS));
    headers.insert(CACHE_CONTROL, ASK);
    // A task's name has no character that would end the quotes.
    let name = format!("attachment; filename=\"{}.safetensors\"", model.task);
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    Ok((status, headers, body).into_response())
}

/// Nothing for who holds the content, the part that is asked for, or all of it.
fn part(
    request: &HeaderMap,
    etag: &str,
    bytes: Vec<u8>,
) -> Result<(StatusCode, HeaderMap, Bytes), Error> {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_held(request, etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers, Bytes::new()));
    }
    let bytes = Bytes::from(bytes);
    let range = wanted_range(request, etag).map(|text| range::parse(text, bytes.len()));
    match range.transpose()?.unwrap_or(Part::Whole) {
        Part::Whole => Ok((StatusCode::OK, headers, bytes)),
        Part::Bytes(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(CONTENT_RANGE, value);
            }
            Ok((StatusCode::PARTIAL_CONTENT, headers, bytes.slice(range)))
        }
    }
}

fn is_held(request: &HeaderMap, etag: &str) -> bool {
    let tags = request.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    // The comparison is weak here (RFC 9110 section 13.1.2): a proxy may have compressed.
    tags.flat_map(|list| list.split(','))
        .any(|tag| matches!(tag.trim(), t if t == "*" || t.trim_start_matches("W/") == etag))
}

/// The range, if it is asked of the content as it is now.
fn wanted_range<'a>(request: &'a HeaderMap, etag: &str) -> Option<&'a str> {
    let text = |name: HeaderName| request.get(name).and_then(|v| v.to_str().ok());
    let base = request.get(IF_RANGE);
    text(RANGE).filter(|_| base.is_none_or(|base| base == etag))
}
