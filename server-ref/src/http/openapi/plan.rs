//! Schemas of what other crates define: names, plans and settings.

use serde_json::{Map, Value, json};

use super::reference;

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("TaskId", json!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" })),
        ("CreateTask", create_task()),
        ("TaskPlan", task_plan()),
        ("PrivacyPlan", privacy_plan()),
        ("AlgorithmPlan", algorithm_plan()),
        ("FederationPlan", federation_plan()),
        ("RoundPlan", round_plan()),
        ("TaskSettings", task_settings()),
    ]
}

/// An object of these members and no other; all but the `optional` ones are required.
fn object(members: Value, optional: &[&str]) -> Value {
    let empty = Map::new();
    let names = members.as_object().unwrap_or(&empty).keys();
    let required: Vec<_> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    json!({
        "type": "object",
        "properties": members,
        "required": required,
        "additionalProperties": false,
    })
}

/// As [`object`], where every member has a default.
fn optional_object(members: Value) -> Value {
    let mut schema = object(members, &[]);
    schema["required"] = json!([]);
    schema
}

fn integer(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn share() -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1 })
}

fn nonnegative() -> Value {
    json!({ "type": "number", "minimum": 0 })
}

fn positive() -> Value {
    json!({ "type": "number", "exclusiveMinimum": 0 })
}

fn one_of(names: &[&str]) -> Value {
    json!({ "type": "string", "enum": names })
}

/// One of these names, or one of these members alone.
fn variant(names: &[&str], members: Value) -> Value {
    let empty = Map::new();
    let single = members.as_object().unwrap_or(&empty).iter();
    let single = single.map(|(name, schema)| object(json!({ (name.as_str()): schema }), &[]));
    let choices: Vec<Value> = std::iter::once(one_of(names)).chain(single).collect();
    json!({ "oneOf": choices })
}

fn maybe(mut schema: Value) -> Value {
    let kind = schema["type"].clone();
    schema["type"] = json!([kind, "null"]);
    schema
}

const U32: u64 = u32::MAX as u64;
const MS: u64 = i64::MAX as u64;

fn create_task() -> Value {
    let parameters = json!({
        "type": "array",
        "items": { "type": "number" },
        "description": "Initial parameters in flat order, as 32-bit floats",
    });
    let members = json!({
        "plan": reference("TaskPlan"),
        "parameters": parameters,
        "settings": reference("TaskSettings"),
    });
    let mut schema = object(members, &["settings"]);
    schema["examples"] = json!([example()]);
    schema
}

/// A task that can be created: whoever reads or tests the interface begins with it.
fn example() -> Value {
    let phase = |rounds: u64| json!({ "rounds": rounds, "noise_multiplier": 1.0 });
    let privacy = json!({
        "trust": "local", "adjacency": "add_remove", "rate": 0.1, "nominal_examples": 100,
        "clip": 1.0, "resolution_bits": 14, "delta": 1e-5, "local_steps": 2,
        "warmup": phase(1), "main": phase(2),
    });
    let algorithm = json!({
        "importance": "abs", "random_seed": 1,
        "retention": { "start": 0.5, "end": 0.5, "schedule": "static" },
        "scale": {
            "rule": "minimal", "pooling": "row", "centre": false, "beta1": 0.99, "beta2": 0.9,
            "h1": 1e-16, "h2": 1e4, "floor": 0.1,
        },
        "optimizer": { "learning_rate": 0.5, "final_share": 1.0, "momentum": 0.9 },
        "local_learning_rate": 0.1,
    });
    let rounds = json!({
        "cohort": 3, "report_goal": 2, "least_reports": 1, "deadline_ms": 60_000,
        "retry_after_ms": 1_500,
    });
    json!({
        "plan": {
            "task": "example", "model": "{}", "layout": [{ "name": "w", "shape": [2, 3] }],
            "privacy": privacy, "algorithm": algorithm, "rounds": rounds,
        },
        "parameters": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "settings": { "grace_ms": 1_000 },
    })
}

fn task_plan() -> Value {
    let sizes = json!({ "type": "array", "items": integer(0, U32) });
    let tensor = object(json!({ "name": { "type": "string" }, "shape": sizes }), &[]);
    let members = json!({
        "task": reference("TaskId"),
        "model": { "type": "string", "description": "The model's specification, as JSON" },
        "layout": { "type": "array", "items": tensor },
        "privacy": reference("PrivacyPlan"),
        "algorithm": reference("AlgorithmPlan"),
        "rounds": reference("RoundPlan"),
        "federation": reference("FederationPlan"),
    });
    object(members, &["federation"])
}

fn privacy_plan() -> Value {
    let rounds = json!({ "rounds": integer(0, MS), "noise_multiplier": nonnegative() });
    let phase = object(rounds, &[]);
    let members = json!({
        "trust": one_of(&["local"]),
        "adjacency": one_of(&["add_remove", "replace_one"]),
        "rate": share(),
        "nominal_examples": integer(1, U32),
        "clip": positive(),
        "resolution_bits": integer(0, 255),
        "delta": share(),
        "local_steps": integer(1, U32),
        "warmup": phase,
        "main": phase,
    });
    object(members, &[])
}

fn algorithm_plan() -> Value {
    let schedule = one_of(&["static", "linear", "cosine", "step4"]);
    let retention = json!({ "start": share(), "end": share(), "schedule": schedule });
    let scale = json!({
        "rule": one_of(&["none", "whiten", "minimal"]),
        "pooling": one_of(&["coordinate", "row", "tensor"]),
        "centre": { "type": "boolean" },
        "beta1": share(),
        "beta2": share(),
        "h1": positive(),
        "h2": positive(),
        "floor": share(),
    });
    let optimizer = json!({
        "learning_rate": positive(),
        "final_share": share(),
        "momentum": share(),
    });
    let members = json!({
        "importance": one_of(&["abs", "debiased", "random"]),
        "random_seed": integer(0, u64::MAX),
        "retention": object(retention, &[]),
        "scale": object(scale, &[]),
        "optimizer": object(optimizer, &[]),
        "local_learning_rate": nonnegative(),
    });
    object(members, &[])
}

fn federation_plan() -> Value {
    let moment = object(
        json!({ "beta2": share(), "tau": positive(), "debiased": { "type": "boolean" } }),
        &[],
    );
    let krum = object(json!({ "hostile": integer(0, U32), "keep": integer(1, U32) }), &[]);
    let trimmed = object(json!({ "share": share() }), &[]);
    let public = object(json!({ "cap": integer(1, U32) }), &[]);
    let exponent = json!({ "type": "number", "minimum": 0, "maximum": 64 });
    let buffer = json!({ "most_staleness": integer(1, U32), "exponent": exponent });
    let refresh = json!({ "every": integer(1, MS), "exploration": share(), "decay": share() });
    let members = json!({
        "proximal": nonnegative(),
        "adaptivity": variant(&["none"], json!({ "adam": moment, "yogi": moment })),
        "aggregation":
            variant(&["mean", "median"], json!({ "trimmed_mean": trimmed, "multi_krum": krum })),
        "norm_bound": maybe(json!({ "type": "number", "minimum": 1 })),
        "weights": variant(&["uniform"], json!({ "public": public })),
        "buffer": maybe(object(buffer, &[])),
        "refresh": maybe(object(refresh, &[])),
    });
    optional_object(members)
}

fn round_plan() -> Value {
    let members = json!({
        "cohort": integer(1, U32),
        "report_goal": integer(1, U32),
        "least_reports": integer(1, U32),
        "deadline_ms": integer(1, MS),
        "retry_after_ms": integer(0, MS),
    });
    object(members, &[])
}

fn task_settings() -> Value {
    let version = maybe(json!({ "type": "string" }));
    let retry = object(json!({ "least_ms": integer(1, MS), "most_ms": integer(1, MS) }), &[]);
    let members = json!({
        "start_ms": maybe(integer(0, MS)),
        "stop_ms": maybe(integer(0, MS)),
        "least_client": version,
        "most_client": version,
        "separation_ms": integer(0, MS),
        "most_reports": maybe(integer(1, U32)),
        "grace_ms": integer(0, MS),
        "retry": maybe(retry),
        "device_epsilon_cap": maybe(positive()),
        "task_epsilon_cap": maybe(positive()),
        "population": maybe(integer(1, U32)),
    });
    optional_object(members)
}
