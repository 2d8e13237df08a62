//! Tokens, devices and operators, as operators manage them.

use axum::http::StatusCode;

use super::{ask, asked_with, read};
use crate::Clock;
use crate::testing::{Device, Fixture};

#[tokio::test]
async fn a_token_has_uses_a_life_and_a_weight() {
    let f = Fixture::new().await;
    let now_ms = f.clock.now_ms();
    let body = r#"{"uses": 5, "expires_in_s": 10, "weight": 3}"#;
    let created = f.send(ask("POST", "/v1/tokens", body)).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let created = created.json();
    assert_eq!(created["expires_ms"], now_ms + 10_000);
    let token = created["token"].as_str().unwrap();
    let listed = f.send(read("/v1/tokens")).await.json();
    assert_eq!((&listed[0]["uses_left"], &listed[0]["weight"]), (&5.into(), &3.into()));
    let (one, late) = (Device::new(), Device::new());
    assert_eq!(f.send(one.enrolment(token, now_ms)).await.status, StatusCode::OK);
    let device = f.send(read(&format!("/v1/devices/{}", one.key.device()))).await.json();
    assert_eq!(device["weight"], 3);
    f.clock.advance(10_000);
    f.send(late.enrolment(token, f.clock.now_ms())).await.problem(401, "server/token");
    for body in [r#"{"uses": 0}"#, r#"{"weight": 0}"#, r#"{"expires_in_s": 0}"#] {
        f.send(ask("POST", "/v1/tokens", body)).await.problem(400, "server/setting");
    }
    f.send(ask("POST", "/v1/tokens", r#"{"use": 1}"#)).await.problem(400, "server/malformed");
}

#[tokio::test]
async fn a_token_taken_back_enrols_nobody() {
    let f = Fixture::new().await;
    let token = f.service.create_token(5).await.unwrap();
    let digest = f.send(read("/v1/tokens")).await.json()[0]["digest"].as_str().unwrap().to_owned();
    let path = format!("/v1/tokens/{digest}");
    assert_eq!(f.send(ask("DELETE", &path, "")).await.status, StatusCode::NO_CONTENT);
    f.send(ask("DELETE", &path, "")).await.problem(404, "server/unknown");
    let device = Device::new();
    f.send(device.enrolment(&token, f.clock.now_ms())).await.problem(401, "server/token");
}

#[tokio::test]
async fn devices_are_listed_in_pages() {
    let f = Fixture::new().await;
    for _ in 0..3 {
        f.device().await;
    }
    let all = f.send(read("/v1/devices")).await.json();
    let names: Vec<_> =
        all.as_array().unwrap().iter().map(|d| d["device"].as_str().unwrap()).collect();
    assert!(names.len() == 3 && names.is_sorted());
    let rest = f.send(read(&format!("/v1/devices?after={}&limit=1", names[0]))).await.json();
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]), (1, &all[1]));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "page=1"] {
        assert_eq!(f.send(read(&format!("/v1/devices?{query}"))).await.status, 400, "{query}");
    }
    let none = format!("/v1/devices/{}", Device::new().key.device());
    f.send(read(&none)).await.problem(404, "server/unknown");
}

#[tokio::test]
async fn a_revoked_device_enrols_again_and_a_banned_one_does_not() {
    let f = Fixture::with_task("task").await;
    let (device, token) = (f.device().await, f.service.create_token(9).await.unwrap());
    let now_ms = f.clock.now_ms();
    let path = format!("/v1/devices/{}/revoke", device.key.device());
    let revoked = f.send(ask("POST", &path, r#"{"ban": false}"#)).await.json();
    assert_eq!(revoked["state"], "revoked");
    f.send(device.check_in("task", now_ms)).await.problem(401, "server/revoked");
    assert_eq!(f.send(device.enrolment(&token, now_ms)).await.status, StatusCode::OK);
    assert_eq!(f.send(device.check_in("task", now_ms)).await.status, StatusCode::OK);
    f.send(ask("POST", &path, r#"{"ban": true}"#)).await.json();
    f.send(device.check_in("task", now_ms)).await.problem(403, "server/banned");
    f.send(device.enrolment(&token, now_ms)).await.problem(403, "server/banned");
}

#[tokio::test]
async fn operators_tokens_are_made_listed_and_taken_back() {
    let f = Fixture::new().await;
    let make = async |body: &str| f.send(ask("POST", "/v1/operators", body.to_owned())).await;
    let made = make(r#"{"name": "eve", "scope": "admin", "expires_in_s": 10}"#).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    make(r#"{"name": "eve", "scope": "read"}"#).await.problem(409, "server/exists");
    for name in ["", "admin", "Eve", "e/v", &"e".repeat(65)] {
        let body = format!(r#"{{"name": "{name}", "scope": "read"}}"#);
        make(&body).await.problem(400, "server/setting");
    }
    make(r#"{"name": "bob", "scope": "all"}"#).await.problem(400, "server/malformed");
    let listed = f.send(asked_with(&token, "GET", "/v1/operators", "")).await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["scope"]), (&"eve".into(), &"admin".into()));
    assert!(!listed.to_string().contains(&token));
    let revoked = f.send(asked_with(&token, "DELETE", "/v1/operators/eve", "")).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let again = f.send(asked_with(&token, "GET", "/v1/operators", "")).await;
    again.problem(401, "server/admin");
    f.send(ask("DELETE", "/v1/operators/bob", "")).await.problem(404, "server/unknown");
}
