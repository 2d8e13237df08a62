//! Handlers of the dashboard: pages, errors too.

use adafed_wire::{TaskId, decode};
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::extract::Path;
use super::problem::Problem;
use crate::dashboard::{POLICY, TaskDetail, TaskView, error_page, overview as page, task_page};
use crate::report::{Evaluation, TaskStatus};
use crate::{Error, Service};

/// Most bytes of a problem document that becomes a page.
const MOST_PROBLEM: usize = 64 << 10;

/// `GET /`
pub(super) async fn overview(State(service): State<Service>) -> Response {
    match tasks(&service).await {
        Ok(tasks) => found(page(&tasks, None)),
        Err(e) => refused(e).await,
    }
}

/// `GET /tasks/{task}`
pub(super) async fn task(State(service): State<Service>, Path(task): Path<String>) -> Response {
    match detail(&service, &task).await {
        Ok(task) => found(task_page(&task, service.now_ms())),
        Err(e) => refused(e).await,
    }
}

async fn tasks(service: &Service) -> Result<Vec<TaskView>, Error> {
    let statuses = service.tasks().await?;
    let mut views = Vec::with_capacity(statuses.len());
    for status in statuses {
        views.push(view(service, status).await?);
    }
    Ok(views)
}

async fn view(service: &Service, status: TaskStatus) -> Result<TaskView, Error> {
    let rounds = service.rounds(&status.task).await?;
    let evaluations = evaluations(service, &status.task).await?;
    Ok(TaskView { status, rounds, evaluations })
}

async fn detail(service: &Service, task: &str) -> Result<TaskDetail, Error> {
    let task: TaskId = task.parse()?;
    let view = view(service, service.task_status(&task).await?).await?;
    let privacy = service.privacy_report(&task).await?;
    let plan = decode(&service.plan(&task).await?.bytes).map_err(Error::corrupt("plan"))?;
    Ok(TaskDetail { view, privacy, plan })
}

async fn evaluations(_: &Service, _: &TaskId) -> Result<Vec<Evaluation>, Error> {
    Ok(Vec::new())
}

fn found(page: String) -> Response {
    (headers(), page).into_response()
}

/// What a page is sent with: it is as old as it is, loads nothing and tells nobody.
fn headers() -> [(HeaderName, HeaderValue); 5] {
    let policy =
        HeaderValue::from_str(&POLICY).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

/// An error's problem document as a page, with its status and its other headers.
async fn refused(error: Error) -> Response {
    let (mut parts, body) = error.into_response().into_parts();
    let body = to_bytes(body, MOST_PROBLEM).await.unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
        return parts.status.into_response();
    };
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    parts.headers.extend(headers());
    let page = error_page(problem.status, &problem.title, &problem.detail);
    Response::from_parts(parts, page.into())
}
