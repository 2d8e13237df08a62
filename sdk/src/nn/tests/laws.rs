//! What holds between runs of the engine.

use rayon::prelude::*;

use super::cases::{case, described, model, presets};
use super::checking::{Batch, OUTPUT_TOLERANCE, assert_true_outputs, parameters};
use super::reference::{Oracle, wide};
use crate::nn::{LAYER_TYPES, LayerSpec, Loss, Model, ModelSpec};

/// Gradients of a batch have the bits of each example alone, whatever its place and
/// neighbours.
fn assert_independent(name: &str, model: &Model, seed: u64) {
    let parameters = parameters(model, seed);
    let batch = Batch::new(model, model.micro_batch() + 3, seed + 1);
    let compare = |example: usize, together: &mut [f32]| {
        let (input, target) = batch.example(example);
        let alone = model.per_example_gradients(&parameters, input, target).expect("valid");
        assert!(alone == together, "example {example} of {name}");
    };
    let mut compare = compare;
    model
        .for_each_gradient(&parameters, &batch.inputs, &batch.targets, &mut compare)
        .expect("valid");
}

#[test]
fn gradients_of_a_preset_are_those_of_the_example_alone() {
    presets().iter().for_each(|(name, model)| assert_independent(name, model, 6));
}

#[test]
fn gradients_of_every_layer_are_those_of_the_example_alone() {
    for layer_type in LAYER_TYPES {
        assert_independent(layer_type, &model(&case(layer_type)), 7);
    }
}

#[test]
fn gradients_of_any_width_are_those_of_the_example_alone() {
    for width in [1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 300] {
        assert_independent("perceptron", &model(&ModelSpec::perceptron(width, 11, 3)), 8);
        assert_independent("perceptron", &model(&ModelSpec::perceptron(3, width, 2)), 9);
    }
}

#[test]
fn a_nan_example_does_not_touch_its_neighbours() {
    let without_tokens = presets()
        .into_iter()
        .filter(|(name, _)| matches!(*name, "mnist_cnn" | "cifar_cnn" | "perceptron" | "mlp"));
    let layers = LAYER_TYPES.iter().filter(|layer_type| **layer_type != "embedding");
    let layers = layers.map(|layer_type| (*layer_type, model(&case(layer_type))));
    for (name, model) in without_tokens.chain(layers) {
        let parameters = parameters(&model, 10);
        let mut batch = Batch::new(&model, 3, 11);
        let gradients = |batch: &Batch| {
            let found = model.per_example_gradients(&parameters, &batch.inputs, &batch.targets);
            found.expect("valid")
        };
        let (clean, width, d) = (gradients(&batch), model.input_len(), model.parameters());
        for broken in [f32::NAN, f32::INFINITY] {
            batch.inputs[width..2 * width].fill(broken);
            let found = gradients(&batch);
            assert!(found[..d] == clean[..d] && found[2 * d..] == clean[2 * d..], "{name}");
            assert!(found[d..2 * d].iter().any(|value| !value.is_finite()), "{name}, {broken}");
        }
    }
}

/// Gradients and outputs of a batch, cut into micro-batches that run in parallel.
fn on_threads(threads: usize, model: &Model, batch: &Batch) -> (Vec<f32>, Vec<f32>) {
    let parameters = parameters(model, 12);
    let (size, examples) = (model.micro_batch(), batch.targets.len() / model.target_len());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let bound = model.bind(&parameters).expect("valid");
        let pieces = batch.inputs.par_chunks(size * model.input_len());
        let pieces = pieces.zip(batch.targets.par_chunks(size * model.target_len()));
        let gradients: Vec<Vec<f32>> = pieces
            .map(|(inputs, targets)| {
                let mut kept = Vec::new();
                let keep = &mut |_, gradient: &mut [f32]| kept.extend_from_slice(gradient);
                bound.for_each_gradient(inputs, targets, keep).expect("valid");
                kept
            })
            .collect();
        let outputs = model.predict(&parameters, &batch.inputs, examples).expect("valid");
        (gradients.concat(), outputs)
    })
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let names = ["mnist_cnn", "perceptron", "transformer", "transformer_lora"];
    for (name, model) in presets().iter().filter(|(name, _)| names.contains(name)) {
        let batch = Batch::new(model, 3 * model.micro_batch() + 1, 13);
        let expected = on_threads(1, model, &batch);
        assert!(expected == on_threads(2, model, &batch), "{name}");
        assert!(expected == on_threads(4, model, &batch), "{name}");
    }
}

#[test]
fn outputs_of_the_presets_are_those_of_the_oracle() {
    for (name, model) in presets().iter().filter(|(name, _)| *name != "cifar_cnn") {
        println!("{name}");
        assert_true_outputs(model, &model.initial(14), &Batch::new(model, 2, 15));
    }
}

#[test]
fn predictions_and_accuracy_are_those_of_the_oracle() {
    let model = model(&ModelSpec::mnist_cnn());
    let parameters = model.initial(16);
    let examples = model.micro_batch() + 2;
    let mut batch = Batch::new(&model, examples, 17);
    let outputs = model.predict(&parameters, &batch.inputs, examples).expect("valid");
    let oracle = Oracle::new(&model, &parameters);
    for (example, row) in outputs.chunks(10).enumerate() {
        let expected = oracle.outputs(&wide(batch.example(example).0));
        for (found, expected) in row.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < OUTPUT_TOLERANCE);
        }
        let order = |a: &usize, b: &usize| expected[*a].total_cmp(&expected[*b]);
        batch.targets[example] = (0..10).max_by(order).expect("ten classes") as f32;
    }
    let accuracy = |targets: &[f32]| model.accuracy(&parameters, &batch.inputs, targets);
    assert_eq!(accuracy(&batch.targets), Ok(1.0));
    let mut wrong = batch.targets.clone();
    wrong[0] = (wrong[0] + 1.0) % 10.0;
    assert_eq!(accuracy(&wrong), Ok(1.0 - 1.0 / examples as f64));
}

/// Accuracy of a sequence model counts positions.
#[test]
fn accuracy_of_sequences_is_that_of_positions() {
    let layers = r#"{"type": "linear", "in": 2, "out": 2, "bias": false}"#;
    let model = model(&described("[3, 2]", layers, Loss::SequenceCrossEntropy));
    let inputs = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
    let accuracy = model.accuracy(&[1.0, 0.0, 0.0, 1.0], &inputs, &[0.0, 1.0, 1.0]);
    assert!((accuracy.expect("valid") - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn dropout_is_off_outside_of_training() {
    let spec = case("dropout");
    let mut plain = spec.clone();
    // An activation that changes nothing takes its place, so that names and order stay.
    plain.layers[1] = LayerSpec::Dropout { rate: 0.0 };
    let (with, without) = (model(&spec), model(&plain));
    let parameters = parameters(&with, 18);
    let batch = Batch::new(&with, 70, 19);
    let gradients = |model: &Model| {
        model.per_example_gradients(&parameters, &batch.inputs, &batch.targets).expect("valid")
    };
    assert!(gradients(&with) == gradients(&without));
    let outputs = |model: &Model| model.predict(&parameters, &batch.inputs, 70).expect("valid");
    assert!(outputs(&with) == outputs(&without));
}
