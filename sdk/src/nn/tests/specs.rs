//! Descriptions: what they say, and what is refused.

use crate::nn::{Error, LAYER_TYPES, LayerSpec, Loss, Model, ModelSpec};

fn with_layers(layers: &str) -> Result<ModelSpec, Error> {
    let text = format!(r#"{{"input": [2, 5, 5], "layers": {layers}, "loss": "cross_entropy"}}"#);
    ModelSpec::from_json(&text)
}

fn code(layers: &str) -> &'static str {
    with_layers(layers).expect_err("refused").code()
}

#[test]
fn the_benchmark_network_has_26010_parameters() {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
    assert_eq!((model.parameters(), model.input_len(), model.output_len()), (26_010, 784, 10));
    assert_eq!(model.initial(1).len(), 26_010);
    let names: Vec<&str> = model.layout().tensors.iter().map(|t| t.name.as_str()).collect();
    let expected = ["0.weight", "0.bias", "3.weight", "3.bias"];
    assert_eq!(names[..4], expected);
    assert_eq!(names[4..], ["7.weight", "7.bias", "9.weight", "9.bias"]);
    assert_eq!(model.layout().tensors[2].shape, [32, 16, 4, 4]);
}

#[test]
fn json_goes_round() {
    let every = r#"[
        {"type": "conv2d", "in": 2, "out": 3, "kernel": 2, "padding": 1},
        {"type": "relu"}, {"type": "tanh"}, {"type": "gelu"}, {"type": "silu"},
        {"type": "sigmoid"}, {"type": "max_pool2d", "kernel": 2, "stride": 1},
        {"type": "avg_pool2d", "kernel": 2}, {"type": "flatten"},
        {"type": "linear", "in": 12, "out": 4, "bias": false}]"#;
    let spec = with_layers(every).expect("valid");
    assert_eq!(spec.layers[0], LayerSpec::conv2d(2, 3, 2, 1, 1));
    let names: Vec<&str> = spec.layers.iter().map(LayerSpec::type_name).collect();
    assert!(LAYER_TYPES.iter().all(|name| names.contains(name)));
    let text = serde_json::to_string(&spec).expect("plain data");
    assert_eq!(ModelSpec::from_json(&text), Ok(spec.clone()));
    assert_eq!(serde_json::from_str::<ModelSpec>(&text).ok(), Some(spec));
}

#[test]
fn initial_parameters_follow_the_seed_and_the_fan_in() {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
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

#[test]
fn a_shape_error_names_the_layer() {
    let layers = r#"[{"type": "flatten"}, {"type": "linear", "in": 49, "out": 3}]"#;
    let error = with_layers(layers).expect_err("50 is not 49");
    assert_eq!(error.to_string(), "layer 1 (linear) is given shape [50], expected [.., 49]");
    assert_eq!(code(r#"[{"type": "conv2d", "in": 1, "out": 1, "kernel": 2}]"#), "nn.shape");
    assert_eq!(code(r#"[{"type": "conv2d", "in": 2, "out": 1, "kernel": 6}]"#), "nn.shape");
    assert_eq!(code(r#"[{"type": "max_pool2d", "kernel": 6}]"#), "nn.shape");
    assert_eq!(code(r#"[{"type": "flatten"}, {"type": "max_pool2d", "kernel": 1}]"#), "nn.shape");
    assert_eq!(code(r#"[{"type": "relu"}]"#), "nn.shape");
}

#[test]
fn meaningless_settings_are_refused() {
    for layer in [
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "stride": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 0, "kernel": 3}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "padding": 3}"#,
        r#"{"type": "avg_pool2d", "kernel": 0}"#,
        r#"{"type": "max_pool2d", "kernel": 2, "stride": 0}"#,
        r#"{"type": "linear", "in": 0, "out": 3}"#,
        r#"{"type": "linear", "in": 18446744073709551615, "out": 3}"#,
    ] {
        assert_eq!(code(&format!("[{layer}]")), "nn.setting", "{layer}");
    }
}

#[test]
fn a_model_too_large_to_address_is_refused() {
    let spec = |input, layers| ModelSpec { input, layers, loss: Loss::CrossEntropy };
    for spec in [
        spec(vec![usize::MAX, 2], vec![]),
        spec(vec![1 << 20], vec![LayerSpec::linear(1 << 20, 1 << 20)]),
        spec(vec![1 << 14, 64, 64], vec![LayerSpec::conv2d(1 << 14, 1, 32, 1, 31)]),
    ] {
        assert_eq!(spec.check().map_err(|error| error.code()), Err("nn.too_large"));
    }
}

#[test]
fn unknown_types_are_named_with_those_there_are() {
    let error = with_layers(r#"[{"type": "lstm", "in": 2}]"#).expect_err("no such layer");
    assert_eq!(error.code(), "nn.unknown_layer");
    let message = error.to_string();
    assert!(message.contains("`lstm`") && message.contains("linear, conv2d"), "{message}");
    let error = serde_json::from_str::<LayerSpec>(r#"{"type": "lstm"}"#).expect_err("refused");
    assert_eq!(error.to_string(), message);
}

#[test]
fn batch_norm_is_refused_with_the_reason() {
    let error = with_layers(r#"[{"type": "batch_norm", "channels": 2}]"#).expect_err("refused");
    assert_eq!(error.code(), "nn.mixes_examples");
    let message = error.to_string();
    assert!(message.contains("mixes examples") && message.contains("group_norm"), "{message}");
}

#[test]
fn unknown_fields_and_other_json_are_refused() {
    let linear = r#"{"type": "flatten"}, {"type": "linear", "in": 50, "out": 3"#;
    assert_eq!(code(&format!(r#"[{linear}, "biass": true}}]"#)), "nn.json");
    assert_eq!(code(r#"[{"type": "relu", "slope": 1}]"#), "nn.json");
    assert_eq!(code(r#"[{"in": 1}]"#), "nn.json");
    assert_eq!(code(r#"[{"type": "linear", "in": -1, "out": 3}]"#), "nn.json");
    let extra = r#"{"input": [1], "layers": [], "loss": "cross_entropy", "extra": 1}"#;
    assert_eq!(ModelSpec::from_json(extra).map_err(|e| e.code()), Err("nn.json"));
    let loss = r#"{"input": [1], "layers": [], "loss": "hinge"}"#;
    assert_eq!(ModelSpec::from_json(loss).map_err(|e| e.code()), Err("nn.json"));
    assert_eq!(ModelSpec::from_json("{").map_err(|e| e.code()), Err("nn.json"));
}

#[test]
fn a_model_without_input_or_parameters_is_refused() {
    let spec = |input: &[usize]| ModelSpec {
        input: input.to_vec(),
        layers: vec![LayerSpec::Tanh],
        loss: Loss::CrossEntropy,
    };
    assert_eq!(Model::new(&spec(&[3])).map(drop), Err(Error::NoParameters));
    for input in [vec![], vec![3, 0]] {
        let error = Model::new(&spec(&input)).map(drop);
        assert_eq!(error, Err(Error::EmptyInput { shape: input }));
    }
}

#[test]
fn wrong_lengths_and_labels_are_refused() {
    let model = Model::new(&ModelSpec::perceptron(4, 3, 2)).expect("valid");
    let parameters = model.initial(1);
    let gradients = |parameters: &[f32], inputs: &[f32], labels: &[u32]| {
        let result = model.for_each_gradient(parameters, inputs, labels, &mut |_, _| {});
        result.map_err(|error| error.code())
    };
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0, 1]), Ok(()));
    assert_eq!(gradients(&parameters, &[], &[]), Ok(()));
    assert_eq!(gradients(&parameters, &[0.0; 7], &[0, 1]), Err("nn.inputs"));
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0, 2]), Err("nn.label"));
    assert_eq!(gradients(&parameters[1..], &[0.0; 8], &[0, 1]), Err("nn.parameters"));
    let code = |error: Error| error.code();
    let wrong = [0.0; 5];
    assert_eq!(model.predict(&parameters, &wrong, 1).map_err(code), Err("nn.inputs"));
    assert_eq!(model.losses(&parameters, &wrong, &[0]).map_err(code), Err("nn.inputs"));
    assert_eq!(model.accuracy(&parameters, &wrong, &[0]).map_err(code), Err("nn.inputs"));
    assert_eq!(model.accuracy(&parameters, &wrong[1..], &[9]).map_err(code), Err("nn.label"));
    assert_eq!(model.accuracy(&parameters, &[], &[]), Ok(0.0));
    assert_eq!(model.predict(&parameters, &[], 0), Ok(vec![]));
}
