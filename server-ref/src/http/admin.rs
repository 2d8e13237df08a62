//! Handlers for operators.

use adafed_wire::{CreateTask, decode};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::extract::Operator;
use crate::report::TaskStatus;
use crate::{Error, Service};

/// Body of `POST /v1/tokens`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateToken {
    /// Devices that may enrol with the token.
    uses: u32,
}

/// Answer of `POST /v1/tokens`.
#[derive(Serialize)]
pub(super) struct CreatedToken {
    token: String,
}

/// `POST /v1/tasks`
pub(super) async fn create_task(
    State(service): State<Service>,
    request: Operator,
) -> Result<(StatusCode, Json<TaskStatus>), Error> {
    let body = if request.encoded { decode(&request.body)? } else { json(&request.body)? };
    let CreateTask { plan, parameters, settings } = body;
    let status = service.create_task(plan, parameters, settings).await?;
    Ok((StatusCode::CREATED, Json(status)))
}

/// `POST /v1/tokens`
pub(super) async fn create_token(
    State(service): State<Service>,
    request: Operator,
) -> Result<(StatusCode, Json<CreatedToken>), Error> {
    let CreateToken { uses } = json(&request.body)?;
    let token = service.create_token(uses).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token })))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let malformed =
        |e: serde_json::Error| Error::Malformed { what: "JSON body", reason: e.to_string() };
    serde_json::from_slice(body).map_err(malformed)
}
