//! Every instruction set gives the results of portable code, up to rounding.
//!
//! One test in a binary of its own: forcing a level changes the whole process.

use adafed::SimdLevel;
use adafed::nn::{Loss, Model, ModelSpec};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Relative to the largest entry. Levels differ in fused multiply-adds and in the order of
/// sums: a sum of n terms is off by about sqrt(n) half units in the last place, 2^-24 each,
/// which for the 1,024 terms of the longest sums is 2e-6; some five layers each way follow
/// one another, and their errors add like independent ones: sqrt(10) times that, 6e-6.
const TOLERANCE: f32 = 1e-5;

fn presets() -> Vec<(&'static str, ModelSpec)> {
    vec![
        ("mnist_cnn", ModelSpec::mnist_cnn()),
        ("cifar_cnn", ModelSpec::cifar_cnn()),
        ("perceptron", ModelSpec::perceptron(33, 21, 5)),
        ("mlp", ModelSpec::mlp()),
        ("text", ModelSpec::text()),
        ("transformer", ModelSpec::transformer()),
        ("transformer_lora", ModelSpec::transformer_lora(2, 32, 4, 64, 16, 100, 4)),
        ("every_layer", every_layer()),
    ]
}

/// The layers that no preset has.
fn every_layer() -> ModelSpec {
    let text = r#"{"input": [6, 9, 7], "loss": "mse", "layers": [
        {"type": "conv2d", "in": 6, "out": 12, "kernel": 3, "padding": 2, "stride": 2,
         "dilation": 2, "groups": 3}, {"type": "group_norm", "groups": 4, "channels": 12},
        {"type": "silu"}, {"type": "conv2d", "in": 12, "out": 12, "kernel": 2, "groups": 12},
        {"type": "sigmoid"}, {"type": "avg_pool2d", "kernel": 2, "stride": 1},
        {"type": "flatten"}, {"type": "linear", "in": 72, "out": 40}, {"type": "softmax"}]}"#;
    ModelSpec::from_json(text).expect("the test's own description is valid")
}

fn recurrent() -> ModelSpec {
    let text = r#"{"input": [7, 9], "loss": "bce_with_logits", "layers": [
        {"type": "conv1d", "in": 7, "out": 5, "kernel": 2}, {"type": "transpose_sequence"},
        {"type": "lstm", "in": 5, "hidden": 19}, {"type": "rms_norm", "dim": 19},
        {"type": "gru", "in": 19, "hidden": 13}, {"type": "last_step"},
        {"type": "linear", "in": 13, "out": 3}]}"#;
    ModelSpec::from_json(text).expect("the test's own description is valid")
}

/// Values on `[-1, 1)`; the same for the same seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Whole numbers below `count`, where there are some.
fn whole(values: Vec<f32>, count: Option<usize>) -> Vec<f32> {
    let Some(count) = count else { return values };
    values.into_iter().map(|value| (0.5 * (value + 1.0) * count as f32).floor()).collect()
}

/// Rows of the embedding at the start, if there is one.
fn rows(spec: &ModelSpec) -> Option<usize> {
    let first = serde_json::to_value(&spec.layers[0]).expect("plain data");
    first.get("num").and_then(|rows| rows.as_u64()).map(|rows| rows as usize)
}

/// Outputs and gradients of a few examples; each piece is compared by itself.
fn results(spec: &ModelSpec) -> Vec<(String, Vec<f32>)> {
    const EXAMPLES: usize = 3;
    let model = Model::new(spec).expect("valid");
    let noise = values(model.parameters(), 1);
    let parameters: Vec<f32> =
        model.initial(2).iter().zip(noise).map(|(value, noise)| value + 0.01 * noise).collect();
    let inputs = whole(values(EXAMPLES * model.input_len(), 3), rows(spec));
    let labels = matches!(spec.loss, Loss::CrossEntropy).then(|| model.classes());
    let targets = whole(values(EXAMPLES * model.target_len(), 4), labels);
    let outputs = model.predict(&parameters, &inputs, EXAMPLES).expect("valid");
    let mut results = vec![("outputs".to_owned(), outputs)];
    let mut keep = |example: usize, gradient: &mut [f32]| {
        results.push((format!("gradient {example}"), gradient.to_vec()));
    };
    model.for_each_gradient(&parameters, &inputs, &targets, &mut keep).expect("valid");
    results
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let errors = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    // Written so that NaN, for which every comparison is false, is refused.
    let error = errors.fold(0.0_f32, |worst, error| if error <= worst { worst } else { error });
    assert!(error <= TOLERANCE * largest, "{what}: off by {error}, the largest is {largest}");
    assert!(largest > 0.0, "{what}: nothing to compare");
}

#[test]
fn every_level_gives_the_results_of_portable_code() {
    let mut specs = presets();
    specs.push(("recurrent", recurrent()));
    assert!(SimdLevel::Portable.force());
    let expected: Vec<_> = specs.iter().map(|(_, spec)| results(spec)).collect();
    for level in SimdLevel::available() {
        assert!(level.force(), "{level} is available");
        for ((name, spec), expected) in specs.iter().zip(&expected) {
            for ((piece, found), (_, expected)) in results(spec).iter().zip(expected) {
                assert_close(found, expected, &format!("{level}, {name}, {piece}"));
            }
        }
    }
}
