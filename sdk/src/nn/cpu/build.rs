//! From a graph to operations with sizes, and what flows back where.

use std::sync::Arc;

use super::attention::Attend;
use super::conv::Conv2d;
use super::depthwise::Depthwise;
use super::elementwise::{ActivationOp, Add, Dropout, Softmax};
use super::embedding::Embedding;
use super::group_norm::GroupNorm;
use super::gru::Gru;
use super::linear::Linear;
use super::lstm::Lstm;
use super::norm::RowNorm;
use super::op::Op;
use super::parts::{Arrangement, Part, parts};
use super::pool::Pool;
use super::sequence::{Copy, LastStep, MeanSequence, Relayout, Transpose};
use crate::nn::graph::{Convolution, Graph, Node, Primitive, ValueId};

/// Activations, gradients and kept values that a micro-batch may take: about what a core
/// has of cache to itself.
const MICRO_BATCH_VALUES: usize = 1 << 18;
/// More examples than this together make no product faster.
const MOST_EXAMPLES: usize = 32;

/// A graph made ready to run. Holds sizes and plans, no parameters.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) graph: Graph,
    pub(crate) steps: Vec<Step>,
    /// Values of one example, by value.
    pub(crate) lens: Vec<usize>,
    /// Whether the loss's gradient with respect to the value is of use.
    pub(crate) wanted: Vec<bool>,
    /// Examples of a micro-batch: a function of the model alone.
    pub(crate) micro_batch: usize,
    /// Where each part of a per-example gradient comes from.
    pub(crate) parts: Vec<Part>,
    /// Values of the materialised parts of one example's gradient.
    pub(crate) dense_len: usize,
    /// Values of all parts but outer products: materialised ones and rows.
    pub(crate) bias_start: usize,
    /// Values of all parts but the weights of outer products, which come last.
    pub(crate) each_len: usize,
    /// Flat index of each position in the order of the parts.
    pub(crate) order: Vec<u32>,
}

/// One node, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) inputs: Vec<ValueId>,
    /// Indices of the graph's tensors.
    pub(crate) tensors: Vec<usize>,
    /// Whether each input's gradient is written here for the first time on the way back;
    /// later ones are added.
    pub(crate) fresh: Vec<bool>,
}

impl Engine {
    /// With `materialised`, no part of a gradient stays in factors.
    pub(crate) fn new(graph: Graph, materialised: bool) -> Self {
        let mut lens = vec![graph.input.iter().product()];
        lens.extend(graph.nodes.iter().map(|node| node.shape.iter().product::<usize>()));
        let wanted = wanted(&graph);
        let mut steps: Vec<Step> =
            (0..graph.nodes.len()).map(|index| step(&graph, index)).collect();
        mark_fresh(&mut steps, &wanted);
        let arrangement = parts(&graph, &steps, materialised);
        let Arrangement { parts, dense_len, bias_start, each_len, order } = arrangement;
        let mut engine = Self {
            graph,
            steps,
            lens,
            wanted,
            micro_batch: 1,
            parts,
            dense_len,
            bias_start,
            each_len,
            order,
        };
        engine.micro_batch = engine.fitting_micro_batch();
        engine
    }

    /// By what each value that reaches a dropout node is multiplied, in logical order.
    #[cfg(feature = "candle")]
    pub(crate) fn dropout_factors(&self, node: usize, stream: u64, factors: &mut [f32]) {
        let Node { op: Primitive::Dropout { rate }, shape, .. } = &self.graph.nodes[node] else {
            return factors.fill(1.0);
        };
        let dropout = Dropout { rate: *rate, len: factors.len(), node: node as u32 };
        let ones = vec![1.0; factors.len()];
        dropout.mask(&[stream], &ones, factors);
        if let [channels, height, width] = shape[..] {
            let last = factors.to_vec();
            for (place, factor) in factors.iter_mut().enumerate() {
                let (channel, pixel) = (place / (height * width), place % (height * width));
                *factor = last[pixel * channels + channel];
            }
        }
    }

    fn fitting_micro_batch(&self) -> usize {
        let saved: usize = self.steps.iter().map(|step| step.op.saved_len()).sum();
        let example = 2 * self.lens.iter().sum::<usize>() + saved;
        let most = (MICRO_BATCH_VALUES / example.max(1)).clamp(1, MOST_EXAMPLES);
        1 << most.ilog2()
    }
}

/// Values that lie behind a parameter that training changes.
fn wanted(graph: &Graph) -> Vec<bool> {
    let mut wanted = vec![false];
    for node in &graph.nodes {
        let own = node.tensors.iter().any(|tensor| graph.tensors[*tensor].trainable);
        wanted.push(own || node.inputs.iter().any(|input| wanted[*input]));
    }
    wanted
}

fn mark_fresh(steps: &mut [Step], wanted: &[bool]) {
    let mut written = vec![false; wanted.len()];
    for (index, step) in steps.iter_mut().enumerate().rev() {
        if !wanted[index + 1] {
            continue;
        }
        for (fresh, input) in step.fresh.iter_mut().zip(&step.inputs) {
            *fresh = !std::mem::replace(&mut written[*input], true);
        }
    }
}

fn step(graph: &Graph, index: usize) -> Step {
    let node = &graph.nodes[index];
    let inputs = node.inputs.clone();
    let fresh = vec![true; inputs.len()];
    let op = operation(node, index, graph.shape(inputs[0]));
    Step { op, inputs, tensors: node.tensors.clone(), fresh }
}

/// Rows of a value whose last dimension is `dim`.
fn rows(shape: &[usize], dim: usize) -> usize {
    shape.iter().product::<usize>() / dim
}

fn operation(node: &Node, index: usize, input: &[usize]) -> Arc<dyn Op> {
    let output = &node.shape[..];
    let len = output.iter().product();
    match node.op {
        Primitive::Linear { inputs, outputs, bias } => {
            Arc::new(Linear { inputs, outputs, bias, positions: len / outputs })
        }
        Primitive::Conv2d { geometry, bias } => {
            let (input, output) = ([input[1], input[2]], [output[1], output[2]]);
            let Convolution { groups, inputs, outputs, .. } = geometry;
            match groups == inputs && groups == outputs {
                true => Arc::new(Depthwise { shape: geometry, bias, input, output }),
                false => Arc::new(Conv2d::new(geometry, bias, input, output)),
            }
        }
        Primitive::Embedding { dim, .. } => Arc::new(Embedding { dim }),
        Primitive::LayerNorm { dim } | Primitive::RmsNorm { dim } => {
            let centred = matches!(node.op, Primitive::LayerNorm { .. });
            Arc::new(RowNorm { dim, rows: rows(input, dim), centred })
        }
        Primitive::GroupNorm { groups, channels } => {
            Arc::new(GroupNorm { groups, channels, pixels: len / channels })
        }
        Primitive::Attend { heads, causal } => {
            Arc::new(Attend { heads, causal, length: input[0], dim: input[1] })
        }
        Primitive::Lstm { hidden } => Arc::new(Lstm { hidden, length: input[0] }),
        Primitive::Gru { hidden } => Arc::new(Gru { hidden, length: input[0] }),
        _ => parameterless(node, index, input, len),
    }
}

fn parameterless(node: &Node, index: usize, input: &[usize], len: usize) -> Arc<dyn Op> {
    let output = &node.shape[..];
    match node.op {
        Primitive::Activation(function) => Arc::new(ActivationOp(function)),
        Primitive::Softmax => Arc::new(Softmax { dim: output.last().copied().unwrap_or(1) }),
        Primitive::Dropout { rate } => Arc::new(Dropout { rate, len, node: index as u32 }),
        Primitive::Pool { average, kernel, stride } => {
            let (channels, height, width) = (input[0], input[1], input[2]);
            Arc::new(Pool { average, kernel, stride, channels, height, width })
        }
        Primitive::MeanSequence => Arc::new(MeanSequence { length: input[0], dim: input[1] }),
        Primitive::LastStep => Arc::new(LastStep { length: input[0], dim: input[1] }),
        Primitive::Transpose => Arc::new(Transpose { rows: input[0], cols: input[1] }),
        Primitive::Add { scale } => Arc::new(Add { scale }),
        _ => reshape(input, output),
    }
}

/// Images lie channels last, everything else row-major: a change between them moves
/// values.
fn reshape(input: &[usize], output: &[usize]) -> Arc<dyn Op> {
    let relayout = |image: &[usize], to_last| Relayout {
        channels: image[0],
        pixels: image[1] * image[2],
        to_last,
    };
    match (input.len(), output.len()) {
        (3, 3) => Arc::new(Copy),
        (3, _) => Arc::new(relayout(input, false)),
        (_, 3) => Arc::new(relayout(output, true)),
        _ => Arc::new(Copy),
    }
}
