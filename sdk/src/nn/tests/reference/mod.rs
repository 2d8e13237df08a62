//! Models by their definition: f64, plain loops, one example at a time, every value
//! row-major in its logical shape. Shares nothing with the engine but the graph.

mod images;
mod losses;
mod rows;
mod sequences;

use crate::kernels::Activation;
use crate::nn::Model;
use crate::nn::graph::{Graph, Node, Primitive};

/// A model with its parameters, ready to be evaluated and to be moved a little.
pub(super) struct Oracle<'a> {
    graph: &'a Graph,
    /// What training changes, in flat order.
    pub(super) trainable: Vec<f64>,
    frozen: Vec<f64>,
}

/// One node with what goes in.
struct At<'a> {
    inputs: Vec<&'a [f64]>,
    /// Shape of the first input.
    from: &'a [usize],
    /// Shape of the output.
    to: &'a [usize],
    tensors: Vec<&'a [f64]>,
}

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

impl<'a> Oracle<'a> {
    pub(super) fn new(model: &'a Model, parameters: &[f32]) -> Self {
        let (trainable, frozen) = (wide(parameters), wide(model.frozen()));
        Self { graph: model.graph(), trainable, frozen }
    }

    /// Loss of one example.
    pub(super) fn loss(&self, input: &[f64], target: &[f32]) -> f64 {
        losses::loss(self.graph.loss, &self.outputs(input), &wide(target))
    }

    /// Outputs for one example.
    pub(super) fn outputs(&self, input: &[f64]) -> Vec<f64> {
        let tensors = self.tensors();
        let mut values = vec![input.to_vec()];
        for node in &self.graph.nodes {
            let at = At {
                inputs: node.inputs.iter().map(|value| &values[*value][..]).collect(),
                from: self.graph.shape(node.inputs[0]),
                to: &node.shape,
                tensors: node.tensors.iter().map(|tensor| tensors[*tensor]).collect(),
            };
            let value = apply(node, &at);
            assert_eq!(value.len(), node.shape.iter().product::<usize>(), "{node:?}");
            values.push(value);
        }
        values.pop().expect("the input is there")
    }

    fn tensors(&self) -> Vec<&[f64]> {
        let (mut trainable, mut frozen) = (&self.trainable[..], &self.frozen[..]);
        let tensors = self.graph.tensors.iter().map(|tensor| {
            let from = if tensor.trainable { &mut trainable } else { &mut frozen };
            let (own, rest) = from.split_at(tensor.len());
            *from = rest;
            own
        });
        tensors.collect()
    }
}

fn apply(node: &Node, at: &At<'_>) -> Vec<f64> {
    let x = at.inputs[0];
    match node.op {
        Primitive::Linear { inputs, outputs, .. } => rows::linear(at, inputs, outputs),
        Primitive::Conv2d { geometry, .. } => images::convolution(at, geometry),
        Primitive::Embedding { dim, .. } => rows::embedding(at, dim),
        Primitive::LayerNorm { dim } => rows::layer_norm(at, dim),
        Primitive::RmsNorm { dim } => rows::rms_norm(at, dim),
        Primitive::GroupNorm { groups, channels } => images::group_norm(at, groups, channels),
        Primitive::Attend { heads, causal } => sequences::attend(at, heads, causal),
        Primitive::Lstm { hidden } => sequences::lstm(at, hidden),
        Primitive::Gru { hidden } => sequences::gru(at, hidden),
        Primitive::Activation(function) => x.iter().map(|x| activation(function, *x)).collect(),
        Primitive::Softmax => rows::softmax(at),
        Primitive::Dropout { .. } | Primitive::Reshape => x.to_vec(),
        Primitive::Pool { average, kernel, stride } => images::pool(at, average, kernel, stride),
        Primitive::MeanSequence => sequences::mean(at),
        Primitive::LastStep => x[x.len() - at.from[1]..].to_vec(),
        Primitive::Transpose => rows::transpose(at),
        Primitive::Add { scale } => {
            let sum = |(a, b): (&f64, &f64)| a + f64::from(scale) * b;
            x.iter().zip(at.inputs[1]).map(sum).collect()
        }
    }
}

fn activation(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2_f64.sqrt())),
        Activation::Silu => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
