//! The dashboard: its pages, and refusals as pages for whoever looks with a browser.

use adafed_wire::{TaskId, TaskPlan, decode};
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::extract::{Operator, Path, Read};
use super::problem::{PROBLEM_TYPE, Problem};
use crate::dashboard::{self, POLICY, TaskDetail, TaskView};
use crate::report::TaskStatus;
use crate::{Error, Service};

/// Media type of a page.
pub(super) const PAGE_TYPE: &str = "text/html; charset=utf-8";
/// Most bytes of a problem document that becomes a page.
const MOST_PROBLEM: usize = 64 << 10;

/// `GET /`
pub(super) async fn overview(
    State(service): State<Service>,
    _: Operator<Read>,
) -> Result<Response, Error> {
    let statuses = service.tasks().await?;
    let mut tasks = Vec::with_capacity(statuses.len());
    for status in statuses {
        tasks.push(view(&service, status).await?);
    }
    let devices = service.enrolled().await?;
    Ok((headers(), dashboard::overview(&tasks, Some(devices))).into_response())
}

/// `GET /tasks/{task}`
pub(super) async fn task(
    State(service): State<Service>,
    _: Operator<Read>,
    Path(task): Path<String>,
) -> Result<Response, Error> {
    let task: TaskId = task.parse()?;
    let view = view(&service, service.task_status(&task).await?).await?;
    let privacy = service.privacy_report(&task).await?;
    let plan: TaskPlan =
        decode(&service.plan(&task).await?.bytes).map_err(Error::corrupt("plan"))?;
    let page = dashboard::task_page(&TaskDetail { view, privacy, plan }, service.now_ms());
    Ok((headers(), page).into_response())
}

async fn view(service: &Service, status: TaskStatus) -> Result<TaskView, Error> {
    let rounds = service.rounds(&status.task).await?;
    let evaluations = service.evaluations(&status.task).await?;
    Ok(TaskView { status, rounds, evaluations })
}

/// What a page is sent with: nobody keeps it, it loads nothing and tells nobody.
fn headers() -> [(HeaderName, HeaderValue); 5] {
    // The policy is made of letters, digits and signs that a header may have.
    let policy = HeaderValue::from_str(&POLICY);
    [
        (CONTENT_TYPE, HeaderValue::from_static(PAGE_TYPE)),
        (CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static("default-src 'none'"))),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

/// Makes a page of a problem document where a browser asked; status and other headers stay.
pub(super) async fn readable(request: Request, next: Next) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let response = next.run(request).await;
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|t| t == PROBLEM_TYPE);
    if !(browser && is_problem) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MOST_PROBLEM).await.unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
        return Response::from_parts(parts, body.into());
    };
    parts.headers.remove(CONTENT_LENGTH);
    for (name, value) in headers() {
        // What the document said of itself goes.
        parts.headers.insert(name, value);
    }
    let page = dashboard::error_page(problem.status, &problem.title, &problem.detail);
    Response::from_parts(parts, page.into())
}
