//! Descriptions: what they say.

use std::path::Path;

use super::cases::{case, model};
use crate::nn::{LAYER_TYPES, LayerSpec, Loss, Model, ModelSpec};

fn assert_parameters(spec: &ModelSpec, trainable: usize, frozen: usize) {
    let model = model(spec);
    assert_eq!((model.parameters(), model.frozen().len()), (trainable, frozen));
    assert_eq!(model.initial(1).len(), trainable);
}

#[test]
fn presets_have_the_parameters_of_their_documentation() {
    assert_parameters(&ModelSpec::mnist_cnn(), 26_010, 0);
    assert_parameters(&ModelSpec::cifar_cnn(), 550_570, 0);
    assert_parameters(&ModelSpec::perceptron(4, 3, 2), 4 * 3 + 3 + 3 * 2 + 2, 0);
    let mlp = (784 * 512 + 512) + (512 * 256 + 256) + (256 * 10 + 10);
    assert_parameters(&ModelSpec::mlp(), mlp, 0);
    let text = 5000 * 64 + (64 * 64 + 64) + (64 * 4 + 4);
    assert_parameters(&ModelSpec::text(), text, 0);
}

/// Weights and norms of an encoder of this width, without its head.
fn encoder(blocks: usize, dim: usize, hidden: usize, vocabulary: usize) -> usize {
    let attention = 4 * (dim * dim + dim);
    let transform = 2 * dim * hidden + hidden + dim;
    vocabulary * dim + blocks * (attention + transform + 4 * dim) + 2 * dim
}

#[test]
fn transformers_have_the_parameters_of_their_documentation() {
    let trained = encoder(2, 128, 256, 1000) + 128 * 4 + 4;
    assert_parameters(&ModelSpec::transformer(), trained, 0);
    let (dim, hidden, rank) = (256, 1024, 8);
    let low_rank = 12 * rank * (4 * 2 * dim + 2 * (dim + hidden));
    let (trained, frozen) = (low_rank + dim * 4 + 4, encoder(12, dim, hidden, 1000));
    let spec = ModelSpec::transformer_lora(12, dim, 4, hidden, 64, 1000, rank);
    assert_parameters(&spec, trained, frozen);
    assert!((9_500_000..10_500_000).contains(&(trained + frozen)));
}

#[test]
fn parameters_are_named_by_position() {
    let model = model(&ModelSpec::mnist_cnn());
    assert_eq!((model.input_len(), model.output_len(), model.classes()), (784, 10, 10));
    let names: Vec<&str> = model.layout().tensors.iter().map(|t| t.name.as_str()).collect();
    let expected = ["0.weight", "0.bias", "3.weight", "3.bias"];
    assert_eq!(names[..4], expected);
    assert_eq!(names[4..], ["7.weight", "7.bias", "9.weight", "9.bias"]);
    assert_eq!(model.layout().tensors[2].shape, [32, 16, 4, 4]);
}

#[test]
fn parameters_inside_of_layers_are_named_by_both() {
    let model = model(&ModelSpec::transformer_lora(1, 4, 2, 8, 3, 5, 2));
    let names: Vec<&str> = model.layout().tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names[..2], ["1_1.q.lora_a", "1_1.q.lora_b"]);
    assert_eq!(names[8..10], ["2_1.lora_a", "2_1.lora_b"]);
    let frozen: Vec<&str> = model.frozen_layout().tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(frozen[..4], ["0.weight", "1_0.weight", "1_0.bias", "1_1.q.weight"]);
}

#[test]
fn every_layer_goes_round_through_json() {
    for layer_type in LAYER_TYPES {
        let spec = case(layer_type);
        assert!(spec.layers.iter().any(|layer| layer.type_name() == *layer_type));
        let text = serde_json::to_string(&spec).expect("plain data");
        assert_eq!(ModelSpec::from_json(&text), Ok(spec.clone()));
        assert_eq!(serde_json::from_str::<ModelSpec>(&text).ok(), Some(spec));
    }
}

#[test]
fn settings_go_round_through_json() {
    for layer in [
        r#"{"type": "linear", "in": 2, "out": 3, "bias": false, "trainable": false}"#,
        r#"{"type": "linear", "in": 2, "out": 3, "lora": {"rank": 2, "alpha": 0.5}}"#,
        r#"{"type": "linear", "in": 2, "out": 3, "tied": "0"}"#,
        r#"{"type": "conv2d", "in": 4, "out": 6, "kernel": 3, "stride": 2, "padding": 1,
            "dilation": 2, "groups": 2, "bias": false, "trainable": false}"#,
        r#"{"type": "self_attention", "dim": 4, "heads": 2, "causal": true,
            "lora": {"rank": 1, "alpha": 2.0}}"#,
        r#"{"type": "max_pool2d", "kernel": 3, "stride": 1}"#,
        r#"{"type": "avg_pool1d", "kernel": 3}"#,
        r#"{"type": "dropout", "rate": 0.25}"#,
    ] {
        let read: LayerSpec = serde_json::from_str(layer).expect("valid");
        let written = serde_json::to_value(&read).expect("plain data");
        let given: serde_json::Value = serde_json::from_str(layer).expect("valid");
        let given = given.as_object().expect("an object");
        assert!(given.iter().all(|(name, value)| written.get(name) == Some(value)), "{written}");
        assert_eq!(serde_json::from_value::<LayerSpec>(written).ok(), Some(read));
    }
}

#[test]
fn initial_parameters_follow_the_seed_and_the_fan_in() {
    let model = model(&ModelSpec::mnist_cnn());
    let parameters = model.initial(5);
    assert_eq!(parameters, model.initial(5));
    assert_ne!(parameters, model.initial(6));
    for (tensor, range) in model.layout().ranges() {
        let fan_in = match tensor.name.split('.').next() {
            Some("0") => 64.0_f32,
            Some("3") => 256.0,
            Some("7") => 512.0,
            _ => 32.0,
        };
        let values = &parameters[range];
        assert!(values.iter().all(|value| value.abs() <= 1.0 / fan_in.sqrt()));
        let spread = values.iter().any(|v| *v > 0.5 / fan_in.sqrt())
            && values.iter().any(|v| *v < -0.5 / fan_in.sqrt());
        assert!(spread, "{}", tensor.name);
    }
}

/// LoRA starts at zero: the first outputs are those of the base alone.
#[test]
fn low_rank_changes_start_at_nothing() {
    let model = model(&ModelSpec::transformer_lora(1, 4, 2, 8, 3, 5, 2));
    let parameters = model.initial(1);
    for (tensor, range) in model.layout().ranges() {
        let zero = parameters[range].iter().all(|value| *value == 0.0);
        assert_eq!(zero, tensor.name.ends_with("lora_b"), "{}", tensor.name);
    }
}

#[derive(serde::Deserialize)]
struct Manifest {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    layers: Vec<LayerSpec>,
    loss: Loss,
    parameters: usize,
}

/// Shape of one example of a case, from the file with its tensors.
fn input_shape(folder: &Path, file: &str) -> Vec<usize> {
    let bytes = std::fs::read(folder.join(file)).expect("the manifest names it");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
    tensors.tensor("x").expect("inputs").shape()[1..].to_vec()
}

#[test]
fn vectors_of_another_framework_have_the_stated_parameters() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/gradients");
    let Ok(text) = std::fs::read_to_string(folder.join("manifest.json")) else {
        println!("skipped: there is no {}", folder.display());
        return;
    };
    let manifest: Manifest = serde_json::from_str(&text).expect("layers that there are");
    for Case { file, layers, loss, parameters } in manifest.cases {
        let spec = ModelSpec { input: input_shape(&folder, &file), features: None, layers, loss };
        let model = Model::new(&spec).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(model.parameters() + model.frozen().len(), parameters, "{file}");
    }
}
