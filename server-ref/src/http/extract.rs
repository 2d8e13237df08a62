//! Extractors: signed bodies, bodies with our errors, names in paths, the operator.

use std::fmt::Display;
use std::str::FromStr;

use adafed_wire::{DEVICE_HEADER, DeviceId, SIGNATURE_HEADER, SignedParts, TIME_HEADER, verify};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};

use super::BodyLimit;
use crate::store::devices::Credential;
use crate::{Error, Service};

/// Largest accepted distance between signing and arrival, in milliseconds.
pub(crate) const SIGNATURE_WINDOW_MS: u64 = 5 * 60 * 1000;

/// What the headers of a signed request say.
pub(crate) struct Signature {
    method: String,
    path: String,
    time_ms: u64,
    text: String,
}

impl Signature {
    /// Reads the headers and checks the time.
    fn of(parts: &Parts, now_ms: u64) -> Result<Self, Error> {
        let time_ms = header(&parts.headers, TIME_HEADER)?;
        if now_ms.abs_diff(time_ms) > SIGNATURE_WINDOW_MS {
            let window_ms = SIGNATURE_WINDOW_MS;
            return Err(Error::SignedAtOtherTime { signed_ms: time_ms, now_ms, window_ms });
        }
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let text = header(&parts.headers, SIGNATURE_HEADER)?;
        Ok(Self { method: parts.method.to_string(), path, time_ms, text })
    }

    /// Whether the owner of `public_key` signed this request with this body.
    pub(crate) fn verify(&self, public_key: &[u8; 32], body: &[u8]) -> Result<(), Error> {
        let Self { method, path, time_ms, text } = self;
        let parts = SignedParts { method, path, time_ms: *time_ms, body };
        Ok(verify(public_key, parts, text)?)
    }
}

/// A body signed by an enrolled device. The device is looked up before the body is
/// read: strangers cannot make the server buffer anything.
pub(crate) struct Signed {
    pub(crate) credential: Credential,
    pub(crate) body: Bytes,
}

impl FromRequest<Service> for Signed {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let signature = Signature::of(&parts, service.now_ms())?;
        let device: DeviceId = header(&parts.headers, DEVICE_HEADER)?;
        let public_key = service.public_key(device).await?;
        let body = read_body(Request::from_parts(parts, body), service).await?;
        signature.verify(&public_key, &body)?;
        let credential = Credential { device, signed_ms: signature.time_ms };
        Ok(Self { credential, body })
    }
}

/// A body whose signature the handler verifies with a key from the body.
pub(crate) struct SelfSigned {
    pub(crate) signature: Signature,
    pub(crate) body: Bytes,
}

impl FromRequest<Service> for SelfSigned {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let signature = Signature::of(&parts, service.now_ms())?;
        let body = read_body(Request::from_parts(parts, body), service).await?;
        Ok(Self { signature, body })
    }
}

/// An operator's body, and whether it is an encoded message rather than JSON.
pub(crate) struct Operator {
    pub(crate) encoded: bool,
    pub(crate) body: Bytes,
}

impl FromRequest<Service> for Operator {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let headers = request.headers();
        let authorization = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = authorization.and_then(|a| a.strip_prefix("Bearer "));
        if !token.is_some_and(|token| service.is_admin(token)) {
            return Err(Error::Admin);
        }
        let content_type = headers.get(axum::http::header::CONTENT_TYPE);
        let encoded = content_type.is_some_and(|t| t == adafed_wire::MEDIA_TYPE);
        Ok(Self { encoded, body: read_body(request, service).await? })
    }
}

/// Names in the path, as text.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Service> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let path = axum::extract::Path::from_request_parts(parts, service).await;
        let malformed = |e: axum::extract::rejection::PathRejection| Error::Malformed {
            what: "path",
            reason: e.body_text(),
        };
        path.map(|axum::extract::Path(names)| Self(names)).map_err(malformed)
    }
}

/// A number in the path.
pub(crate) fn number(text: &str) -> Result<u64, Error> {
    let malformed =
        |_| Error::Malformed { what: "round", reason: format!("{text:?} is no number") };
    text.parse().map_err(malformed)
}

fn header<T: FromStr<Err: Display>>(headers: &HeaderMap, name: &'static str) -> Result<T, Error> {
    let text = headers.get(name).and_then(|v| v.to_str().ok());
    text.and_then(|t| t.parse().ok()).ok_or(Error::Unsigned { header: name })
}

async fn read_body(request: Request, service: &Service) -> Result<Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
    Bytes::from_request(request, service).await.map_err(|e: BytesRejection| match e {
        e if e.status() == StatusCode::PAYLOAD_TOO_LARGE => Error::BodyTooLarge { limit },
        e => Error::Malformed { what: "body", reason: e.body_text() },
    })
}
