//! Requests that a device's key signed.

use std::fmt::Display;
use std::str::FromStr;

use adafed_wire::{DEVICE_HEADER, DeviceId, SIGNATURE_HEADER, SignedParts, TIME_HEADER, verify};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use super::{Operator, Read, read_body};
use crate::store::devices::Credential;
use crate::{Error, Service};

/// What the headers of a signed request say.
pub(crate) struct Signature {
    method: String,
    path: String,
    time_ms: u64,
    text: String,
}

impl Signature {
    /// Reads the headers and checks the time.
    fn of(parts: &Parts, service: &Service) -> Result<Self, Error> {
        let (now_ms, window_ms) = (service.now_ms(), service.front().signature_window_ms);
        let time_ms = header(&parts.headers, TIME_HEADER)?;
        if now_ms.abs_diff(time_ms) > window_ms {
            return Err(Error::SignedAtOtherTime { signed_ms: time_ms, now_ms, window_ms });
        }
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let text = header(&parts.headers, SIGNATURE_HEADER)?;
        Ok(Self { method: parts.method.to_string(), path, time_ms, text })
    }

    /// Checks that the owner of `public_key` signed this request with this body; when.
    pub(crate) fn verify(&self, public_key: &[u8; 32], body: &[u8]) -> Result<u64, Error> {
        let Self { method, path, time_ms, text } = self;
        let parts = SignedParts { method, path, time_ms: *time_ms, body };
        verify(public_key, parts, text)?;
        Ok(self.time_ms)
    }
}

/// Who says to have signed. The device is looked up before the body is read: strangers
/// cannot make the server buffer anything.
struct Signer {
    signature: Signature,
    device: DeviceId,
    public_key: [u8; 32],
}

impl Signer {
    async fn of(parts: &Parts, service: &Service) -> Result<Self, Error> {
        let signature = Signature::of(parts, service)?;
        let device = header(&parts.headers, DEVICE_HEADER)?;
        Ok(Self { signature, device, public_key: service.public_key(device).await? })
    }

    /// Reads the body and checks that it was signed; then the device's share of requests is
    /// counted, which nobody else can use up.
    async fn read(self, request: Request, service: &Service) -> Result<Signed, Error> {
        let body = read_body(request, service).await?;
        let credential = self.check(&body, service)?;
        Ok(Signed { credential, body })
    }

    fn check(&self, body: &[u8], service: &Service) -> Result<Credential, Error> {
        let signed_ms = self.signature.verify(&self.public_key, body)?;
        service.front().guard.device(self.device)?;
        Ok(Credential { device: self.device, signed_ms })
    }
}

/// A body signed by an enrolled device. Whoever handles it spends the credential.
pub(crate) struct Signed {
    pub(crate) credential: Credential,
    pub(crate) body: Bytes,
}

impl FromRequest<Service> for Signed {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let signer = Signer::of(&parts, service).await?;
        signer.read(Request::from_parts(parts, body), service).await
    }
}

/// A signed body that may be long: it is read in one of a limited number of places.
pub(crate) struct Upload {
    pub(crate) signed: Signed,
    // Given back when the request is answered.
    _place: OwnedSemaphorePermit,
}

impl FromRequest<Service> for Upload {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let signer = Signer::of(&parts, service).await?;
        let place = service.front().guard.place().await?;
        let signed = signer.read(Request::from_parts(parts, body), service).await?;
        Ok(Self { signed, _place: place })
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
        let signature = Signature::of(&parts, service)?;
        let body = read_body(Request::from_parts(parts, body), service).await?;
        Ok(Self { signature, body })
    }
}

/// Whoever may read plans and contents: a device, by its signature, or a token's holder.
pub(crate) struct Reader;

impl FromRequestParts<Service> for Reader {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        if !parts.headers.contains_key(DEVICE_HEADER) {
            let token = Operator::<Read>::from_request_parts(parts, service).await;
            return token.map(|_| Self);
        }
        let signer = Signer::of(parts, service).await?;
        service.spend(signer.check(&[], service)?).await?;
        Ok(Self)
    }
}

fn header<T: FromStr<Err: Display>>(headers: &HeaderMap, name: &'static str) -> Result<T, Error> {
    let text = headers.get(name).and_then(|v| v.to_str().ok());
    text.and_then(|t| t.parse().ok()).ok_or(Error::Unsigned { header: name })
}
