//! Extractors: who asks, what the path and the query name, and bodies, each with our errors.

mod operator;
mod signed;
mod strict;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

pub(crate) use operator::{Admin, Evaluate, Operator, Read};
pub(crate) use signed::{Reader, SelfSigned, Signed, Upload};

use super::BodyLimit;
use super::limits::body_time;
use crate::{Error, Service};

/// Names in the path, as text.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Service> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let path = axum::extract::Path::from_request_parts(parts, service).await;
        let malformed = |e: PathRejection| Error::Malformed { what: "path", reason: e.body_text() };
        path.map(|axum::extract::Path(names)| Self(names)).map_err(malformed)
    }
}

/// What stands after the question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Service> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let query = axum::extract::Query::from_request_parts(parts, service).await;
        let malformed =
            |e: QueryRejection| Error::Malformed { what: "query", reason: e.body_text() };
        query.map(|axum::extract::Query(names)| Self(names)).map_err(malformed)
    }
}

/// A JSON body. Behind the extractor of who asks: strangers send nothing.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Service> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        json(&read_body(request, service).await?).map(Self)
    }
}

/// A body that is either an encoded message or JSON, by its content type.
pub(crate) struct Either<M>(pub(crate) M);

impl<M: adafed_wire::Message> FromRequest<Service> for Either<M> {
    type Rejection = Error;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Error> {
        let content_type = request.headers().get(CONTENT_TYPE);
        let encoded = content_type.is_some_and(|t| t == adafed_wire::MEDIA_TYPE);
        let body = read_body(request, service).await?;
        let message = if encoded { adafed_wire::decode(&body)? } else { json(&body)? };
        Ok(Self(message))
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let malformed =
        |e: serde_json::Error| Error::Malformed { what: "JSON body", reason: e.to_string() };
    strict::from_slice(body).map_err(malformed)
}

/// A number in the path.
pub(crate) fn number(text: &str) -> Result<u64, Error> {
    let malformed =
        |_| Error::Malformed { what: "round", reason: format!("{text:?} is no number") };
    text.parse().map_err(malformed)
}

/// The body, within its route's limit and the time that a body of that size may take.
async fn read_body(request: Request, service: &Service) -> Result<Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
    let time = request.extensions().get::<BodyTime>().map_or(body_time(limit as u64), |t| t.0);
    let read = tokio::time::timeout(time, Bytes::from_request(request, service)).await;
    let late = Error::SlowBody { limit_ms: time.as_millis() as u64 };
    read.map_err(|_| late)?.map_err(|e: BytesRejection| match e {
        e if e.status() == StatusCode::PAYLOAD_TOO_LARGE => Error::BodyTooLarge { limit },
        e => Error::Malformed { what: "body", reason: e.body_text() },
    })
}

/// Another time than a body's limit gives: tests do not wait for half a minute.
#[derive(Clone, Copy)]
pub(crate) struct BodyTime(pub(crate) Duration);
