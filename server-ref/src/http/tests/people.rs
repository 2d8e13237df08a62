//! What people read and steer.

use adafed_wire::{CreateTask, MEDIA_TYPE, TaskSettings, encode};
use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::{ask, asked_with, read};
use crate::Clock;
use crate::testing::{D, Fixture, get, operator, plan};

fn create(name: &str) -> CreateTask {
    let settings = TaskSettings::default();
    CreateTask { plan: plan(name), parameters: vec![0.5; D], settings }
}

#[tokio::test]
async fn operators_create_tasks_once_as_json_or_encoded() {
    let f = Fixture::new().await;
    let json = serde_json::to_string(&create("json")).unwrap();
    let created = f.send(operator("/v1/tasks", json.clone())).await;
    assert_eq!(created.status, StatusCode::CREATED);
    f.send(operator("/v1/tasks", json)).await.problem(409, "server/task-exists");
    let mut request = operator("/v1/tasks", encode(&create("encoded")).unwrap());
    request.headers_mut().insert("content-type", MEDIA_TYPE.parse().unwrap());
    assert_eq!(f.send(request).await.status, StatusCode::CREATED);
    let tasks = f.send(read("/v1/tasks")).await.json();
    assert_eq!((&tasks[0]["task"], &tasks[1]["task"]), (&"encoded".into(), &"json".into()));
    let short = CreateTask { parameters: vec![0.0; 3], ..create("short") };
    let short = operator("/v1/tasks", serde_json::to_string(&short).unwrap());
    f.send(short).await.problem(400, "algorithm/length");
    f.send(operator("/v1/tasks", "{")).await.problem(400, "server/malformed");
}

#[tokio::test]
async fn a_dry_run_tells_the_cost_and_creates_nothing() {
    let f = Fixture::new().await;
    let json = serde_json::to_string(&create("task")).unwrap();
    let forecast = f.send(operator("/v1/tasks?dry_run=true", json.clone())).await;
    assert_eq!(forecast.status, StatusCode::OK);
    assert!(forecast.json()["epsilon_all_rounds"].as_f64().unwrap() > 0.0);
    assert_eq!(f.send(read("/v1/tasks")).await.json(), serde_json::json!([]));
    let unknown = f.send(operator("/v1/tasks?dry=true", json)).await;
    unknown.problem(400, "server/malformed");
}

#[tokio::test]
async fn a_task_is_paused_resumed_and_cancelled_where_that_makes_sense() {
    let f = Fixture::with_task("task").await;
    for (verb, state) in
        [("resume", None), ("pause", Some("paused")), ("pause", None), ("resume", Some("running"))]
    {
        let answer = f.send(ask("POST", &format!("/v1/tasks/task/{verb}"), "")).await;
        match state {
            Some(state) => assert_eq!(answer.json()["state"], state),
            None => drop(answer.problem(409, "server/task-state")),
        }
    }
    let settings = r#"{"grace_ms": 7}"#;
    let set = f.send(ask("PUT", "/v1/tasks/task/settings", settings)).await;
    assert_eq!(set.json()["settings"]["grace_ms"], 7);
    let unknown = f.send(ask("PUT", "/v1/tasks/task/settings", r#"{"cohort": 7}"#)).await;
    unknown.problem(400, "server/malformed");
    let cancelled = f.send(ask("POST", "/v1/tasks/task/cancel", "")).await;
    assert_eq!(cancelled.json()["state"], "cancelled");
    let late = f.send(ask("PUT", "/v1/tasks/task/settings", settings)).await;
    late.problem(409, "server/task-state");
    f.send(ask("POST", "/v1/tasks/other/pause", "")).await.problem(404, "server/unknown-task");
}

#[tokio::test]
async fn rounds_are_read_together_and_one_by_one() {
    let f = Fixture::with_task("task").await;
    let all = f.send(read("/v1/tasks/task/rounds")).await.json();
    assert_eq!(f.send(read("/v1/tasks/task/rounds/0")).await.json(), all[0]);
    f.send(read("/v1/tasks/task/rounds/1")).await.problem(404, "server/unknown-round");
    f.send(read("/v1/tasks/task/rounds/x")).await.problem(400, "server/malformed");
    f.send(read("/v1/tasks/other/rounds/0")).await.problem(404, "server/unknown-task");
}

#[tokio::test]
async fn evaluations_are_reported_by_name_and_replaced() {
    let f = Fixture::with_task("task").await;
    let token = f.send(ask("POST", "/v1/operators", r#"{"name": "eve", "scope": "evaluate"}"#));
    let token = token.await.json()["token"].as_str().unwrap().to_owned();
    let path = "/v1/tasks/task/evaluations";
    let body = |loss: &str| format!(r#"{{"round": 0, "loss": {loss}, "examples": 5}}"#);
    for loss in ["0.5", "0.25"] {
        let answer = f.send(asked_with(&token, "POST", path, body(loss))).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.json()["reported_ms"], f.clock.now_ms());
    }
    f.send(ask("POST", path, body("1"))).await.json();
    let kept = f.send(read(path)).await.json();
    let of = |i: usize| (kept[i]["evaluator"].as_str().unwrap(), kept[i]["loss"].as_f64().unwrap());
    assert_eq!((of(0), of(1), &kept[2]), (("admin", 1.0), ("eve", 0.25), &serde_json::Value::Null));
    for (body, status, code) in [
        (r#"{"round": 1, "loss": 1, "examples": 1}"#, 404, "server/unknown-round"),
        (r#"{"round": 0, "loss": 1, "examples": 0}"#, 400, "server/setting"),
        (r#"{"round": 0, "loss": 1, "accuracy": 1.5, "examples": 1}"#, 400, "server/setting"),
        (r#"{"round": 0, "loss": 1e999, "examples": 1}"#, 400, "server/malformed"),
        (r#"{"round": 0, "loss": 1, "examples": 1, "more": 1}"#, 400, "server/malformed"),
    ] {
        f.send(ask("POST", path, body)).await.problem(status, code);
    }
}

#[tokio::test]
async fn the_model_is_a_file_of_named_tensors() {
    let f = Fixture::with_task("task").await;
    let answer = f.send(read("/v1/tasks/task/model")).await;
    let file = safetensors::SafeTensors::deserialize(&answer.body).unwrap();
    assert_eq!(file.names(), ["w"]);
    assert_eq!(file.tensor("w").unwrap().shape(), [3, D / 3]);
    assert_eq!(answer.headers["content-disposition"], r#"attachment; filename="task.safetensors""#);
    let mut again = read("/v1/tasks/task/model");
    again.headers_mut().insert("if-none-match", answer.headers["etag"].clone());
    assert_eq!(f.send(again).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn long_json_is_compressed_and_messages_are_not() {
    let f = Fixture::with_task("task").await;
    let fetch = async |path: &str| {
        let mut request = read(path);
        request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
        f.send(request).await
    };
    assert_eq!(fetch("/v1/openapi.json").await.headers["content-encoding"], "gzip");
    for path in ["/v1/tasks/task/plan", "/v1/tasks/task/model"] {
        assert!(!fetch(path).await.headers.contains_key("content-encoding"), "{path}");
    }
}

#[tokio::test]
async fn what_is_counted_can_be_scraped() {
    let f = Fixture::with_task("task").await;
    f.device().await;
    f.send(get("/v1/tasks")).await.problem(401, "server/admin");
    let metrics = f.send(read("/metrics")).await;
    assert!(metrics.headers["content-type"].to_str().unwrap().contains("openmetrics-text"));
    let text = String::from_utf8(metrics.body).unwrap();
    for line in [
        r#"adafed_http_requests_total{method="GET",route="/v1/tasks",status="401"} 1"#,
        r#"adafed_task_round{task="task"} 0"#,
        r#"adafed_transactions_total{name="create_task",outcome="done"} 1"#,
        "adafed_devices 1",
        "adafed_devices_enrolled_total 1",
        "adafed_tokens_created_total 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn everything_else_is_a_problem_document_too() {
    let f = Fixture::with_task("task").await;
    f.send(get("/nowhere")).await.problem(404, "server/unknown-path");
    let method = f.send(Request::delete("/v1/tasks").body(Body::empty()).unwrap()).await;
    method.problem(405, "server/method");
    f.send(read("/v1/tasks/other")).await.problem(404, "server/unknown-task");
    f.send(read("/v1/tasks/NOT%20A%20NAME/rounds")).await.problem(400, "wire/name");
    f.send(read("/v1/tasks/task/content/zz")).await.problem(400, "wire/name");
    assert_eq!(f.send(get("/healthz")).await.status, StatusCode::OK);
    assert_eq!(f.send(get("/readyz")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_keeps_its_name_or_gets_one() {
    let f = Fixture::new().await;
    let named = |id: &str| Request::get("/healthz").header("x-request-id", id).body(Body::empty());
    let answer = f.send(named("of-a.proxy_1").unwrap()).await;
    assert_eq!(answer.headers["x-request-id"], "of-a.proxy_1");
    for bad in ["with space", "", &"a".repeat(65)] {
        let made = f.send(named(bad).unwrap()).await.headers["x-request-id"].clone();
        assert!(made.len() == 16 && made != bad, "{made:?}");
    }
}
