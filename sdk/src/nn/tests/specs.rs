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
fn presets_have_the_parameters_they_state() {
    for (spec, trained, frozen) in [
        (ModelSpec::cifar_cnn(), 550_570, 0),
        (ModelSpec::mlp(), 535_818, 0),
        (ModelSpec::text(), 324_420, 0),
        (ModelSpec::transformer(), 393_732, 0),
        (ModelSpec::transformer_lora(2, 128, 4, 256, 64, 1000, 4), 14_852, 393_216),
    ] {
        let model = Model::new(&spec).expect("valid");
        assert_eq!((model.parameters(), model.frozen_layout().len()), (trained, frozen));
    }
}

#[test]
fn json_goes_round() {
    let images = r#"[
        {"type": "conv2d", "in": 2, "out": 4, "kernel": 2, "padding": 1, "groups": 2},
        {"type": "relu"}, {"type": "tanh"}, {"type": "gelu"}, {"type": "silu"},
        {"type": "sigmoid"}, {"type": "max_pool2d", "kernel": 2, "stride": 1},
        {"type": "group_norm", "groups": 2, "channels": 4}, {"type": "dropout", "rate": 0.25},
        {"type": "avg_pool2d", "kernel": 2}, {"type": "flatten"},
        {"type": "linear", "in": 16, "out": 4, "bias": false}, {"type": "softmax"}]"#;
    let spec = with_layers(images).expect("valid");
    let tokens = r#"{"input": [9], "loss": "mse", "layers": [
        {"type": "embedding", "num": 5, "dim": 4, "trainable": false},
        {"type": "residual", "layers": [{"type": "layer_norm", "dim": 4},
            {"type": "self_attention", "dim": 4, "heads": 2, "lora": {"rank": 1, "alpha": 2.0}}]},
        {"type": "rms_norm", "dim": 4}, {"type": "lstm", "in": 4, "hidden": 3},
        {"type": "gru", "in": 3, "hidden": 3}, {"type": "transpose_sequence"},
        {"type": "conv1d", "in": 3, "out": 2, "kernel": 3, "dilation": 2},
        {"type": "max_pool1d", "kernel": 2}, {"type": "avg_pool1d", "kernel": 1},
        {"type": "last_step"}]}"#;
    let tokens = ModelSpec::from_json(tokens).expect("valid");
    assert_eq!(spec.layers[6], LayerSpec::max_pool2d(2, 1));
    let mut named: Vec<&str> =
        spec.layers.iter().chain(&tokens.layers).map(LayerSpec::type_name).collect();
    named.extend([
        "layer_norm",
        "self_attention",
        "mean_sequence",
        "global_avg_pool2d",
        "global_max_pool2d",
    ]);
    assert!(LAYER_TYPES.iter().all(|name| named.contains(name)), "{named:?}");
    for spec in [spec, tokens, ModelSpec::transformer_lora(1, 8, 2, 8, 4, 9, 2)] {
        let text = serde_json::to_string(&spec).expect("plain data");
        assert_eq!(ModelSpec::from_json(&text), Ok(spec.clone()));
        assert_eq!(serde_json::from_str::<ModelSpec>(&text).ok(), Some(spec));
    }
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
    let inner = r#"[{"type": "flatten"}, {"type": "residual", "layers": [
        {"type": "linear", "in": 50, "out": 50}, {"type": "linear", "in": 5, "out": 50}]}]"#;
    let message = with_layers(inner).expect_err("50 is not 5").to_string();
    assert_eq!(message, "layer 1_1 (linear) is given shape [50], expected [.., 5]");
    let wider = r#"[{"type": "flatten"}, {"type": "residual", "layers": [
        {"type": "linear", "in": 50, "out": 5}]}]"#;
    assert!(
        with_layers(wider).expect_err("5 is not 50").to_string().starts_with("layer 1 (residual)")
    );
    assert_eq!(code(r#"[{"type": "embedding", "num": 3, "dim": 2}]"#), "nn.shape");
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
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 1, "groups": 2}"#,
        r#"{"type": "group_norm", "channels": 2, "groups": 3}"#,
        r#"{"type": "self_attention", "dim": 5, "heads": 2}"#,
        r#"{"type": "dropout", "rate": 1.0}"#,
        r#"{"type": "dropout", "rate": -0.1}"#,
        r#"{"type": "linear", "in": 5, "out": 3, "lora": {"rank": 0, "alpha": 1}}"#,
        r#"{"type": "linear", "in": 5, "out": 3, "tied": "7"}"#,
        r#"{"type": "residual", "layers": []}"#,
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
        spec(vec![1 << 14, 64, 64], vec![LayerSpec::conv2d(1 << 14, 1, 64, 1, 63)]),
    ] {
        assert_eq!(spec.check().map_err(|error| error.code()), Err("nn.too_large"));
    }
}

#[test]
fn unknown_types_are_named_with_those_there_are() {
    let error = with_layers(r#"[{"type": "lstm2", "in": 2}]"#).expect_err("no such layer");
    assert_eq!(error.code(), "nn.unknown_layer");
    let message = error.to_string();
    assert!(message.contains("`lstm2`") && message.contains("linear, conv1d"), "{message}");
    let error = serde_json::from_str::<LayerSpec>(r#"{"type": "lstm2"}"#).expect_err("refused");
    assert_eq!(error.to_string(), message);
}

#[test]
fn batch_norm_is_refused_with_the_reason() {
    let error = with_layers(r#"[{"type": "batch_norm", "channels": 2}]"#).expect_err("refused");
    assert_eq!(error.code(), "nn.mixes_examples");
    let message = error.to_string();
    assert!(message.contains("mixes examples") && message.contains("group_norm"), "{message}");
    let inside = r#"[{"type": "residual", "layers": [{"type": "sync_batch_norm"}]}]"#;
    assert_eq!(code(inside), "nn.mixes_examples");
}

#[test]
fn blocks_nested_without_end_are_refused() {
    let open = r#"{"type": "residual", "layers": ["#.repeat(17);
    let text = format!("[{open}{}{}]", r#"{"type": "relu"}"#, "]}".repeat(17));
    assert_eq!(code(&text), "nn.setting");
}

#[test]
fn tokens_that_no_row_answers_are_refused() {
    let model = Model::new(&ModelSpec::text()).expect("valid");
    let parameters = model.initial(1);
    for token in [5000.0, -1.0, 0.5, f32::NAN] {
        let mut inputs = vec![1.0; 128];
        inputs[70] = token;
        let error = model.predict(&parameters, &inputs, 2).expect_err("no such row");
        let message = error.to_string();
        let named = "layer 0 (embedding): example 1, position 6 holds";
        assert!(message.starts_with(named) && message.contains("0 to 4999"), "{message}");
    }
}

#[test]
fn hand_written_models_are_checked_alike() {
    use crate::nn::{Conv2d, Layer, Linear, ModelBuilder};
    let mut m = ModelBuilder::new(&[1, 6, 6]).expect("valid");
    let x = m.input();
    let x = Conv2d::new(1, 2, 3).padding(1).apply(&mut m, "a", x).expect("fits");
    let twice = m.add(x, x).expect("one shape");
    let all = m.add(twice, x).expect("one shape");
    let same = Conv2d::new(2, 2, 1).apply(&mut m, "a", all).expect_err("the name is taken");
    assert_eq!(same.code(), "nn.setting");
    let pooled = m.global_avg_pool2d(all).expect("an image");
    let wrong = Linear::new(3, 2).apply(&mut m, "head", pooled).expect_err("2 is not 3");
    assert!(wrong.to_string().starts_with("layer head (linear) is given shape [2]"));
    let y = Linear::new(2, 3).apply(&mut m, "last", pooled).expect("fits");
    assert_eq!(m.clone().finish(x, Loss::Mse).map(drop).map_err(|e| e.code()), Err("nn.shape"));
    let model = Model::of(m.finish(y, Loss::CrossEntropy).expect("whole")).expect("trained");
    assert_eq!(model.parameters(), 2 * 9 + 2 + 2 * 3 + 3);
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
    let gradients = |parameters: &[f32], inputs: &[f32], labels: &[f32]| {
        let result = model.for_each_gradient(parameters, inputs, labels, &mut |_, _| {});
        result.map_err(|error| error.code())
    };
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0.0, 1.0]), Ok(()));
    assert_eq!(gradients(&parameters, &[], &[]), Ok(()));
    assert_eq!(gradients(&parameters, &[0.0; 7], &[0.0, 1.0]), Err("nn.inputs"));
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0.0, 2.0]), Err("nn.label"));
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0.0, 0.5]), Err("nn.label"));
    assert_eq!(gradients(&parameters[1..], &[0.0; 8], &[0.0, 1.0]), Err("nn.parameters"));
    let code = |error: Error| error.code();
    let wrong = [0.0; 5];
    assert_eq!(model.predict(&parameters, &wrong, 1).map_err(code), Err("nn.inputs"));
    assert_eq!(model.losses(&parameters, &wrong, &[0.0]).map_err(code), Err("nn.inputs"));
    assert_eq!(model.accuracy(&parameters, &wrong, &[0.0]).map_err(code), Err("nn.inputs"));
    assert_eq!(model.accuracy(&parameters, &wrong[1..], &[9.0]).map_err(code), Err("nn.label"));
    assert_eq!(model.accuracy(&parameters, &[], &[]), Ok(0.0));
    assert_eq!(model.predict(&parameters, &[], 0), Ok(vec![]));
}
