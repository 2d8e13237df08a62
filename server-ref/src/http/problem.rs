//! Errors as problem documents (RFC 9457), from one table.

use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::{error, info};
use utoipa::ToSchema;

use crate::Error;

/// Media type of problem documents.
pub(crate) const PROBLEM_TYPE: &str = "application/problem+json";

/// What went wrong, for programs (`type`) and for people (`title`, `detail`).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:adafed:problem:` and the error's code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
    /// After how many milliseconds the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

/// The table: status, title, and after how many milliseconds to try again.
fn entry(e: &Error) -> (StatusCode, &'static str, Option<u64>) {
    use StatusCode as S;
    use adafed_wire::Error as Wire;
    match e {
        Error::Wire(Wire::Signature) => (S::UNAUTHORIZED, "Wrong signature", None),
        Error::Wire(Wire::TooLarge { .. }) => (S::PAYLOAD_TOO_LARGE, "Body too large", None),
        Error::Wire(_) | Error::Malformed { .. } => (S::BAD_REQUEST, "Malformed request", None),
        Error::Setting { .. } => (S::BAD_REQUEST, "Setting out of range", None),
        Error::TaskTooLarge { .. } => (S::BAD_REQUEST, "Model too large", None),
        Error::TaskExists { .. } => (S::CONFLICT, "Task exists", None),
        Error::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "Body too large", None),
        Error::SlowBody { .. } => (S::REQUEST_TIMEOUT, "Body too slow", None),
        Error::UnknownPath => (S::NOT_FOUND, "Unknown path", None),
        Error::Method => (S::METHOD_NOT_ALLOWED, "Method not allowed", None),
        Error::Unsigned { .. } => (S::UNAUTHORIZED, "Request not signed", None),
        Error::SignedAtOtherTime { .. } => (S::UNAUTHORIZED, "Signed at another time", None),
        Error::UnknownDevice { .. } => (S::UNAUTHORIZED, "Device not enrolled", None),
        Error::OtherDevice { .. } => (S::FORBIDDEN, "Another device", None),
        Error::Replayed { .. } => (S::UNAUTHORIZED, "Request repeated", None),
        Error::Revoked { .. } => (S::UNAUTHORIZED, "Device revoked", None),
        Error::Banned { .. } => (S::FORBIDDEN, "Device banned", None),
        Error::TooManyRequests { retry_after_ms } => {
            (S::TOO_MANY_REQUESTS, "Too many requests", Some(*retry_after_ms))
        }
        Error::ClientVersion { .. } => (S::FORBIDDEN, "Version not taken", None),
        Error::Token => (S::UNAUTHORIZED, "Token not accepted", None),
        Error::Admin => (S::UNAUTHORIZED, "Operators only", None),
        Error::Scope { .. } => (S::FORBIDDEN, "Not allowed", None),
        Error::Exists { .. } => (S::CONFLICT, "Name taken", None),
        Error::Unknown { .. } => (S::NOT_FOUND, "Unknown name", None),
        Error::TaskState { .. } => (S::CONFLICT, "Not in this state", None),
        Error::Impossible { .. } => (S::UNPROCESSABLE_ENTITY, "Impossible task", None),
        Error::Range { .. } => (S::RANGE_NOT_SATISFIABLE, "Range outside the content", None),
        Error::Overloaded { retry_after_ms } => {
            (S::SERVICE_UNAVAILABLE, "Hands full", Some(*retry_after_ms))
        }
        Error::UnknownTask { .. } => (S::NOT_FOUND, "Unknown task", None),
        Error::UnknownContent { .. } => (S::NOT_FOUND, "Unknown content", None),
        Error::UnknownRound { .. } => (S::NOT_FOUND, "Unknown round", None),
        Error::RoundClosed { .. } => (S::CONFLICT, "Round closed", None),
        Error::NotAssigned { .. } => (S::FORBIDDEN, "Not taking part", None),
        Error::OtherUpdate { .. } => (S::CONFLICT, "Another update was taken", None),
        Error::Stale { .. } => (S::CONFLICT, "Made for another round", None),
        Error::StorageFull => (S::INSUFFICIENT_STORAGE, "Database full", Some(60_000)),
        Error::StorageBusy | Error::StorageConflict => {
            (S::SERVICE_UNAVAILABLE, "Database busy", Some(1_000))
        }
        Error::Storage(_) => (S::SERVICE_UNAVAILABLE, "Database not usable", Some(10_000)),
        Error::Randomness => (S::SERVICE_UNAVAILABLE, "No randomness", Some(10_000)),
        Error::SchemaTooNew { .. }
        | Error::Schema(_)
        | Error::Config { .. }
        | Error::Tls { .. }
        | Error::Listen { .. }
        | Error::Corrupt { .. }
        | Error::Stopped => (S::INTERNAL_SERVER_ERROR, "Server error", None),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, title, retry_after_ms) = entry(&self);
        log(&self, status);
        let problem = Problem {
            kind: format!("urn:adafed:problem:{}", self.code()),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail(&self),
            retry_after_ms,
        };
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        // `Json` names its own type; the problem's is the right one.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(milliseconds) = retry_after_ms {
            headers.insert(RETRY_AFTER, milliseconds.div_ceil(1000).into());
        }
        if let Self::Range { length } = self
            && let Ok(value) = format!("bytes */{length}").parse()
        {
            headers.insert(CONTENT_RANGE, value);
        }
        response
    }
}

/// What the peer is told: the message, without the inside of the server.
fn detail(e: &Error) -> String {
    match e {
        Error::Storage(_) => "the database cannot be used now, nothing was stored; try again",
        Error::Corrupt { .. } | Error::Stopped => "the server failed; its operator's log says why",
        _ => return e.to_string(),
    }
    .to_owned()
}

fn log(e: &Error, status: StatusCode) {
    if status.is_server_error() {
        error!(code = e.code(), status = status.as_u16(), "request failed: {e}");
    } else {
        info!(code = e.code(), status = status.as_u16(), "request refused");
    }
}
