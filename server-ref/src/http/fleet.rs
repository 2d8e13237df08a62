//! Handlers about devices and the tokens that they enrol with, for operators.

use adafed_wire::{DeviceId, Digest};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Admin, Json, Operator, Path, Query, Read};
use crate::report::{DeviceStatus, TokenStatus};
use crate::service::{CreatedToken, NewToken};
use crate::{Error, Service};

/// Devices of one answer without a limit in the query, and at most.
const DEVICES: u32 = 100;
/// Most devices of one answer.
pub(super) const MOST_DEVICES: u32 = 1_000;

type Answer<T> = Result<axum::Json<T>, Error>;

/// Query of `GET /v1/devices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The last device of the page before.
    after: Option<String>,
    /// Devices at most.
    limit: Option<u32>,
}

/// Body of `POST /v1/devices/{device}/revoke`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// Whether its key may never enrol again.
    #[serde(default)]
    ban: bool,
}

/// `GET /v1/devices`
pub(super) async fn devices(
    State(service): State<Service>,
    _: Operator<Read>,
    Query(Page { after, limit }): Query<Page>,
) -> Answer<Vec<DeviceStatus>> {
    let after: Option<DeviceId> = after.map(|name| name.parse()).transpose()?;
    let limit = limit.unwrap_or(DEVICES);
    if limit == 0 || limit > MOST_DEVICES {
        return Err(Error::Setting { name: "limit", expected: "1 to 1000" });
    }
    service.devices(after, limit).await.map(axum::Json)
}

/// `GET /v1/devices/{device}`
pub(super) async fn device(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(device): Path<String>,
) -> Answer<DeviceStatus> {
    service.device(device.parse()?).await.map(axum::Json)
}

/// `POST /v1/devices/{device}/revoke`
pub(super) async fn revoke(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(device): Path<String>,
    Json(Revocation { ban }): Json<Revocation>,
) -> Answer<DeviceStatus> {
    service.revoke_device(device.parse()?, ban).await.map(axum::Json)
}

/// `GET /v1/tokens`
pub(super) async fn tokens(
    State(service): State<Service>,
    _: Operator<Admin>,
) -> Answer<Vec<TokenStatus>> {
    service.tokens().await.map(axum::Json)
}

/// `POST /v1/tokens`
pub(super) async fn create_token(
    State(service): State<Service>,
    _: Operator<Admin>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, axum::Json<CreatedToken>), Error> {
    let created = service.issue_token(new).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// `DELETE /v1/tokens/{digest}`
pub(super) async fn revoke_token(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(digest): Path<String>,
) -> Result<StatusCode, Error> {
    let digest: Digest = digest.parse()?;
    service.revoke_token(digest).await.map(|()| StatusCode::NO_CONTENT)
}
