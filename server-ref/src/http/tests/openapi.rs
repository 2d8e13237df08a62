//! The committed description is the one that the server gives.

use adafed_wire::TaskSettings;
use axum::http::StatusCode;
use serde_json::Value;

use crate::http::openapi;
use crate::testing::{Fixture, get, operator, plan};

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

/// Names of an object's members, and of those that a schema knows.
fn members(object: &Value, schema: &str) -> [Vec<String>; 2] {
    let names = |value: &Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        names
    };
    [names(object), names(&openapi()["components"]["schemas"][schema]["properties"])]
}

#[test]
fn hand_written_schemas_have_the_members_of_their_types() {
    let mut plan = plan("task");
    plan.federation.proximal = 0.1;
    let plan = serde_json::to_value(plan).unwrap();
    let settings = serde_json::to_value(TaskSettings::default()).unwrap();
    for (value, schema) in [
        (&plan, "TaskPlan"),
        (&plan["privacy"], "PrivacyPlan"),
        (&plan["algorithm"], "AlgorithmPlan"),
        (&plan["federation"], "FederationPlan"),
        (&plan["rounds"], "RoundPlan"),
        (&settings, "TaskSettings"),
    ] {
        let [found, described] = members(value, schema);
        assert_eq!(found, described, "{schema}");
    }
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
