//! Per-example gradients of the CPU kernels against candle's autograd, on examples of
//! their own: every layer, alone and together.

use proptest::prelude::*;

use super::{test_batch, test_values};
use crate::nn::generic::{Batch, GenericModel, Parameters};
use crate::nn::{Error, Model, ModelSpec, device::Device};

/// Of the largest entry of each example's gradient: f32 rounding over some thousand terms.
const TOLERANCE: f32 = 2e-5;

fn model(input: &str, layers: &str, loss: &str) -> Result<Model, Error> {
    let text = format!(r#"{{"input": {input}, "layers": [{layers}], "loss": "{loss}"}}"#);
    Model::new(&ModelSpec::from_json(&text)?)
}

fn assert_parity(model: Model, seed: u64) {
    const EXAMPLES: usize = 3;
    let frozen = test_values(model.frozen_layout().len(), seed + 2);
    let model = model.with_frozen(frozen).expect("as many");
    let parameters: Vec<f32> =
        test_values(model.parameters(), seed).iter().map(|value| 0.5 * value).collect();
    let (inputs, targets) = test_batch(&model, EXAMPLES, seed + 1);
    let found = model.per_example_gradients(&parameters, &inputs, &targets).expect("valid");
    let oracle = GenericModel::new(model.graph(), Device::Cpu).expect("the CPU");
    let all = Parameters { trainable: &parameters, frozen: model.frozen() };
    let batch = Batch { size: EXAMPLES, inputs: &inputs, targets: &targets, dropout: None };
    let expected = oracle.gradients(all, batch).expect("gradients");
    for (found, expected) in found.chunks(parameters.len()).zip(expected.chunks(parameters.len())) {
        let largest = expected.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let close = (f - e).abs() <= TOLERANCE * largest;
            assert!(close, "{index}: {f} for {e}, of {largest}, in {:?}", model.graph().nodes);
        }
    }
    let losses = model.losses(&parameters, &inputs, &targets).expect("valid");
    for (found, expected) in losses.iter().zip(oracle.losses(all, batch).expect("losses")) {
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0));
    }
}

#[test]
fn every_layer_has_the_gradient_of_autograd() {
    let image = "[4, 6, 5]";
    let end = r#"{"type": "flatten"}, {"type": "linear", "in": 120, "out": 3}"#;
    let conv = r#"{"type": "conv2d", "in": 4, "out": 4, "kernel": 3, "padding": 1}"#;
    for layer in [
        r#"{"type": "relu"}"#,
        r#"{"type": "tanh"}"#,
        r#"{"type": "gelu"}"#,
        r#"{"type": "silu"}"#,
        r#"{"type": "sigmoid"}"#,
        r#"{"type": "softmax"}"#,
        r#"{"type": "dropout", "rate": 0.5}"#,
        r#"{"type": "group_norm", "groups": 2, "channels": 4}"#,
        r#"{"type": "layer_norm", "dim": 5}"#,
        r#"{"type": "rms_norm", "dim": 5}"#,
        r#"{"type": "linear", "in": 5, "out": 5}"#,
        r#"{"type": "max_pool2d", "kernel": 3, "stride": 1}, {"type": "conv2d", "in": 4, "out": 4, "kernel": 3, "padding": 2}"#,
        r#"{"type": "conv2d", "in": 4, "out": 4, "kernel": 3, "padding": 1, "groups": 4}"#,
        r#"{"type": "residual", "layers": [{"type": "tanh"}, {"type": "conv2d", "in": 4, "out": 4, "kernel": 1, "trainable": false}]}"#,
    ] {
        let layers = format!("{conv}, {layer}, {end}");
        assert_parity(model(image, &layers, "cross_entropy").expect(layer), 1);
    }
    for pool in ["global_avg_pool2d", "global_max_pool2d"] {
        let layers =
            format!(r#"{conv}, {{"type": "{pool}"}}, {{"type": "linear", "in": 4, "out": 2}}"#);
        assert_parity(model(image, &layers, "bce_with_logits").expect(pool), 2);
    }
}

#[test]
fn sequences_have_the_gradients_of_autograd() {
    let embed = r#"{"type": "embedding", "num": 11, "dim": 8}"#;
    let lora = r#""lora": {"rank": 2, "alpha": 3}"#;
    for layer in [
        r#"{"type": "lstm", "in": 8, "hidden": 8}"#.to_owned(),
        r#"{"type": "gru", "in": 8, "hidden": 8}"#.to_owned(),
        r#"{"type": "self_attention", "dim": 8, "heads": 2, "causal": true}"#.to_owned(),
        format!(r#"{{"type": "self_attention", "dim": 8, "heads": 4, {lora}}}"#),
        format!(r#"{{"type": "linear", "in": 8, "out": 8, {lora}}}"#),
        r#"{"type": "transpose_sequence"}, {"type": "conv1d", "in": 8, "out": 8, "kernel": 3, "padding": 2, "dilation": 2, "groups": 2}, {"type": "max_pool1d", "kernel": 2, "stride": 1}, {"type": "avg_pool1d", "kernel": 2, "stride": 1}, {"type": "group_norm", "groups": 4, "channels": 8}, {"type": "transpose_sequence"}"#.to_owned(),
        r#"{"type": "residual", "layers": [{"type": "rms_norm", "dim": 8}, {"type": "residual", "layers": [{"type": "linear", "in": 8, "out": 8, "trainable": false}]}]}"#.to_owned(),
    ] {
        let head = r#"{"type": "linear", "in": 8, "out": 11, "bias": false, "tied": "0"}"#;
        let layers = format!("{embed}, {layer}, {head}");
        let tied = model("[7]", &layers, "sequence_cross_entropy");
        // Pooling makes the sequence shorter; targets follow.
        assert_parity(tied.expect(&layer), 3);
        for short in ["mean_sequence", "last_step"] {
            let layers = format!(
                r#"{embed}, {layer}, {{"type": "{short}"}}, {{"type": "linear", "in": 8, "out": 4}}"#
            );
            assert_parity(model("[7]", &layers, "mse").expect(&layer), 4);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn convolutions_have_the_gradients_of_autograd(
        groups in 1_usize..4, inputs in 1_usize..4, outputs in 1_usize..4,
        height in 4_usize..9, width in 4_usize..9, kernel in 1_usize..4, stride in 1_usize..4,
        padding in 0_usize..5, dilation in 1_usize..3, bias: bool, seed in 0_u64..1000,
    ) {
        let padding = padding.min((kernel - 1) * dilation);
        let (inputs, outputs) = (inputs * groups, outputs * groups);
        let layers = format!(
            r#"{{"type": "conv2d", "in": 2, "out": {inputs}, "kernel": 1}}, {{"type": "tanh"}},
               {{"type": "conv2d", "in": {inputs}, "out": {outputs}, "kernel": {kernel},
                 "stride": {stride}, "padding": {padding}, "dilation": {dilation},
                 "groups": {groups}, "bias": {bias}}},
               {{"type": "flatten"}}"#
        );
        // A kernel that does not fit makes no model.
        if let Ok(model) = model(&format!("[2, {height}, {width}]"), &layers, "mse") {
            assert_parity(model, seed);
        }
    }

    #[test]
    fn pools_have_the_gradients_of_autograd(
        channels in 1_usize..20, height in 3_usize..8, width in 3_usize..8,
        kernel in 1_usize..4, stride in 1_usize..4, average: bool, seed in 0_u64..1000,
    ) {
        let pool = if average { "avg_pool2d" } else { "max_pool2d" };
        let layers = format!(
            r#"{{"type": "conv2d", "in": 1, "out": {channels}, "kernel": 1}},
               {{"type": "{pool}", "kernel": {kernel}, "stride": {stride}}}, {{"type": "flatten"}}"#
        );
        let model = model(&format!("[1, {height}, {width}]"), &layers, "mse").expect("it fits");
        assert_parity(model, seed);
    }
}
