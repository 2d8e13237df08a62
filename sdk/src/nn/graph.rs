//! The model as a list of primitive operations: what a description, or a model written
//! in Rust, is lowered to, and what the CPU engine and the tensor path both run.

use adafed_algorithm::{Layout, TensorLayout};

use super::Loss;
use crate::kernels::Activation;

/// A value of the graph: 0 is the model's input, `i + 1` the output of node `i`.
pub(crate) type ValueId = usize;

/// One operation. Shapes are those of one example; `[c, h, w]` are images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Primitive {
    /// `[.., in] -> [.., out]`, `y = x W^T + b`; tensors weight `[out, in]`, then bias
    /// `[out]` if `bias`. At most two dimensions come in.
    Linear { inputs: usize, outputs: usize, bias: bool },
    /// `[in, h, w] -> [out, h', w']`; tensors weight `[out, in / groups, kernel...]`, then
    /// bias `[out]` if `bias`.
    Conv2d { geometry: Convolution, bias: bool },
    /// `[t] -> [t, dim]`; tensor weight `[num, dim]`. The input holds row numbers.
    Embedding { num: usize, dim: usize },
    /// Over the last dimension; tensors weight `[dim]`, bias `[dim]`.
    LayerNorm { dim: usize },
    /// Over the last dimension; tensor weight `[dim]`.
    RmsNorm { dim: usize },
    /// `[channels, h, w]`, each group of channels over all its pixels; tensors weight
    /// `[channels]`, bias `[channels]`.
    GroupNorm { groups: usize, channels: usize },
    /// Inputs q, k, v, each `[t, dim] -> [t, dim]`: `softmax(q k^T / sqrt(dim / heads)) v`
    /// for each head; causal: position i sees positions up to i.
    Attend { heads: usize, causal: bool },
    /// Input `[t, 4 hidden]` (`x W_ih^T + b_ih`, gates i, f, g, o) `-> [t, hidden]`;
    /// tensors w_hh `[4 hidden, hidden]`, b_hh `[4 hidden]`. Starts from zeros.
    Lstm { hidden: usize },
    /// Input `[t, 3 hidden]` (`x W_ih^T + b_ih`, gates r, z, n) `-> [t, hidden]`; tensors
    /// w_hh `[3 hidden, hidden]`, b_hh `[3 hidden]`; the reset gate is applied after the
    /// hidden product. Starts from zeros.
    Gru { hidden: usize },
    /// Value by value.
    Activation(Activation),
    /// Over the last dimension.
    Softmax,
    /// Zeroes each value with probability `rate` while training, and scales the others by
    /// `1 / (1 - rate)`; nothing outside of training.
    Dropout { rate: f32 },
    /// `[c, h, w] -> [c, h', w']`, largest (or mean) value of each window, no padding.
    Pool { average: bool, kernel: [usize; 2], stride: [usize; 2] },
    /// `[t, dim] -> [dim]`: mean over positions.
    MeanSequence,
    /// `[t, dim] -> [dim]`: the last position.
    LastStep,
    /// `[a, b] -> [b, a]`.
    Transpose,
    /// Same values, row-major in the logical order, under another shape.
    Reshape,
    /// Inputs a and b of one shape: `a + scale b`.
    Add { scale: f32 },
}

/// Geometry of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    /// Channels of the input.
    pub(crate) inputs: usize,
    /// Channels of the output.
    pub(crate) outputs: usize,
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Steps down and right.
    pub(crate) stride: [usize; 2],
    /// Zeros above and below, left and right.
    pub(crate) padding: [usize; 2],
    /// Distance between the pixels under neighbouring kernel entries.
    pub(crate) dilation: [usize; 2],
    /// Blocks of channels that do not see each other.
    pub(crate) groups: usize,
}

/// One operation with what goes in, what comes out and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) op: Primitive,
    /// What goes in, in the operation's order.
    pub(crate) inputs: Vec<ValueId>,
    /// Indices into [`Graph::tensors`], in the operation's order.
    pub(crate) tensors: Vec<usize>,
    /// Shape of one example's output.
    pub(crate) shape: Vec<usize>,
    /// The layer it comes from, for messages: position, as in parameter names (`1_0`).
    pub(crate) layer: String,
    /// Type of that layer, as written in a description.
    pub(crate) layer_type: &'static str,
}

/// A parameter tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Name, such as `1_0.weight`.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Whether training changes it. Others are the public, pre-trained base.
    pub(crate) trainable: bool,
    pub(crate) initial: Initial,
}

/// First values of a parameter tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initial {
    /// Uniform on `+-bound`.
    Uniform { bound: f32 },
    /// The same value everywhere.
    Constant(f32),
}

/// A checked model: nodes in the order in which they run; the last one's output is the
/// model's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Graph {
    /// Shape of one example.
    pub(crate) input: Vec<usize>,
    pub(crate) nodes: Vec<Node>,
    /// Each parameter tensor once, also where two nodes share it.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) loss: Loss,
}

impl Tensor {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Graph {
    /// Shape of a value.
    pub(crate) fn shape(&self, value: ValueId) -> &[usize] {
        match value.checked_sub(1) {
            Some(node) => &self.nodes[node].shape,
            None => &self.input,
        }
    }

    /// Shape of the model's output.
    pub(crate) fn output(&self) -> &[usize] {
        self.shape(self.nodes.len())
    }

    /// Values of one example's target: what the loss compares the output with.
    pub(crate) fn target_len(&self) -> usize {
        match self.loss {
            Loss::CrossEntropy => 1,
            Loss::SequenceCrossEntropy => self.output().first().copied().unwrap_or(1),
            Loss::BceWithLogits | Loss::Mse => self.output().iter().product(),
        }
    }

    /// Flat order of the parameters that training changes, or of the frozen ones.
    pub(crate) fn layout(&self, trainable: bool) -> Layout {
        let chosen = self.tensors.iter().filter(|tensor| tensor.trainable == trainable);
        let named = chosen
            .map(|tensor| TensorLayout { name: tensor.name.clone(), shape: tensor.shape.clone() });
        Layout { tensors: named.collect() }
    }
}
