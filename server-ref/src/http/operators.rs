//! Handlers about the tokens of people and programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{self, Admin, Operator, Path};
use crate::report::OperatorStatus;
use crate::service::{CreatedToken, NewOperator};
use crate::{Error, Service};

/// `GET /v1/operators`
pub(super) async fn list(
    State(service): State<Service>,
    _: Operator<Admin>,
) -> Result<Json<Vec<OperatorStatus>>, Error> {
    service.operators().await.map(Json)
}

/// `POST /v1/operators`
pub(super) async fn create(
    State(service): State<Service>,
    _: Operator<Admin>,
    extract::Json(new): extract::Json<NewOperator>,
) -> Result<(StatusCode, Json<CreatedToken>), Error> {
    let created = service.create_operator(new).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// `DELETE /v1/operators/{name}`
pub(super) async fn revoke(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    service.revoke_operator(&name).await.map(|()| StatusCode::NO_CONTENT)
}
