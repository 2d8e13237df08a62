//! One operation of the description: parameters, body, answers and refusals of a route.

use std::collections::BTreeSet;

use adafed_wire::{DEVICE_HEADER, MEDIA_TYPE, SIGNATURE_HEADER, TIME_HEADER};
use serde_json::{Value, json};

use super::super::fleet::MOST_DEVICES;
use super::super::problem::PROBLEM_TYPE;
use super::super::routes::{Access, Content, Route};
use super::reference;

pub(super) fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "operationId": id(route),
        "parameters": parameters(route),
        "responses": responses(route),
        "security": requirements(route.access),
    });
    if route.takes != Content::Nothing {
        operation["requestBody"] = json!({ "required": true, "content": content(route.takes) });
    }
    operation
}

/// Method and path as one word.
fn id(route: &Route) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let path: String = route.path.chars().map(plain).collect();
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

/// What a route asks to know who asks.
fn requirements(access: Access) -> Value {
    let device = json!({ "device": [], "deviceTime": [], "deviceSignature": [] });
    match access {
        Access::Open => json!([]),
        Access::Read => json!([{ "token": [] }, { "password": [] }]),
        Access::Evaluate | Access::Admin => json!([{ "token": [] }]),
        Access::Device | Access::Enrolment => json!([device]),
        Access::Reader => json!([device, { "token": [] }, { "password": [] }]),
    }
}

/// How it can be known who asks.
pub(super) fn security() -> Value {
    let header = |name: &str, description: &str| json!({ "type": "apiKey", "in": "header", "name": name, "description": description });
    json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of scope `read`, `evaluate` or `admin`; each holds those before it",
        },
        "password": {
            "type": "http",
            "scheme": "basic",
            "description": "For reading with a browser: any user name, a token as password",
        },
        "device": header(DEVICE_HEADER, "The device's name"),
        "deviceTime": header(TIME_HEADER, "Time of signing, in milliseconds since 1970"),
        "deviceSignature": header(
            SIGNATURE_HEADER,
            "Ed25519, hexadecimal, over `adafed-v1`, method, path with query, time and SHA-256 of \
             the body, each on a line of its own",
        ),
    })
}

fn parameters(route: &Route) -> Value {
    let names = route.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let in_path = names.map(
        |name| json!({ "name": name, "in": "path", "required": true, "schema": name_schema(name) }),
    );
    in_path.chain(query(route)).collect()
}

fn name_schema(name: &str) -> Value {
    match name {
        "task" => reference("TaskId"),
        "digest" => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        "device" => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
        "round" => json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
        _ => json!({ "type": "string", "pattern": "^[a-z0-9._-]{1,64}$" }),
    }
}

fn query(route: &Route) -> Vec<Value> {
    let optional = |name: &str, schema: Value| json!({ "name": name, "in": "query", "required": false, "schema": schema });
    match (route.method.as_str(), route.path) {
        ("POST", "/v1/tasks") => vec![optional("dry_run", json!({ "type": "boolean" }))],
        ("GET", "/v1/devices") => vec![
            optional("after", name_schema("device")),
            optional("limit", json!({ "type": "integer", "minimum": 1, "maximum": MOST_DEVICES })),
        ],
        _ => Vec::new(),
    }
}

fn responses(route: &Route) -> Value {
    let mut responses = json!({ route.status.to_string(): answer(route.gives) });
    if let Content::Bytes(media) = route.gives {
        let held = json!({ "description": "The tag in `if-none-match` is the content's" });
        responses["304"] = held;
        responses["206"] = answer(Content::Bytes(media));
    }
    if let Content::JsonOr(_, other) = route.gives {
        responses["200"] = answer(Content::Json(other));
    }
    for status in refusals(route) {
        let status_code = axum::http::StatusCode::from_u16(status);
        let reason = status_code.ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
        let schema = json!({ "schema": reference("Problem") });
        let content = json!({ PROBLEM_TYPE: schema });
        responses[status.to_string()] = json!({ "description": reason, "content": content });
    }
    responses
}

/// Every status with which a route may refuse.
fn refusals(route: &Route) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::from([429, 500, 503]);
    statuses.extend(route.refusals);
    if route.path.contains('{') || !query(route).is_empty() || route.takes != Content::Nothing {
        statuses.insert(400);
    }
    if route.takes != Content::Nothing {
        statuses.extend([408, 413]);
    }
    if route.method != axum::http::Method::GET || route.access == Access::Reader {
        statuses.insert(507);
    }
    if matches!(route.gives, Content::Bytes(_)) {
        statuses.insert(416);
    }
    match route.access {
        Access::Open => {}
        Access::Read => statuses.extend([401]),
        Access::Evaluate | Access::Admin | Access::Device => statuses.extend([401, 403]),
        Access::Reader => statuses.extend([400, 401, 403]),
        Access::Enrolment => statuses.extend([401]),
    }
    statuses
}

fn answer(gives: Content) -> Value {
    match gives {
        Content::Nothing => json!({ "description": "Done" }),
        gives => json!({ "description": "Done", "content": content(gives) }),
    }
}

fn content(content: Content) -> Value {
    const JSON: &str = "application/json";
    let of = |media: &str, schema: Value| json!({ media: { "schema": schema } });
    match content {
        Content::Nothing => json!({}),
        Content::Json(name) | Content::JsonOr(name, _) => of(JSON, reference(name)),
        Content::List(name) => of(JSON, json!({ "type": "array", "items": reference(name) })),
        Content::Message(what) => {
            of(MEDIA_TYPE, json!({ "description": format!("Encoded: {what}") }))
        }
        Content::MessageOr(name) => {
            let encoded = json!({ "schema": { "description": "The same, encoded" } });
            json!({ JSON: { "schema": reference(name) }, MEDIA_TYPE: encoded })
        }
        Content::Bytes(media) => of(media, json!({})),
        Content::Text(media) => of(media, json!({ "type": "string" })),
    }
}
