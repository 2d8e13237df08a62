//! Gradients against finite differences of the reference, and their invariances.

use proptest::prelude::*;

use super::{reference, test_values};
use crate::nn::{LayerSpec, Loss, MICRO_BATCH, Model, ModelSpec};

/// Relative to the largest entry of a gradient: f32 rounding over a few hundred terms.
const TOLERANCE: f64 = 2e-5;

fn model(input: &[usize], layers: Vec<LayerSpec>) -> Model {
    let spec = ModelSpec { input: input.to_vec(), layers, loss: Loss::CrossEntropy };
    Model::new(&spec).expect("the test's own model is valid")
}

/// A small image network around `middle`, which gets and gives images.
fn image_model(channels: usize, side: usize, middle: Vec<LayerSpec>) -> Option<Model> {
    let mut layers = vec![LayerSpec::conv2d(channels, 3, 1, 1, 0)];
    layers.extend(middle);
    layers.push(LayerSpec::Flatten);
    let probe = ModelSpec {
        input: vec![channels, side, side],
        layers: layers.clone(),
        loss: Loss::CrossEntropy,
    };
    let features = probe.output_len().ok()?;
    layers.push(LayerSpec::linear(features, 4));
    Some(model(&[channels, side, side], layers))
}

fn batch(model: &Model, examples: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let inputs = test_values(examples * model.input_len(), seed);
    let classes = model.output_len() as u32;
    (inputs, (0..examples as u32).map(|example| (example * 7 + 1) % classes).collect())
}

/// Gradients equal central differences of the f64 reference, and outputs and losses equal
/// the reference's own.
fn assert_true_gradients(model: &Model, seed: u64) {
    const STEP: f64 = 1e-7;
    // f64 rounding of a loss near 1, divided by the step.
    const ROUNDING: f64 = 2e-8;
    let parameters = model.initial(seed);
    let (inputs, labels) = batch(model, 3, seed + 1);
    let gradients = model.per_example_gradients(&parameters, &inputs, &labels).expect("valid");
    let losses = model.losses(&parameters, &inputs, &labels).expect("valid");
    let exact: Vec<f64> = parameters.iter().map(|value| f64::from(*value)).collect();
    for (example, gradient) in gradients.chunks(model.parameters()).enumerate() {
        let input = &inputs[example * model.input_len()..][..model.input_len()];
        let input: Vec<f64> = input.iter().map(|value| f64::from(*value)).collect();
        let loss = |parameters: &[f64]| {
            reference::loss(model.spec(), parameters, &input, labels[example] as usize)
        };
        let centre = loss(&exact);
        assert!((centre - f64::from(losses[example])).abs() < 1e-5);
        let largest = gradient.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (index, found) in gradient.iter().enumerate() {
            let mut moved = exact.clone();
            moved[index] += STEP;
            let right = (loss(&moved) - centre) / STEP;
            moved[index] = exact[index] - STEP;
            let left = (centre - loss(&moved)) / STEP;
            // Two sides that disagree: a kink, where another pixel becomes the largest.
            if (right - left).abs() > 1e-5 {
                continue;
            }
            let error = (f64::from(*found) - 0.5 * (right + left)).abs();
            let allowed = TOLERANCE * f64::from(largest) + ROUNDING;
            assert!(error < allowed, "{:?}[{index}]: {found} for {right}", model.spec());
        }
    }
}

#[test]
fn linear_gradients_are_true() {
    let linear = |inputs, outputs, bias| LayerSpec::Linear { inputs, outputs, bias };
    assert_true_gradients(&model(&[5], vec![linear(5, 3, true)]), 1);
    assert_true_gradients(&model(&[5], vec![linear(5, 7, false), linear(7, 3, true)]), 2);
    let layers =
        vec![linear(5, 4, true), LayerSpec::Tanh, LayerSpec::Flatten, linear(12, 3, false)];
    assert_true_gradients(&model(&[3, 5], layers), 3);
}

#[test]
fn activation_gradients_are_true() {
    for activation in
        [LayerSpec::Relu, LayerSpec::Tanh, LayerSpec::Gelu, LayerSpec::Silu, LayerSpec::Sigmoid]
    {
        let layers = vec![LayerSpec::linear(6, 9), activation, LayerSpec::linear(9, 4)];
        assert_true_gradients(&model(&[6], layers), 4);
    }
}

#[test]
fn layers_before_the_first_parameter_are_run() {
    let layers = vec![
        LayerSpec::AvgPool2d { kernel: 2, stride: None },
        LayerSpec::Tanh,
        LayerSpec::Flatten,
        LayerSpec::linear(8, 3),
    ];
    assert_true_gradients(&model(&[2, 4, 4], layers), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn image_gradients_are_true(
        channels in 1_usize..3, side in 4_usize..8, kernel in 1_usize..5, stride in 1_usize..4,
        padding in 0_usize..3, pool in 1_usize..3, pool_stride in 1_usize..3,
        bias: bool, average: bool, seed in 0_u64..1000,
    ) {
        let padding = padding.min(kernel - 1);
        let convolution =
            LayerSpec::Conv2d { inputs: 3, outputs: 2, kernel, stride, padding, bias };
        let pool = match average {
            true => LayerSpec::AvgPool2d { kernel: pool, stride: Some(pool_stride) },
            false => LayerSpec::MaxPool2d { kernel: pool, stride: Some(pool_stride) },
        };
        // Where the pool does not fit what the convolution leaves, there is no such model.
        if let Some(model) =
            image_model(channels, side, vec![LayerSpec::Tanh, convolution, LayerSpec::Silu, pool])
        {
            assert_true_gradients(&model, seed);
        }
    }
}

/// Gradients of a batch have the bits of each example alone, whatever its place and
/// neighbours.
#[test]
fn gradients_are_those_of_the_example_alone() {
    let mut models = vec![Model::new(&ModelSpec::mnist_cnn()).expect("valid")];
    for width in [1, 2, 3, 7, 8, 15, 33, 64, 300] {
        let layers = vec![LayerSpec::linear(width, 11), LayerSpec::Gelu, LayerSpec::linear(11, 3)];
        models.push(model(&[width], layers));
    }
    models.push(model(
        &[5, 3],
        vec![LayerSpec::linear(3, 4), LayerSpec::Flatten, LayerSpec::linear(20, 3)],
    ));
    for model in &models {
        let parameters = model.initial(6);
        let (inputs, labels) = batch(model, MICRO_BATCH + 5, 7);
        let together = model.per_example_gradients(&parameters, &inputs, &labels).expect("valid");
        for (example, together) in together.chunks(model.parameters()).enumerate() {
            let input = &inputs[example * model.input_len()..][..model.input_len()];
            let label = &labels[example..=example];
            let alone = model.per_example_gradients(&parameters, input, label).expect("valid");
            assert!(alone == together, "example {example} of {:?}", model.spec());
        }
    }
}

#[test]
fn a_nan_example_does_not_touch_its_neighbours() {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
    let parameters = model.initial(8);
    let (mut inputs, labels) = batch(&model, 3, 9);
    let clean = model.per_example_gradients(&parameters, &inputs, &labels).expect("valid");
    inputs[model.input_len() + 300] = f32::NAN;
    let found = model.per_example_gradients(&parameters, &inputs, &labels).expect("valid");
    let d = model.parameters();
    assert!(found[..d] == clean[..d] && found[2 * d..] == clean[2 * d..]);
    assert!(found[d..2 * d].iter().any(|value| value.is_nan()));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    use rayon::prelude::*;
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
    let parameters = model.initial(10);
    let (inputs, labels) = batch(&model, 3 * MICRO_BATCH + 1, 11);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let bound = model.bind(&parameters).expect("valid");
            let gradients: Vec<Vec<f32>> = inputs
                .par_chunks(MICRO_BATCH * model.input_len())
                .zip(labels.par_chunks(MICRO_BATCH))
                .map(|(inputs, labels)| {
                    let mut kept = Vec::new();
                    bound
                        .for_each_gradient(inputs, labels, &mut |_, gradient| {
                            kept.extend_from_slice(gradient);
                        })
                        .expect("valid");
                    kept
                })
                .collect();
            let outputs = model.predict(&parameters, &inputs, labels.len()).expect("valid");
            (gradients.concat(), outputs)
        })
    };
    assert!(run(1) == run(2));
}

#[test]
fn predictions_are_those_of_the_reference() {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
    let parameters = model.initial(12);
    let (inputs, mut labels) = batch(&model, MICRO_BATCH + 2, 13);
    let outputs = model.predict(&parameters, &inputs, labels.len()).expect("valid");
    let exact: Vec<f64> = parameters.iter().map(|value| f64::from(*value)).collect();
    let rows = outputs.chunks(10).zip(inputs.chunks(784));
    for (label, (row, input)) in labels.iter_mut().zip(rows) {
        let input: Vec<f64> = input.iter().map(|value| f64::from(*value)).collect();
        let expected = reference::outputs(model.spec(), &exact, &input);
        for (found, expected) in row.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5);
        }
        let order = |a: &usize, b: &usize| expected[*a].total_cmp(&expected[*b]);
        *label = (0..10).max_by(order).expect("ten classes") as u32;
    }
    assert_eq!(model.accuracy(&parameters, &inputs, &labels), Ok(1.0));
}
