//! What is refused: descriptions, parameters, examples.

use super::cases::{described, model};
use crate::nn::{Embedding, Error, Layer, LayerSpec, Linear, Loss, Model, ModelBuilder, ModelSpec};

fn with_layers(layers: &str) -> Result<ModelSpec, Error> {
    let text = format!(r#"{{"input": [2, 5, 5], "layers": {layers}, "loss": "cross_entropy"}}"#);
    ModelSpec::from_json(&text)
}

fn code(layers: &str) -> &'static str {
    with_layers(layers).expect_err("refused").code()
}

#[test]
fn a_shape_error_names_the_layer() {
    let layers = r#"[{"type": "flatten"}, {"type": "linear", "in": 49, "out": 3}]"#;
    let error = with_layers(layers).expect_err("50 is not 49");
    assert_eq!(error.to_string(), "layer 1 (linear) is given shape [50], expected [.., 49]");
    let inside = r#"[{"type": "flatten"}, {"type": "residual", "layers":
        [{"type": "linear", "in": 49, "out": 3}]}]"#;
    let error = with_layers(inside).expect_err("50 is not 49");
    assert_eq!(error.to_string(), "layer 1_0 (linear) is given shape [50], expected [.., 49]");
    let changed = r#"[{"type": "flatten"}, {"type": "residual", "layers":
        [{"type": "linear", "in": 50, "out": 3}]}]"#;
    let Err(Error::Shape { layer, layer_type, found, .. }) = with_layers(changed) else {
        panic!("a residual block keeps the shape");
    };
    assert_eq!((&layer[..], layer_type, found), ("1", "residual", vec![3]));
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    for layers in [
        r#"[{"type": "conv2d", "in": 1, "out": 1, "kernel": 2}]"#,
        r#"[{"type": "conv2d", "in": 2, "out": 1, "kernel": 6}]"#,
        r#"[{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "dilation": 3}]"#,
        r#"[{"type": "conv1d", "in": 2, "out": 1, "kernel": 1}]"#,
        r#"[{"type": "max_pool2d", "kernel": 6}]"#,
        r#"[{"type": "flatten"}, {"type": "max_pool2d", "kernel": 1}]"#,
        r#"[{"type": "max_pool1d", "kernel": 1}]"#,
        r#"[{"type": "global_avg_pool2d"}, {"type": "global_avg_pool2d"}]"#,
        r#"[{"type": "embedding", "num": 5, "dim": 2}]"#,
        r#"[{"type": "layer_norm", "dim": 4}]"#,
        r#"[{"type": "group_norm", "groups": 1, "channels": 3}]"#,
        r#"[{"type": "flatten"}, {"type": "group_norm", "groups": 1, "channels": 50}]"#,
        r#"[{"type": "self_attention", "dim": 5, "heads": 1}]"#,
        r#"[{"type": "lstm", "in": 5, "hidden": 1}]"#,
        r#"[{"type": "gru", "in": 5, "hidden": 1}]"#,
        r#"[{"type": "mean_sequence"}]"#,
        r#"[{"type": "last_step"}]"#,
        r#"[{"type": "transpose_sequence"}]"#,
        r#"[{"type": "relu"}]"#,
        "[]",
    ] {
        assert_eq!(code(layers), "nn.shape", "{layers}");
    }
}

#[test]
fn meaningless_settings_are_refused() {
    for layer in [
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "stride": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "dilation": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 0, "kernel": 3}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "padding": 3}"#,
        r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3, "groups": 0}"#,
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "groups": 2}"#,
        r#"{"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "groups": 3}"#,
        r#"{"type": "group_norm", "groups": 0, "channels": 2}"#,
        r#"{"type": "group_norm", "groups": 3, "channels": 2}"#,
        r#"{"type": "self_attention", "dim": 5, "heads": 2}"#,
        r#"{"type": "self_attention", "dim": 5, "heads": 0}"#,
        r#"{"type": "dropout", "rate": 1.0}"#,
        r#"{"type": "dropout", "rate": -0.1}"#,
        r#"{"type": "linear", "in": 5, "out": 3, "lora": {"rank": 0, "alpha": 1}}"#,
        r#"{"type": "linear", "in": 5, "out": 3, "lora": {"rank": 1, "alpha": 1e300}}"#,
        r#"{"type": "linear", "in": 5, "out": 3, "tied": "7"}"#,
        r#"{"type": "avg_pool2d", "kernel": 0}"#,
        r#"{"type": "max_pool2d", "kernel": 2, "stride": 0}"#,
        r#"{"type": "residual", "layers": []}"#,
        r#"{"type": "linear", "in": 0, "out": 3}"#,
        r#"{"type": "linear", "in": 18446744073709551615, "out": 3}"#,
    ] {
        assert_eq!(code(&format!("[{layer}]")), "nn.setting", "{layer}");
    }
    let spec = |rate| ModelSpec {
        input: vec![3],
        features: None,
        layers: vec![LayerSpec::linear(3, 2), LayerSpec::Dropout { rate }],
        loss: Loss::CrossEntropy,
    };
    let error = spec(f32::NAN).check().expect_err("no probability").to_string();
    assert_eq!(error, "layer 1 (dropout): rate is NaN, expected a number in [0, 1)");
    assert_eq!(spec(0.0).check(), Ok(()));
}

/// A tied head needs an earlier embedding of its own shape.
#[test]
fn tied_weights_that_do_not_fit_are_refused() {
    let tied = |settings: &str| {
        let text = format!(
            r#"{{"input": [4], "loss": "sequence_cross_entropy", "layers": [
            {{"type": "embedding", "num": 5, "dim": 3}}, {{"type": "linear", {settings}}}]}}"#
        );
        ModelSpec::from_json(&text).map(drop)
    };
    assert_eq!(tied(r#""in": 3, "out": 5, "tied": "0""#), Ok(()));
    for settings in [r#""in": 3, "out": 5, "tied": "1""#, r#""in": 3, "out": 4, "tied": "0""#] {
        let Err(Error::Setting { layer, setting, .. }) = tied(settings) else {
            panic!("there is no such embedding");
        };
        assert_eq!((&layer[..], setting), ("1", "tied"));
    }
}

fn nested(blocks: usize) -> String {
    let (open, close) = (r#"{"type": "residual", "layers": ["#, "]}");
    let inside =
        format!("{}{}{}", open.repeat(blocks), r#"{"type": "tanh"}"#, close.repeat(blocks));
    format!(r#"[{{"type": "flatten"}}, {inside}]"#)
}

#[test]
fn blocks_nested_too_deep_are_refused() {
    assert_eq!(with_layers(&nested(16)).map(drop), Ok(()));
    let error = with_layers(&nested(17)).expect_err("too deep").to_string();
    assert!(error.contains("nested too deep"), "{error}");
    // Beyond what the JSON reader follows; it gives up before the stack does.
    assert_eq!(code(&nested(10_000)), "nn.json");
}

#[test]
fn a_model_too_large_to_address_is_refused() {
    let spec =
        |input, layers| ModelSpec { input, features: None, layers, loss: Loss::CrossEntropy };
    for spec in [
        spec(vec![usize::MAX, 2], vec![]),
        spec(vec![1 << 20], vec![LayerSpec::linear(1 << 20, 1 << 20)]),
        spec(vec![1 << 14, 80, 80], vec![LayerSpec::conv2d(1 << 14, 1, 32, 1, 31)]),
        spec(vec![3], vec![LayerSpec::Tanh; 1 << 15]),
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
    for layers in [
        r#"[{"type": "batch_norm", "channels": 2}]"#,
        r#"[{"type": "residual", "layers": [{"type": "residual", "layers":
            [{"type": "batch_norm2d", "channels": 2}]}]}]"#,
    ] {
        let error = with_layers(layers).expect_err("refused");
        assert_eq!(error.code(), "nn.mixes_examples");
        let message = error.to_string();
        assert!(message.contains("mixes examples") && message.contains("group_norm"), "{message}");
    }
}

#[test]
fn unknown_fields_and_other_json_are_refused() {
    let linear = r#"{"type": "flatten"}, {"type": "linear", "in": 50, "out": 3"#;
    assert_eq!(code(&format!(r#"[{linear}, "biass": true}}]"#)), "nn.json");
    assert_eq!(code(r#"[{"type": "relu", "slope": 1}]"#), "nn.json");
    assert_eq!(code(r#"[{"in": 1}]"#), "nn.json");
    assert_eq!(code(r#"[{"type": "linear", "in": -1, "out": 3}]"#), "nn.json");
    assert_eq!(code(r#"[{"type": "dropout", "rate": null}]"#), "nn.json");
    let extra = r#"{"input": [1], "layers": [], "loss": "cross_entropy", "extra": 1}"#;
    assert_eq!(ModelSpec::from_json(extra).map_err(|e| e.code()), Err("nn.json"));
    let loss = r#"{"input": [1], "layers": [], "loss": "hinge"}"#;
    assert_eq!(ModelSpec::from_json(loss).map_err(|e| e.code()), Err("nn.json"));
    assert_eq!(ModelSpec::from_json("{").map_err(|e| e.code()), Err("nn.json"));
}

#[test]
fn a_model_without_input_or_parameters_is_refused() {
    let spec = |input: &[usize], layers| {
        let (input, loss) = (input.to_vec(), Loss::CrossEntropy);
        ModelSpec { input, features: None, layers, loss }
    };
    let frozen = LayerSpec::Linear(Linear::new(3, 2).trainable(false));
    for layer in [LayerSpec::Tanh, frozen] {
        assert_eq!(Model::new(&spec(&[3], vec![layer])).map(drop), Err(Error::NoParameters));
    }
    for input in [vec![], vec![3, 0]] {
        let error = Model::new(&spec(&input, vec![LayerSpec::Tanh])).map(drop);
        assert_eq!(error, Err(Error::EmptyInput { shape: input }));
    }
}

#[test]
fn losses_refuse_outputs_of_another_shape() {
    let check = |input: &[usize], loss| {
        let spec = ModelSpec {
            input: input.to_vec(),
            features: None,
            layers: vec![LayerSpec::linear(2, 2)],
            loss,
        };
        spec.check().map_err(|error| error.to_string())
    };
    for (loss, fits) in [
        (Loss::CrossEntropy, [true, false, false]),
        (Loss::SequenceCrossEntropy, [false, true, false]),
        (Loss::BceWithLogits, [true, true, false]),
        (Loss::Mse, [true, true, false]),
    ] {
        for (input, fits) in [&[2][..], &[3, 2], &[4, 3, 2]].into_iter().zip(fits) {
            let found = check(input, loss);
            assert_eq!(found.is_ok(), fits, "{loss:?} of {input:?}");
            let named = |error: String| error.contains(&format!("output ({})", loss.name()));
            assert!(found.err().is_none_or(named), "{loss:?}");
        }
    }
}

#[test]
fn a_built_model_refuses_loose_ends_and_doubled_names() {
    let mut m = ModelBuilder::new(&[3]).expect("valid");
    let x = m.input();
    let a = Linear::new(3, 2).apply(&mut m, "a", x).expect("fits");
    let doubled = Linear::new(3, 2).apply(&mut m.clone(), "a", x).map(drop);
    assert!(matches!(doubled, Err(Error::Setting { setting: "name", .. })));
    let late = Embedding::new(3, 2).apply(&mut m, "e", a).map(drop);
    assert!(matches!(late, Err(Error::Shape { .. })));
    let unequal = m.clone().add(x, a).map(drop);
    assert!(matches!(unequal, Err(Error::Shape { .. })));
    m.tanh(x);
    let code = |end| m.clone().finish(end, Loss::CrossEntropy).map_err(|error| error.code());
    assert_eq!((code(a).err(), code(x).err()), (Some("nn.shape"), Some("nn.shape")));
}

#[test]
fn tokens_that_name_no_row_are_refused() {
    let layers = r#"{"type": "embedding", "num": 5, "dim": 2}, {"type": "mean_sequence"}"#;
    let model = model(&described("[3]", layers, Loss::CrossEntropy));
    let parameters = model.initial(1);
    for value in [5.0, 2.5, -1.0, f32::NAN, f32::INFINITY] {
        let inputs = [0.0, 4.0, 1.0, 2.0, value, 0.0];
        let Err(Error::Token { layer, example, position, rows, .. }) =
            model.per_example_gradients(&parameters, &inputs, &[0.0, 1.0])
        else {
            panic!("{value} is no token");
        };
        assert_eq!((&layer[..], example, position, rows), ("0", 1, 1, 5));
        let code = model.predict(&parameters, &inputs, 2).map_err(|error| error.code());
        assert_eq!(code, Err("nn.token"));
    }
}

#[test]
fn parameters_that_are_not_finite_are_named() {
    let model = model(&ModelSpec::perceptron(4, 3, 2));
    for broken in [f32::NAN, f32::NEG_INFINITY] {
        let mut parameters = model.initial(1);
        parameters[13] = broken;
        let Err(Error::NotFiniteParameter { tensor, index, .. }) =
            model.bind(&parameters).map(drop)
        else {
            panic!("{broken} is not finite");
        };
        assert_eq!((&tensor[..], index), ("0.bias", 13));
    }
}

#[test]
fn wrong_lengths_and_labels_are_refused() {
    let model = model(&ModelSpec::perceptron(4, 3, 2));
    let parameters = model.initial(1);
    let gradients = |parameters: &[f32], inputs: &[f32], labels: &[f32]| {
        let result = model.for_each_gradient(parameters, inputs, labels, &mut |_, _| {});
        result.map_err(|error| error.code())
    };
    assert_eq!(gradients(&parameters, &[0.0; 8], &[0.0, 1.0]), Ok(()));
    assert_eq!(gradients(&parameters, &[], &[]), Ok(()));
    assert_eq!(gradients(&parameters, &[0.0; 7], &[0.0, 1.0]), Err("nn.inputs"));
    for label in [2.0, 0.5, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(gradients(&parameters, &[0.0; 8], &[0.0, label]), Err("nn.label"), "{label}");
    }
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

#[test]
fn targets_that_are_not_whole_are_refused() {
    let layers = r#"{"type": "linear", "in": 2, "out": 3}"#;
    let model = model(&described("[2]", layers, Loss::Mse));
    let losses = |targets: &[f32]| {
        let found = model.losses(&model.initial(1), &[0.0; 4], targets);
        found.map(|losses| losses.len())
    };
    assert_eq!(losses(&[0.5; 6]), Ok(2));
    assert_eq!(losses(&[0.5; 5]), Err(Error::Targets { found: 5, expected: 3 }));
    assert_eq!(losses(&[0.5; 3]).map_err(|error| error.code()), Err("nn.inputs"));
}

#[test]
fn a_loss_that_is_not_finite_is_named() {
    let model = model(&ModelSpec::perceptron(2, 3, 2));
    let parameters = model.initial(1);
    let inputs = [0.0, 1.0, f32::NAN, 1.0];
    let found = model.losses(&parameters, &inputs, &[0.0, 1.0]);
    assert!(matches!(found, Err(Error::NotFiniteLoss { example: 1, loss }) if loss.is_nan()));
}

#[test]
fn frozen_parameters_of_another_length_are_refused() {
    let model = model(&ModelSpec::transformer_lora(1, 4, 2, 8, 3, 5, 2));
    let expected = model.frozen().len();
    let error = model.with_frozen(vec![0.0; 3]).map(drop);
    assert_eq!(error, Err(Error::Parameters { found: 3, expected }));
}

#[test]
fn codes_are_stable_and_nothing_is_worth_a_retry() {
    let error = with_layers("{").expect_err("no JSON");
    assert_eq!((error.code(), error.is_retryable()), ("nn.json", false));
    let mixes = Error::MixesExamples { layer_type: "batch_norm".to_owned() };
    assert_eq!((mixes.code(), mixes.is_retryable()), ("nn.mixes_examples", false));
}
