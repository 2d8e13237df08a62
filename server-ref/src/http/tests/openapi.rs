//! The committed description is the one that the server gives.

use axum::http::StatusCode;
use serde_json::Value;

use crate::http::openapi;
use crate::testing::{Fixture, get, operator};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

#[tokio::test]
async fn the_committed_description_is_the_served_one() {
    let mut text = serde_json::to_string_pretty(&openapi()).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    let renew = "UPDATE=1 cargo test -p adafed-server --lib openapi";
    assert!(committed == text, "docs/openapi.json is out of date; renew it with `{renew}`");
    let f = Fixture::new().await;
    let served = f.send(get("/v1/openapi.json")).await;
    assert_eq!((served.status, served.json()), (StatusCode::OK, openapi()));
}

#[tokio::test]
async fn the_example_of_a_task_can_be_created() {
    let f = Fixture::new().await;
    let example = &openapi()["components"]["schemas"]["CreateTask"]["examples"][0];
    let created = f.send(operator("/v1/tasks", example.to_string())).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&created.body));
}

/// Every `$ref` of the description.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let description = openapi();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let target = description.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference}");
    }
}
