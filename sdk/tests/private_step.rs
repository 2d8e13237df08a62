//! The private step against the per-example gradients that it never forms: same integers
//! on any number of threads, a norm that nothing gets past, and the clipped vector itself.

mod step;

use adafed::algorithm::Standardisation;
use adafed::nn::{Model, ModelSpec};

use step::{Step, standardised, values};

/// Grid steps in one clip norm: the sensitivity.
const SENSITIVITY: f64 = (1 << 18) as f64;
/// Relative error of an entry beside the rounding to the grid, also as a share of the
/// largest entry: f32 rounding of the two ways to a gradient, over a few hundred terms.
const RELATIVE: f64 = 1e-5;
/// What the norm bound may be above the norm, so that it never comes out too small: for a
/// layer of n inputs half of (n + 16) 2^-23, n up to 784.
const NORM_SLACK: f64 = 800.0 / (1 << 24) as f64;

/// Share of C that is kept for rounding the factors of outer products under a centre, for the
/// models here.
const LATE_CENTRE: f64 = 0.01;

fn presets() -> Vec<(&'static str, Model)> {
    let specs = [
        ("mnist_cnn", ModelSpec::mnist_cnn()),
        ("mlp", ModelSpec::mlp()),
        ("text", ModelSpec::text()),
        ("transformer", ModelSpec::transformer()),
    ];
    specs.map(|(name, spec)| (name, Model::new(&spec).expect("valid"))).into()
}

/// A scale from 1/2 to 2 for each coordinate.
fn scale(d: usize) -> Vec<f32> {
    values(d, 1).iter().map(|value| value.exp2()).collect()
}

fn scaled(d: usize) -> Standardisation {
    Standardisation::new(d, None, Some(scale(d))).expect("above 0")
}

fn centred(d: usize) -> Standardisation {
    let centre = values(d, 2).iter().map(|value| 1e-3 * value).collect();
    Standardisation::new(d, Some(centre), Some(scale(d))).expect("above 0")
}

#[test]
fn sums_have_the_same_bits_on_any_number_of_threads() {
    for (name, model) in presets() {
        for standardisation in [scaled(model.parameters()), centred(model.parameters())] {
            let step = Step::new(&model, standardisation, 2 * model.micro_batch() + 3);
            let indices: Vec<usize> = (0..step.examples()).collect();
            let sum = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("threads").install(|| step.sum(&indices))
            };
            let expected = sum(1);
            assert!(expected.iter().any(|value| *value != 0), "{name}");
            assert!(expected == sum(2) && expected == sum(4), "{name}");
        }
    }
}

#[test]
fn the_sum_of_a_batch_is_that_of_its_examples() {
    for (name, model) in presets() {
        let step = Step::new(&model, scaled(model.parameters()), 5);
        let mut total = vec![0; model.parameters()];
        for example in 0..5 {
            total.iter_mut().zip(step.sum(&[example])).for_each(|(sum, value)| *sum += value);
        }
        // Weights of outer products are rounded once a sum: half a step for each of six sums.
        let whole = step.sum(&[0, 1, 2, 3, 4]);
        assert!(whole.iter().zip(&total).all(|(a, b)| (a - b).abs() <= 3), "{name}");
        assert!(whole == step.sum(&[3, 1, 4, 0, 2]), "{name}");
        assert!(step.sum(&[]).iter().all(|value| *value == 0), "{name}");
    }
}

/// L2 norm of integers, exact up to the last rounding.
fn norm(sum: &[i64]) -> f64 {
    (sum.iter().map(|value| i128::from(*value).pow(2)).sum::<i128>() as f64).sqrt()
}

/// What rounding the factors of an outer product moves an entry by, at most, in grid steps:
/// a product of entries up to `largest` grid steps is one of integers up to
/// M = sqrt(2) sqrt(256 largest) in units of 1/256, and each of them loses less than 1. The
/// scale, at least 1/2, comes after.
fn outer_rounding(largest: f64) -> f64 {
    2.0 * (2.0 * (2.0 * 256.0 * largest).sqrt() + 1.0) / 256.0
}

/// One example's release without noise is its standardised gradient, clipped, on the grid.
fn assert_clipped(name: &str, step: &Step<'_>, example: usize) {
    let norm = norm(&step.sum(&[example]));
    assert!(norm <= SENSITIVITY, "{name}: {norm}");
    let gradient = standardised(step, example);
    let length = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
    let root = (gradient.len() as f64).sqrt();
    let radius = SENSITIVITY * (1.0 - f64::exp2(-21.0)) - root / 2.0;
    let factor = (radius / length).min(SENSITIVITY / step::CLIP);
    let largest = gradient.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let found = step.release(&[example]);
    assert_eq!(found.len(), gradient.len());
    let outer = outer_rounding(factor * step.largest(example));
    // Weights of outer products shrink the radius by 1.125 sqrt(k) instead of half of it.
    // A centre that is taken off in the sum shrinks it by the rounding of factors, too.
    let late = if step.standardisation.centres().is_some() { LATE_CENTRE } else { 0.0 };
    let shrinking = 0.625 * root / SENSITIVITY + late;
    for (index, (found, value)) in found.iter().zip(&gradient).enumerate() {
        let expected = value * factor;
        let allowed = 0.5
            + outer
            + shrinking * expected.abs()
            + NORM_SLACK * expected.abs()
            + RELATIVE * (expected.abs() + factor * largest);
        let error = (*found as f64 - expected).abs();
        assert!(error <= allowed, "{name}, {index}: {found} for {expected}");
    }
}

#[test]
fn one_example_gives_its_clipped_gradient() {
    for (name, model) in presets() {
        let step = Step::new(&model, scaled(model.parameters()), 3);
        (0..3).for_each(|example| assert_clipped(name, &step, example));
    }
}

#[test]
fn one_example_gives_its_clipped_gradient_less_the_centre() {
    for (name, model) in presets() {
        let step = Step::new(&model, centred(model.parameters()), 3);
        (0..3).for_each(|example| assert_clipped(name, &step, example));
    }
}

/// Without mask and standardisation, as in plain DP-SGD.
#[test]
fn one_example_gives_its_clipped_gradient_under_the_full_mask() {
    for (name, model) in presets() {
        let step = Step::unmasked(&model, 2);
        (0..2).for_each(|example| assert_clipped(name, &step, example));
    }
}

/// A gradient shorter than the clip norm is rounded and nothing else.
#[test]
fn short_gradients_are_not_clipped() {
    let model = Model::new(&ModelSpec::perceptron(12, 9, 3)).expect("valid");
    let mut step = Step::new(&model, scaled(model.parameters()), 4);
    step.scale_inputs(1e-3);
    let shrink = |value: &mut f32| *value *= 1e-3;
    step.parameters.iter_mut().for_each(shrink);
    let long = scaled(model.parameters());
    let scale = long.scales().expect("given").iter().map(|scale| 1e3 * scale).collect();
    step.standardisation = Standardisation::new(model.parameters(), None, Some(scale)).expect("ok");
    for example in 0..4 {
        assert!(norm(&step.sum(&[example])) < 0.5 * SENSITIVITY);
        assert_clipped("perceptron", &step, example);
    }
}

/// Models that read numbers, which can be anything.
fn reading_numbers() -> Vec<(&'static str, Model)> {
    let mut models = presets();
    models.retain(|(name, _)| matches!(*name, "mnist_cnn" | "mlp"));
    models.push(("perceptron", Model::new(&ModelSpec::perceptron(70, 33, 5)).expect("valid")));
    models
}

#[test]
fn no_example_gets_past_the_norm_bound() {
    for (name, model) in reading_numbers() {
        for standardisation in [scaled(model.parameters()), centred(model.parameters())] {
            for (inputs, weights) in ADVERSARIES {
                let mut step = Step::new(&model, standardisation.clone(), 3);
                step.scale_inputs(inputs);
                step.parameters.iter_mut().for_each(|value| *value *= weights);
                for example in 0..3 {
                    let norm = norm(&step.sum(&[example]));
                    assert!(norm <= SENSITIVITY, "{name}, {inputs:e}, {weights:e}: {norm}");
                }
            }
        }
    }
}

/// What the noise must hide, as it is released: sums of batches that differ by one example,
/// after the rounding of the sums.
#[test]
fn one_example_moves_a_sum_by_at_most_the_sensitivity() {
    for (name, model) in presets() {
        let d = model.parameters();
        let steps = [scaled(d), centred(d)].map(|by| Step::new(&model, by, 40));
        let steps = steps.into_iter().chain([Step::unmasked(&model, 40)]);
        for step in steps {
            for (more, less) in [(40, 39), (8, 7), (1, 0)] {
                let sum = |count| step.sum(&(0..count).collect::<Vec<_>>());
                let (with, without) = (sum(more), sum(less));
                let difference: Vec<i64> = with.iter().zip(without).map(|(a, b)| a - b).collect();
                let norm = norm(&difference);
                assert!(norm <= SENSITIVITY, "{name}, {more}: {norm}");
                assert!(norm > 0.9 * SENSITIVITY, "{name}, {more}: {norm}, nothing is clipped");
            }
        }
    }
}

/// Factors of the inputs and of the weights.
const ADVERSARIES: [(f32, f32); 12] = [
    (1e20, 1.0),
    (1e-20, 1.0),
    (1e38, 1.0),
    (1e-38, 1.0),
    (1e-44, 1.0),
    (1.0, 1e20),
    (1.0, 1e-20),
    (1.0, 1e38),
    (1e20, 1e-20),
    (1e-20, 1e20),
    (1e10, 1e10),
    (1e3, 1e3),
];

#[test]
fn one_hot_examples_do_not_get_past_the_norm_bound() {
    for (name, model) in reading_numbers() {
        let mut step = Step::new(&model, scaled(model.parameters()), 3);
        for size in [1.0, 1e10, 1e20, 1e30, f32::MAX] {
            step.one_hot(size);
            for example in 0..3 {
                let norm = norm(&step.sum(&[example]));
                assert!(norm <= SENSITIVITY, "{name}, {size:e}: {norm}");
            }
        }
    }
}

#[test]
fn examples_that_are_not_finite_contribute_nothing() {
    for (name, model) in reading_numbers() {
        for standardisation in [scaled(model.parameters()), centred(model.parameters())] {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut step = Step::new(&model, standardisation.clone(), 3);
                let clean = step.sum(&[0, 2]);
                step.fill_input(1, broken);
                let alone = step.sum(&[1]);
                assert!(norm(&alone) <= SENSITIVITY, "{name}, {broken}");
                let lost = broken.is_nan() && alone.iter().any(|value| *value != 0);
                assert!(!lost, "{name}: a NaN example contributes");
                let mut expected = clean;
                expected.iter_mut().zip(&alone).for_each(|(sum, value)| *sum += value);
                assert!(step.sum(&[0, 1, 2]) == expected, "{name}, {broken}");
            }
        }
    }
}

/// Layers whose gradients stay in factors, without biases that would show how large they
/// are.
fn without_bias() -> Model {
    let text = r#"{"input": [70], "loss": "cross_entropy", "layers": [
        {"type": "linear", "in": 70, "out": 33, "bias": false}, {"type": "relu"},
        {"type": "linear", "in": 33, "out": 20, "bias": false}, {"type": "relu"},
        {"type": "linear", "in": 20, "out": 5, "bias": false}]}"#;
    Model::new(&ModelSpec::from_json(text).expect("valid")).expect("valid")
}

/// The server chooses the weights: each layer's at its own size, so that one factor of a
/// gradient is huge where the other is tiny, or their product leaves f32 altogether.
#[test]
fn no_weights_get_past_the_norm_bound() {
    let model = without_bias();
    for standardisation in [Standardisation::none(), scaled(model.parameters())] {
        for (inputs, first) in [(1e-38, 1.0), (1e-30, 1e-5), (1e37, 1e-37), (1e38, 1e-30)] {
            for second in (-10..=38).map(|power| 10_f32.powi(power)) {
                let mut step = Step::new(&model, standardisation.clone(), 3);
                step.scale_inputs(inputs);
                let (start, rest) = step.parameters.split_at_mut(33 * 70);
                start.iter_mut().for_each(|value| *value *= first);
                rest[..20 * 33].iter_mut().for_each(|value| *value *= second);
                for example in 0..3 {
                    let norm = norm(&step.sum(&[example]));
                    assert!(norm <= SENSITIVITY, "{inputs:e}, {first:e}, {second:e}: {norm}");
                }
            }
        }
    }
}

/// The server chooses the standardisation too.
#[test]
fn no_standardisation_gets_past_the_norm_bound() {
    for model in [without_bias(), Model::new(&ModelSpec::mnist_cnn()).expect("valid")] {
        let d = model.parameters();
        let far = |seed, most: f32| values(d, seed).iter().map(|v| most.powf(*v)).collect();
        for most in [1e3, 1e10, 1e18, 1e19, 1e20, 1e30, 1e38] {
            for centre in [None, Some(far(8, most))] {
                let standardisation = Standardisation::new(d, centre, Some(far(9, most)));
                let step = Step::new(&model, standardisation.expect("finite"), 2);
                for example in 0..2 {
                    let norm = norm(&step.sum(&[example]));
                    assert!(norm <= SENSITIVITY, "{most:e}: {norm}");
                }
            }
        }
    }
}

/// Dropout is drawn from the step and the example, not from threads or neighbours.
#[test]
fn dropout_is_the_same_again_in_the_same_step() {
    let text = r#"{"input": [70], "loss": "cross_entropy", "layers": [
        {"type": "linear", "in": 70, "out": 33}, {"type": "dropout", "rate": 0.5},
        {"type": "linear", "in": 33, "out": 5}]}"#;
    let model = Model::new(&ModelSpec::from_json(text).expect("valid")).expect("valid");
    let step = Step::new(&model, scaled(model.parameters()), model.micro_batch() + 2);
    let indices: Vec<usize> = (0..step.examples()).collect();
    let whole = step.sum_at(1, &indices);
    assert!(whole == step.sum_at(1, &indices) && whole != step.sum_at(2, &indices));
    let backwards: Vec<usize> = indices.iter().rev().copied().collect();
    assert!(whole == step.sum_at(1, &backwards));
}

/// A sum without clipping, for comparisons, is that of the gradients.
#[test]
fn the_plain_sum_is_that_of_the_gradients() {
    for (name, model) in presets() {
        let step = Step::unmasked(&model, model.micro_batch() + 2);
        let (found, expected) = step.plain_sums();
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= RELATIVE * largest, "{name}: {found} for {expected}");
        }
    }
}

/// A NaN in one pixel, which touches only some of the gradient, is found too.
#[test]
fn one_broken_value_is_enough() {
    for (name, model) in reading_numbers() {
        let mut step = Step::new(&model, scaled(model.parameters()), 2);
        step.break_value(1, 17);
        assert!(step.sum(&[1]).iter().all(|value| *value == 0), "{name}");
        assert!(step.sum(&[0, 1]) == step.sum(&[0]), "{name}");
    }
}

/// Bytes that a step may still ask for: lists with one entry a tensor, a thread or an outer
/// product, and the thread pool's own. Any buffer of values of these models is larger.
const MOST_BYTES: u64 = 16_000;

/// Everything that grows with the model or with the batch is kept from step to step.
#[test]
fn steps_reuse_their_memory() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for (name, model) in presets() {
        let d = model.parameters();
        for standardisation in [scaled(d), centred(d)] {
            let step = Step::new(&model, standardisation, 3 * model.micro_batch());
            let mut asked = Vec::new();
            pool.install(|| {
                step.take(4, |work| asked.push(allocation_counter::measure(work).bytes_total));
            });
            // The first one makes the buffers of the round.
            assert!(asked[0] > 10 * MOST_BYTES, "{name}: {asked:?}");
            assert!(asked[1..].iter().all(|bytes| *bytes < MOST_BYTES), "{name}: {asked:?}");
        }
    }
}
