//! Handlers about tasks, for people: what stands about them, and how they are steered.

use adafed_wire::{CreateTask, TaskId, TaskSettings};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{Admin, Either, Evaluate, Json, Operator, Path, Query, Read, number};
use super::respond;
use crate::report::{Evaluation, PrivacyReport, RoundReport, TaskStatus};
use crate::service::NewEvaluation;
use crate::{Error, Service};

type Answer<T> = Result<axum::Json<T>, Error>;

/// Query of `POST /v1/tasks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Creation {
    /// Whether only a forecast is asked for.
    #[serde(default)]
    dry_run: bool,
}

/// `GET /v1/tasks`
pub(super) async fn list(
    State(service): State<Service>,
    _: Operator<Read>,
) -> Answer<Vec<TaskStatus>> {
    service.tasks().await.map(axum::Json)
}

/// `POST /v1/tasks`
pub(super) async fn create(
    State(service): State<Service>,
    _: Operator<Admin>,
    Query(Creation { dry_run }): Query<Creation>,
    Either(task): Either<CreateTask>,
) -> Result<Response, Error> {
    let CreateTask { plan, parameters, settings } = task;
    if dry_run {
        return Ok(axum::Json(service.forecast(plan, settings).await?).into_response());
    }
    let status = service.create_task(plan, parameters, settings).await?;
    Ok((StatusCode::CREATED, axum::Json(status)).into_response())
}

/// `GET /v1/tasks/{task}`
pub(super) async fn status(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
) -> Answer<TaskStatus> {
    service.task_status(&task.parse()?).await.map(axum::Json)
}

/// `PUT /v1/tasks/{task}/settings`
pub(super) async fn set_settings(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(task): Path<String>,
    Json(settings): Json<TaskSettings>,
) -> Answer<TaskStatus> {
    service.set_settings(&task.parse()?, settings).await.map(axum::Json)
}

/// `POST /v1/tasks/{task}/pause`
pub(super) async fn pause(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(task): Path<String>,
) -> Answer<TaskStatus> {
    service.pause(&task.parse()?).await.map(axum::Json)
}

/// `POST /v1/tasks/{task}/resume`
pub(super) async fn resume(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(task): Path<String>,
) -> Answer<TaskStatus> {
    service.resume(&task.parse()?).await.map(axum::Json)
}

/// `POST /v1/tasks/{task}/cancel`
pub(super) async fn cancel(
    State(service): State<Service>,
    _: Operator<Admin>,
    Path(task): Path<String>,
) -> Answer<TaskStatus> {
    service.cancel(&task.parse()?).await.map(axum::Json)
}

/// `GET /v1/tasks/{task}/rounds`
pub(super) async fn rounds(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
) -> Answer<Vec<RoundReport>> {
    service.rounds(&task.parse()?).await.map(axum::Json)
}

/// `GET /v1/tasks/{task}/rounds/{round}`
pub(super) async fn round(
    State(service): State<Service>,
    _: Operator<Read>,
    Path((task, round)): Path<(String, String)>,
) -> Answer<RoundReport> {
    let (task, round): (TaskId, u64) = (task.parse()?, number(&round)?);
    service.round(&task, round).await.map(axum::Json)
}

/// `GET /v1/tasks/{task}/privacy`
pub(super) async fn privacy(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
) -> Answer<PrivacyReport> {
    service.privacy_report(&task.parse()?).await.map(axum::Json)
}

/// `GET /v1/tasks/{task}/model`
pub(super) async fn model(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    respond::model(&headers, service.model_file(&task.parse()?).await?)
}

/// `GET /v1/tasks/{task}/evaluations`
pub(super) async fn evaluations(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
) -> Answer<Vec<Evaluation>> {
    service.evaluations(&task.parse()?).await.map(axum::Json)
}

/// `POST /v1/tasks/{task}/evaluations`
pub(super) async fn evaluate(
    State(service): State<Service>,
    evaluator: Operator<Evaluate>,
    Path(task): Path<String>,
    Json(new): Json<NewEvaluation>,
) -> Result<(StatusCode, axum::Json<Evaluation>), Error> {
    let evaluation = service.evaluate(&task.parse()?, &evaluator.name, new).await?;
    Ok((StatusCode::CREATED, axum::Json(evaluation)))
}
