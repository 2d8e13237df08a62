//! Gradients of every layer against difference quotients of the oracle.

use super::cases::{case, described, model};
use super::checking::assert_true_gradients;
use crate::nn::{Conv2d, LAYER_TYPES, Layer, Linear, Loss, Model, ModelBuilder};

#[test]
fn gradients_of_every_layer_are_true() {
    for (seed, layer_type) in (0..).zip(LAYER_TYPES) {
        println!("{layer_type}");
        assert_true_gradients(model(&case(layer_type)), seed);
    }
}

fn check(input: &str, layers: &str, seed: u64) {
    assert_true_gradients(model(&described(input, layers, Loss::CrossEntropy)), seed);
}

#[test]
fn gradients_through_nested_residuals_are_true() {
    check(
        "[2, 5, 5]",
        r#"{"type": "residual", "layers": [
            {"type": "conv2d", "in": 2, "out": 2, "kernel": 3, "padding": 1},
            {"type": "residual", "layers": [
                {"type": "group_norm", "groups": 1, "channels": 2}, {"type": "tanh"},
                {"type": "residual", "layers": [
                    {"type": "conv2d", "in": 2, "out": 2, "kernel": 3, "padding": 1}]}]}]},
        {"type": "global_avg_pool2d"}, {"type": "linear", "in": 2, "out": 3}"#,
        31,
    );
}

#[test]
fn gradients_beside_frozen_layers_are_true() {
    check(
        "[2, 4, 4]",
        r#"{"type": "conv2d", "in": 2, "out": 4, "kernel": 2, "trainable": false},
        {"type": "group_norm", "groups": 2, "channels": 4, "trainable": false}, {"type": "tanh"},
        {"type": "conv2d", "in": 4, "out": 3, "kernel": 2},
        {"type": "group_norm", "groups": 3, "channels": 3, "trainable": false},
        {"type": "flatten"}, {"type": "linear", "in": 12, "out": 5, "trainable": false},
        {"type": "relu"}, {"type": "linear", "in": 5, "out": 3}"#,
        32,
    );
    check(
        "[5]",
        r#"{"type": "embedding", "num": 6, "dim": 4, "trainable": false},
        {"type": "layer_norm", "dim": 4},
        {"type": "self_attention", "dim": 4, "heads": 2, "trainable": false},
        {"type": "rms_norm", "dim": 4, "trainable": false}, {"type": "gru", "in": 4, "hidden": 3},
        {"type": "lstm", "in": 3, "hidden": 3, "trainable": false}, {"type": "last_step"},
        {"type": "linear", "in": 3, "out": 3, "trainable": false}"#,
        33,
    );
}

#[test]
fn gradients_of_low_rank_changes_are_true() {
    check(
        "[4, 6]",
        r#"{"type": "linear", "in": 6, "out": 6, "lora": {"rank": 2, "alpha": 3}},
        {"type": "self_attention", "dim": 6, "heads": 2, "lora": {"rank": 1, "alpha": 0.5}},
        {"type": "mean_sequence"},
        {"type": "linear", "in": 6, "out": 3, "bias": false, "lora": {"rank": 3, "alpha": 1}}"#,
        34,
    );
}

#[test]
fn gradients_of_a_tied_head_are_true() {
    for head in [r#""bias": false"#, r#""bias": true"#, r#""trainable": false"#] {
        let layers = format!(
            r#"{{"type": "embedding", "num": 5, "dim": 3}},
            {{"type": "residual", "layers": [{{"type": "linear", "in": 3, "out": 3}}]}},
            {{"type": "linear", "in": 3, "out": 5, "tied": "0", {head}}}"#
        );
        let spec = described("[4]", &layers, Loss::SequenceCrossEntropy);
        assert_true_gradients(model(&spec), 35);
    }
}

#[test]
fn gradients_of_every_loss_are_true() {
    let features = r#"{"type": "linear", "in": 3, "out": 5}, {"type": "tanh"},
        {"type": "linear", "in": 5, "out": 4}"#;
    let whole = [Loss::CrossEntropy, Loss::BceWithLogits, Loss::Mse];
    let sequence = [Loss::SequenceCrossEntropy, Loss::BceWithLogits, Loss::Mse];
    let cases = whole.map(|loss| ("[3]", loss)).into_iter();
    for (input, loss) in cases.chain(sequence.map(|loss| ("[6, 3]", loss))) {
        assert_true_gradients(model(&described(input, features, loss)), 36);
    }
}

#[test]
fn layers_before_the_first_parameter_are_run() {
    check(
        "[2, 4, 4]",
        r#"{"type": "avg_pool2d", "kernel": 2}, {"type": "tanh"}, {"type": "flatten"},
        {"type": "softmax"}, {"type": "linear", "in": 8, "out": 3}"#,
        37,
    );
}

#[test]
fn wide_layers_leave_no_rest_behind() {
    // More outputs than a vector has lanes, and not a multiple of them; weights that stay
    // in factors and weights that do not.
    check(
        "[19]",
        r#"{"type": "linear", "in": 19, "out": 37}, {"type": "tanh"},
        {"type": "linear", "in": 37, "out": 17}, {"type": "gelu"},
        {"type": "linear", "in": 17, "out": 3}"#,
        38,
    );
}

/// A value that three operations read gets the sum of what they send back.
#[test]
fn gradients_of_a_value_used_three_times_are_true() {
    let build = || {
        let mut m = ModelBuilder::new(&[2, 5, 4])?;
        let input = m.input();
        let x = Conv2d::new(2, 3, 2).apply(&mut m, "first", input)?;
        let a = m.tanh(x);
        let a = Conv2d::new(3, 3, 3).padding(1).apply(&mut m, "second", a)?;
        let b = m.silu(x);
        let sum = m.add(a, x)?;
        let sum = m.add(sum, b)?;
        let sum = m.add(sum, sum)?;
        let pooled = m.global_avg_pool2d(sum)?;
        let y = Linear::new(3, 4).apply(&mut m, "head", pooled)?;
        Model::of(m.finish(y, Loss::CrossEntropy)?)
    };
    assert_true_gradients(build().expect("valid"), 39);
}
