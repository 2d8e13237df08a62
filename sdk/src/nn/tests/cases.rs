//! A small model around every type of layer, as a description.

use crate::nn::{Loss, Model, ModelSpec};

/// Layer type, input shape, layers.
const CLASSIFIERS: [(&str, &str, &str); 28] = [
    (
        "linear",
        "[5]",
        r#"{"type": "linear", "in": 5, "out": 7, "bias": false}, {"type": "tanh"},
        {"type": "linear", "in": 7, "out": 3}"#,
    ),
    (
        "conv1d",
        "[3, 9]",
        r#"{"type": "conv1d", "in": 3, "out": 4, "kernel": 3, "padding": 2},
        {"type": "silu"}, {"type": "conv1d", "in": 4, "out": 2, "kernel": 2, "stride": 2,
        "dilation": 2, "groups": 2}, {"type": "flatten"}, {"type": "linear", "in": 10, "out": 3}"#,
    ),
    (
        "conv2d",
        "[2, 6, 5]",
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 2, "bias": false},
        {"type": "tanh"}, {"type": "conv2d", "in": 3, "out": 2, "kernel": 3, "stride": 2,
        "padding": 1}, {"type": "flatten"}, {"type": "linear", "in": 12, "out": 3}"#,
    ),
    (
        "embedding",
        "[6]",
        r#"{"type": "embedding", "num": 4, "dim": 5}, {"type": "tanh"},
        {"type": "mean_sequence"}, {"type": "linear", "in": 5, "out": 3}"#,
    ),
    (
        "layer_norm",
        "[4, 5]",
        r#"{"type": "linear", "in": 5, "out": 6},
        {"type": "layer_norm", "dim": 6}, {"type": "flatten"},
        {"type": "linear", "in": 24, "out": 3}"#,
    ),
    (
        "group_norm",
        "[2, 4, 3]",
        r#"{"type": "conv2d", "in": 2, "out": 6, "kernel": 2},
        {"type": "group_norm", "groups": 3, "channels": 6}, {"type": "flatten"},
        {"type": "linear", "in": 36, "out": 3}"#,
    ),
    (
        "rms_norm",
        "[3, 5]",
        r#"{"type": "linear", "in": 5, "out": 6},
        {"type": "rms_norm", "dim": 6}, {"type": "flatten"},
        {"type": "linear", "in": 18, "out": 3}"#,
    ),
    (
        "self_attention",
        "[5, 6]",
        r#"{"type": "self_attention", "dim": 6, "heads": 2},
        {"type": "self_attention", "dim": 6, "heads": 3, "causal": true},
        {"type": "mean_sequence"}, {"type": "linear", "in": 6, "out": 3}"#,
    ),
    (
        "lstm",
        "[5, 3]",
        r#"{"type": "lstm", "in": 3, "hidden": 4}, {"type": "lstm", "in": 4,
        "hidden": 3}, {"type": "last_step"}, {"type": "linear", "in": 3, "out": 3}"#,
    ),
    (
        "gru",
        "[5, 3]",
        r#"{"type": "gru", "in": 3, "hidden": 4}, {"type": "gru", "in": 4,
        "hidden": 3}, {"type": "mean_sequence"}, {"type": "linear", "in": 3, "out": 3}"#,
    ),
    (
        "residual",
        "[3, 4]",
        r#"{"type": "residual", "layers": [{"type": "linear", "in": 4,
        "out": 4}, {"type": "residual", "layers": [{"type": "tanh"}, {"type": "residual",
        "layers": [{"type": "linear", "in": 4, "out": 4}, {"type": "silu"}]}]}]},
        {"type": "mean_sequence"}, {"type": "linear", "in": 4, "out": 3}"#,
    ),
    (
        "relu",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "relu"},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "tanh",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "tanh"},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "gelu",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "gelu"},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "silu",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "silu"},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "sigmoid",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "sigmoid"},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "softmax",
        "[3, 4]",
        r#"{"type": "linear", "in": 4, "out": 5}, {"type": "softmax"},
        {"type": "flatten"}, {"type": "linear", "in": 15, "out": 3}"#,
    ),
    (
        "dropout",
        "[6]",
        r#"{"type": "linear", "in": 6, "out": 9}, {"type": "dropout", "rate": 0.5},
        {"type": "linear", "in": 9, "out": 4}"#,
    ),
    (
        "max_pool1d",
        "[3, 9]",
        r#"{"type": "conv1d", "in": 3, "out": 2, "kernel": 2},
        {"type": "max_pool1d", "kernel": 3, "stride": 2}, {"type": "flatten"},
        {"type": "linear", "in": 6, "out": 3}"#,
    ),
    (
        "max_pool2d",
        "[2, 6, 5]",
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 2},
        {"type": "max_pool2d", "kernel": 2}, {"type": "flatten"},
        {"type": "linear", "in": 12, "out": 3}"#,
    ),
    (
        "avg_pool1d",
        "[3, 9]",
        r#"{"type": "conv1d", "in": 3, "out": 2, "kernel": 2},
        {"type": "avg_pool1d", "kernel": 3}, {"type": "flatten"},
        {"type": "linear", "in": 4, "out": 3}"#,
    ),
    (
        "avg_pool2d",
        "[2, 6, 5]",
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 2},
        {"type": "avg_pool2d", "kernel": 2, "stride": 1}, {"type": "flatten"},
        {"type": "linear", "in": 36, "out": 3}"#,
    ),
    (
        "global_avg_pool2d",
        "[2, 4, 5]",
        r#"{"type": "conv2d", "in": 2, "out": 5, "kernel": 2},
        {"type": "tanh"}, {"type": "global_avg_pool2d"}, {"type": "linear", "in": 5, "out": 3}"#,
    ),
    (
        "global_max_pool2d",
        "[2, 4, 5]",
        r#"{"type": "conv2d", "in": 2, "out": 5, "kernel": 2},
        {"type": "tanh"}, {"type": "global_max_pool2d"}, {"type": "linear", "in": 5, "out": 3}"#,
    ),
    (
        "flatten",
        "[2, 3, 4]",
        r#"{"type": "linear", "in": 4, "out": 3}, {"type": "flatten"},
        {"type": "linear", "in": 18, "out": 3}"#,
    ),
    (
        "mean_sequence",
        "[4, 3]",
        r#"{"type": "linear", "in": 3, "out": 5}, {"type": "tanh"},
        {"type": "mean_sequence"}, {"type": "linear", "in": 5, "out": 3}"#,
    ),
    (
        "last_step",
        "[4, 3]",
        r#"{"type": "linear", "in": 3, "out": 5}, {"type": "tanh"},
        {"type": "last_step"}, {"type": "linear", "in": 5, "out": 3}"#,
    ),
    (
        "transpose_sequence",
        "[4, 3]",
        r#"{"type": "linear", "in": 3, "out": 5},
        {"type": "transpose_sequence"}, {"type": "conv1d", "in": 5, "out": 2, "kernel": 2},
        {"type": "transpose_sequence"}, {"type": "mean_sequence"},
        {"type": "linear", "in": 2, "out": 3}"#,
    ),
];

/// The model around a type of layer.
pub(super) fn case(layer_type: &str) -> ModelSpec {
    let found = CLASSIFIERS.iter().find(|(name, _, _)| *name == layer_type);
    let (_, input, layers) = found.expect("every type of layer has a case");
    described(input, layers, Loss::CrossEntropy)
}

pub(super) fn described(input: &str, layers: &str, loss: Loss) -> ModelSpec {
    let loss = loss.name();
    let text = format!(r#"{{"input": {input}, "layers": [{layers}], "loss": "{loss}"}}"#);
    ModelSpec::from_json(&text).expect("the test's own description is valid")
}

pub(super) fn model(spec: &ModelSpec) -> Model {
    Model::new(spec).expect("the test's own model is valid")
}

/// Every preset, the LoRA one scaled down.
pub(super) fn presets() -> Vec<(&'static str, Model)> {
    let specs = [
        ("mnist_cnn", ModelSpec::mnist_cnn()),
        ("cifar_cnn", ModelSpec::cifar_cnn()),
        ("perceptron", ModelSpec::perceptron(30, 20, 5)),
        ("mlp", ModelSpec::mlp()),
        ("text", ModelSpec::text()),
        ("transformer", ModelSpec::transformer()),
        ("transformer_lora", ModelSpec::transformer_lora(2, 16, 2, 32, 8, 50, 4)),
    ];
    specs.into_iter().map(|(name, spec)| (name, model(&spec))).collect()
}
