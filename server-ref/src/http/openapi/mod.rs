//! The interface's description (OpenAPI 3.1): operations from the table of routes, schemas
//! from the types, plans and settings by hand, for their crates know nothing of HTTP.

mod operations;
mod plan;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::fleet::Revocation;
use super::problem::Problem;
use super::routes::routes;
use crate::config::Limits;
use crate::report::{
    DevicePrivacy, DeviceState, DeviceStatus, Evaluation, Forecast, HistogramBucket,
    OperatorStatus, PrivacyReport, PrivacyUnit, Quantile, RoundReport, Scope, TaskState,
    TaskStatus, TokenStatus,
};
use crate::service::{CreatedToken, NewEvaluation, NewOperator, NewToken};

#[derive(OpenApi)]
#[openapi(components(schemas(
    CreatedToken,
    DevicePrivacy,
    DeviceState,
    DeviceStatus,
    Evaluation,
    Forecast,
    HistogramBucket,
    NewEvaluation,
    NewOperator,
    NewToken,
    OperatorStatus,
    PrivacyReport,
    PrivacyUnit,
    Problem,
    Quantile,
    Revocation,
    RoundReport,
    Scope,
    TaskState,
    TaskStatus,
    TokenStatus,
)))]
struct Schemas;

/// The description of the HTTP interface (OpenAPI 3.1), as JSON.
#[must_use]
pub fn openapi() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "AdaFed",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Federated learning with differential privacy. Devices speak encoded \
                messages, people JSON; every refusal is a problem document (RFC 9457), whose \
                member `retry_after_ms` says when the same request may succeed.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "paths": paths(),
        "components": { "schemas": schemas(), "securitySchemes": operations::security() },
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    for route in routes(Limits::default().max_body_bytes) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operations::operation(&route);
    }
    Value::Object(paths)
}

fn schemas() -> Value {
    let derived = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut schemas = derived["components"]["schemas"].clone();
    for (name, schema) in plan::schemas() {
        schemas[name] = schema;
    }
    schemas["TaskStatus"]["properties"]["settings"] = reference("TaskSettings");
    schemas["Description"] = json!({ "type": "object" });
    schemas
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
