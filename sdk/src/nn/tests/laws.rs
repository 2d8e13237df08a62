//! Laws that hold for every model.

use super::{test_batch, test_values};
use crate::nn::{Error, Model, ModelSpec};

fn presets() -> Vec<Model> {
    let specs = [
        ModelSpec::mnist_cnn(),
        ModelSpec::perceptron(33, 15, 7),
        ModelSpec::text(),
        ModelSpec::transformer_lora(1, 16, 2, 24, 9, 50, 3),
    ];
    specs.iter().map(|spec| Model::new(spec).expect("valid")).collect()
}

/// Gradients of a batch have the bits of each example alone, whatever its place and
/// neighbours.
#[test]
fn gradients_are_those_of_the_example_alone() {
    for model in presets() {
        let parameters = model.initial(6);
        let count = model.micro_batch().min(20) + 3;
        let (inputs, targets) = test_batch(&model, count, 7);
        let together = model.per_example_gradients(&parameters, &inputs, &targets).expect("valid");
        for example in [0, 1, count - 1] {
            let input = &inputs[example * model.input_len()..][..model.input_len()];
            let target = &targets[example..=example];
            let alone = model.per_example_gradients(&parameters, input, target).expect("valid");
            let d = model.parameters();
            assert!(alone == together[example * d..][..d], "example {example}");
        }
    }
}

#[test]
fn a_nan_example_does_not_touch_its_neighbours() {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("valid");
    let parameters = model.initial(8);
    let (mut inputs, targets) = test_batch(&model, 3, 9);
    let clean = model.per_example_gradients(&parameters, &inputs, &targets).expect("valid");
    inputs[model.input_len() + 300] = f32::NAN;
    let found = model.per_example_gradients(&parameters, &inputs, &targets).expect("valid");
    let d = model.parameters();
    assert!(found[..d] == clean[..d] && found[2 * d..] == clean[2 * d..]);
    assert!(found[d..2 * d].iter().any(|value| value.is_nan()));
    let losses = model.losses(&parameters, &inputs, &targets);
    assert_eq!(losses.map_err(|error| error.code()), Err("nn.not_finite_loss"));
}

#[test]
fn outputs_do_not_depend_on_the_number_of_threads() {
    for model in presets() {
        let parameters = model.initial(10);
        let count = 2 * model.micro_batch() + 1;
        let (inputs, _) = test_batch(&model, count, 11);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| model.predict(&parameters, &inputs, count))
        };
        let one = run(1);
        assert!(one.is_ok() && one == run(2) && one == run(4));
    }
}

#[test]
fn accuracy_counts_the_largest_output() {
    let model = Model::new(&ModelSpec::perceptron(4, 5, 3)).expect("valid");
    let parameters = model.initial(1);
    let inputs = test_values(40, 2);
    let outputs = model.predict(&parameters, &inputs, 10).expect("valid");
    let best = |row: &[f32]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    let mut targets: Vec<f32> = outputs.chunks(3).map(|row| best(row) as f32).collect();
    assert_eq!(model.accuracy(&parameters, &inputs, &targets), Ok(1.0));
    targets[0] = (targets[0] + 1.0) % 3.0;
    assert_eq!(model.accuracy(&parameters, &inputs, &targets), Ok(0.9));
}

#[test]
fn parameters_that_are_not_finite_are_named() {
    let model = Model::new(&ModelSpec::perceptron(4, 5, 3)).expect("valid");
    let mut parameters = model.initial(1);
    parameters[21] = f32::INFINITY;
    let (tensor, index, value) = ("0.bias".to_owned(), 21, f32::INFINITY);
    let error = model.bind(&parameters).map(drop).expect_err("infinite");
    assert_eq!(error, Error::NotFiniteParameter { tensor, index, value });
}
