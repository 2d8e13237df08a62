//! Handlers for people and dashboards: JSON.

use axum::Json;
use axum::extract::State;

use super::extract::Path;
use crate::report::{PrivacyReport, RoundReport, TaskStatus};
use crate::{Error, Service};

/// `GET /v1/tasks`
pub(super) async fn tasks(State(service): State<Service>) -> Result<Json<Vec<TaskStatus>>, Error> {
    service.tasks().await.map(Json)
}

/// `GET /v1/tasks/{task}`
pub(super) async fn task(
    State(service): State<Service>,
    Path(task): Path<String>,
) -> Result<Json<TaskStatus>, Error> {
    service.task_status(&task.parse()?).await.map(Json)
}

/// `GET /v1/tasks/{task}/rounds`
pub(super) async fn rounds(
    State(service): State<Service>,
    Path(task): Path<String>,
) -> Result<Json<Vec<RoundReport>>, Error> {
    service.rounds(&task.parse()?).await.map(Json)
}

/// `GET /v1/tasks/{task}/privacy`
pub(super) async fn privacy(
    State(service): State<Service>,
    Path(task): Path<String>,
) -> Result<Json<PrivacyReport>, Error> {
    service.privacy_report(&task.parse()?).await.map(Json)
}
