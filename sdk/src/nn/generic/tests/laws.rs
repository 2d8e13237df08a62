//! What the vectors do not cover: every primitive, and the laws of the engine.

use super::super::{Batch, GenericModel, Parameters};
use super::lower::Lowering;
use crate::kernels::Activation;
use crate::nn::device::Device;
use crate::nn::graph::{Convolution, Graph, Primitive};
use crate::nn::{Loss, test_values};

/// Of the difference quotient with step 1e-2: its curvature term and the rounding of f32
/// losses divided by the step, both near 1e-4.
const QUOTIENT: f32 = 1e-3;

/// Order of summation is all that batches change.
const ROUNDING: f32 = 1e-6;

const BATCH: usize = 3;

/// A graph with data and one set of parameters.
struct Setting {
    graph: Graph,
    trainable: Vec<f32>,
    frozen: Vec<f32>,
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Setting {
    fn new(graph: Graph) -> Self {
        let parameters = |trainable| {
            let layout = graph.layout(trainable);
            let shapes = layout.tensors.iter().map(|t| t.shape.iter().product::<usize>());
            test_values(shapes.sum(), 7 + u64::from(trainable))
        };
        let (trainable, frozen) = (parameters(true), parameters(false));
        let inputs = test_values(BATCH * graph.input.iter().product::<usize>(), 1);
        let targets = test_values(BATCH * graph.target_len(), 2);
        Self { graph, trainable, frozen, inputs, targets }
    }

    fn batch(&self) -> Batch<'_> {
        let (inputs, targets) = (self.inputs.as_slice(), self.targets.as_slice());
        Batch { size: BATCH, inputs, targets, dropout: None }
    }

    fn parameters(&self) -> Parameters<'_> {
        Parameters { trainable: &self.trainable, frozen: &self.frozen }
    }

    fn model(&self) -> GenericModel {
        GenericModel::new(&self.graph, Device::Cpu).expect("the CPU")
    }

    fn gradients(&self, batch: Batch<'_>) -> Vec<f32> {
        self.model().gradients(self.parameters(), batch).expect("gradients")
    }

    /// Losses with the parameters moved along `direction`.
    fn moved(&self, batch: Batch<'_>, direction: &[f32], step: f32) -> Vec<f32> {
        let moved = self.trainable.iter().zip(direction).map(|(value, part)| value + step * part);
        let moved: Vec<f32> = moved.collect();
        let parameters = Parameters { trainable: &moved, frozen: &self.frozen };
        self.model().losses(parameters, batch).expect("losses")
    }

    /// Each example's gradient, along a direction, is its loss's difference quotient.
    fn check_derivative(&self, batch: Batch<'_>) {
        const STEP: f32 = 1e-2;
        let direction = test_values(self.trainable.len(), 5);
        let norm = direction.iter().map(|part| part * part).sum::<f32>().sqrt();
        let direction: Vec<f32> = direction.iter().map(|part| part / norm).collect();
        let up = self.moved(batch, &direction, STEP);
        let down = self.moved(batch, &direction, -STEP);
        let gradients = self.gradients(batch);
        for (example, row) in gradients.chunks_exact(direction.len()).enumerate() {
            let slope: f32 = row.iter().zip(&direction).map(|(a, b)| a * b).sum();
            let quotient = (up[example] - down[example]) / (2.0 * STEP);
            assert!(slope.abs() > 1e-3, "a direction that tells something: {slope}");
            assert!((slope - quotient).abs() < QUOTIENT, "{slope} is not {quotient}");
        }
    }
}

fn node(lowering: &mut Lowering, op: Primitive, shape: &[usize]) {
    lowering.node(op, &[lowering.graph.nodes.len()], &[], shape);
}

/// Windows that are not square, a frozen grouped convolution, scaled residual, softmax.
fn image_graph() -> Graph {
    let mut lowering = Lowering::new(&[2, 5, 6], Loss::Mse);
    let rectangular = Convolution {
        inputs: 2,
        outputs: 4,
        kernel: [2, 3],
        stride: [1, 2],
        padding: [0, 2],
        dilation: [2, 1],
        groups: 2,
    };
    lowering.convolve(0, rectangular, &["weight", "bias"]);
    node(&mut lowering, Primitive::Activation(Activation::Tanh), &[4, 3, 4]);
    let same = Convolution {
        inputs: 4,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        ..rectangular
    };
    lowering.convolve(2, same, &["weight"]);
    lowering.graph.tensors[2].trainable = false;
    lowering.node(Primitive::Add { scale: -0.5 }, &[2, 3], &[], &[4, 3, 4]);
    let pool = Primitive::Pool { average: false, kernel: [2, 1], stride: [1, 3] };
    node(&mut lowering, pool, &[4, 2, 2]);
    node(&mut lowering, Primitive::Reshape, &[4, 4]);
    node(&mut lowering, Primitive::Transpose, &[4, 4]);
    node(&mut lowering, Primitive::Softmax, &[4, 4]);
    node(&mut lowering, Primitive::LastStep, &[4]);
    lowering.graph
}

/// Two linear layers of one weight, one of them with dropout before it.
fn tied_graph() -> Graph {
    let mut lowering = Lowering::new(&[4, 5], Loss::BceWithLogits);
    lowering.linear(0, 5, &["weight", "bias"]);
    node(&mut lowering, Primitive::Dropout { rate: 0.5 }, &[4, 5]);
    let linear = Primitive::Linear { inputs: 5, outputs: 5, bias: true };
    lowering.node(linear, &[2], &[0, 1], &[4, 5]);
    lowering.graph
}

#[test]
fn gradients_are_derivatives_for_every_primitive() {
    let mut image = Setting::new(image_graph());
    image.inputs.iter_mut().for_each(|value| *value *= 3.0);
    image.check_derivative(image.batch());
    let tied = Setting::new(tied_graph());
    tied.check_derivative(tied.batch());
}

#[test]
fn dropout_multiplies_by_the_factors_given() {
    let setting = Setting::new(tied_graph());
    let factors = |index: usize, example: usize, factors: &mut [f32]| {
        assert_eq!((index, factors.len()), (1, 20));
        for (place, factor) in factors.iter_mut().enumerate() {
            *factor = if (place + example).is_multiple_of(2) { 2.0 } else { 0.0 };
        }
    };
    let dropped = Batch { dropout: Some(&factors), ..setting.batch() };
    setting.check_derivative(dropped);
    assert_ne!(setting.gradients(dropped), setting.gradients(setting.batch()));
}

#[test]
fn no_example_sees_another() {
    for setting in [Setting::new(image_graph()), Setting::new(tied_graph())] {
        let batch = setting.batch();
        let together = setting.gradients(batch);
        let alone = (0..BATCH).flat_map(|example| {
            let part = |all| -> &[f32] {
                let all: &[f32] = all;
                &all[example * all.len() / BATCH..(example + 1) * all.len() / BATCH]
            };
            let (inputs, targets) = (part(batch.inputs), part(batch.targets));
            setting.gradients(Batch { size: 1, inputs, targets, dropout: None })
        });
        let alone: Vec<f32> = alone.collect();
        assert_eq!(together.len(), alone.len());
        let off = together.iter().zip(&alone).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < ROUNDING);
    }
}

/// Loss of `[2, 2]` weights on the diagonal, through `op`, at an input of equal values.
fn gradient_at_ties(op: Primitive, input: f32, shape: &[usize]) -> Vec<f32> {
    let mut lowering = Lowering::new(&[1, 1, 2], Loss::Mse);
    let weight = Primitive::Linear { inputs: 2, outputs: 2, bias: false };
    let tensor = lowering.tensor("weight", &[2, 2]);
    node(&mut lowering, Primitive::Reshape, &[2]);
    lowering.node(weight, &[1], &[tensor], &[2]);
    node(&mut lowering, Primitive::Reshape, &[1, 1, 2]);
    node(&mut lowering, op, shape);
    let (trainable, inputs) = ([1.0, 0.0, 0.0, 1.0], [input; 2]);
    let targets = vec![1.0; shape.iter().product()];
    let model = GenericModel::new(&lowering.graph, Device::Cpu).expect("the CPU");
    let parameters = Parameters { trainable: &trainable, frozen: &[] };
    let batch = Batch { size: 1, inputs: &inputs, targets: &targets, dropout: None };
    model.gradients(parameters, batch).expect("gradients")
}

#[test]
fn the_first_of_equal_maxima_takes_the_gradient() {
    let pool = Primitive::Pool { average: false, kernel: [1, 2], stride: [1, 2] };
    assert_eq!(gradient_at_ties(pool, 3.0, &[1, 1, 1]), [12.0, 12.0, 0.0, 0.0]);
}

#[test]
fn relu_is_flat_at_zero() {
    let relu = Primitive::Activation(Activation::Relu);
    assert_eq!(gradient_at_ties(relu, 0.0, &[1, 1, 2]), [0.0; 4]);
}

#[test]
fn functions_of_large_values_have_finite_gradients() {
    use Activation::{Gelu, Relu, Sigmoid, Silu, Tanh};
    for function in [Gelu, Relu, Sigmoid, Silu, Tanh] {
        for input in [-1e4, -200.0, 200.0, 1e4] {
            let gradient = gradient_at_ties(Primitive::Activation(function), input, &[1, 1, 2]);
            assert!(gradient.iter().all(|value| value.is_finite()), "{function:?}({input})");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let setting = Setting::new(tied_graph());
    let (model, batch) = (setting.model(), setting.batch());
    let fails = |trainable: &[f32], frozen: &[f32], batch| {
        model.gradients(Parameters { trainable, frozen }, batch).is_err()
    };
    let trainable = setting.trainable.as_slice();
    assert!(fails(&trainable[1..], &[], batch));
    assert!(fails(&[trainable, &[0.0]].concat(), &[], batch));
    assert!(fails(trainable, &[0.0], batch));
    assert!(fails(trainable, &[], Batch { inputs: &batch.inputs[1..], ..batch }));
    assert!(fails(trainable, &[], Batch { targets: &[], ..batch }));
}

#[test]
fn no_examples_have_no_gradients() {
    let setting = Setting::new(tied_graph());
    let none = Batch { size: 0, inputs: &[], targets: &[], dropout: None };
    assert!(setting.gradients(none).is_empty());
}

#[test]
fn long_sequences_do_not_exhaust_the_stack() {
    const LENGTH: usize = 1024;
    let mut lowering = Lowering::new(&[LENGTH, 4], Loss::Mse);
    let tensors = [lowering.tensor("w_hh", &[4, 1]), lowering.tensor("b_hh", &[4])];
    lowering.node(Primitive::Lstm { hidden: 1 }, &[0], &tensors, &[LENGTH, 1]);
    let setting = Setting::new(lowering.graph);
    setting.check_derivative(setting.batch());
}
