//! The shortest way from a description in JSON to a graph.

use serde_json::Value;

use crate::kernels::Activation;
use crate::nn::Loss;
use crate::nn::graph::{Convolution, Graph, Initial, Node, Primitive, Tensor, ValueId};

/// A graph that grows at its end.
pub(super) struct Lowering {
    pub(super) graph: Graph,
    layer: String,
    layer_type: &'static str,
}

impl Lowering {
    pub(super) fn new(input: &[usize], loss: Loss) -> Self {
        let (nodes, tensors) = (Vec::new(), Vec::new());
        let graph = Graph { input: input.to_vec(), nodes, tensors, loss };
        Self { graph, layer: String::new(), layer_type: "test" }
    }

    /// The graph of a list of layers.
    pub(super) fn of(input: &[usize], layers: &Value, loss: Loss) -> Graph {
        let mut lowering = Self::new(input, loss);
        lowering.layers("", layers);
        lowering.graph
    }

    /// A parameter tensor, named after the layer.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> usize {
        let (name, initial) = (format!("{}.{name}", self.layer), Initial::Constant(0.0));
        self.graph.tensors.push(Tensor { name, shape: shape.to_vec(), trainable: true, initial });
        self.graph.tensors.len() - 1
    }

    /// A node; its output.
    pub(super) fn node(
        &mut self,
        op: Primitive,
        inputs: &[ValueId],
        tensors: &[usize],
        shape: &[usize],
    ) -> ValueId {
        let (inputs, tensors, shape) = (inputs.to_vec(), tensors.to_vec(), shape.to_vec());
        let (layer, layer_type) = (self.layer.clone(), self.layer_type);
        self.graph.nodes.push(Node { op, inputs, tensors, shape, layer, layer_type });
        self.graph.nodes.len()
    }

    /// `names`: weight and bias, if there is one.
    pub(super) fn linear(&mut self, x: ValueId, outputs: usize, names: &[&str]) -> ValueId {
        let mut shape = self.graph.shape(x).to_vec();
        let inputs = shape.pop().expect("a last dimension");
        let shapes = [vec![outputs, inputs], vec![outputs]];
        let tensors: Vec<_> = names.iter().zip(&shapes).map(|(n, s)| self.tensor(n, s)).collect();
        shape.push(outputs);
        let op = Primitive::Linear { inputs, outputs, bias: names.len() == 2 };
        self.node(op, &[x], &tensors, &shape)
    }

    fn layers(&mut self, prefix: &str, layers: &Value) {
        for (index, layer) in layers.as_array().expect("layers").iter().enumerate() {
            self.layer = format!("{prefix}{index}");
            self.lower(layer);
        }
    }

    fn lower(&mut self, layer: &Value) {
        let x = self.graph.nodes.len();
        let shape = self.graph.shape(x).to_vec();
        let same = |lowering: &mut Self, op, tensors: &[usize]| {
            lowering.node(op, &[x], tensors, &shape);
        };
        let last = *shape.last().expect("a shape");
        match layer["type"].as_str().expect("type") {
            "linear" => drop(self.linear(x, size(layer, "out"), biased(layer))),
            "conv2d" | "conv1d" => self.convolution(x, layer),
            "max_pool2d" => self.pool(x, layer, false),
            "avg_pool2d" => self.pool(x, layer, true),
            "global_avg_pool2d" => self.global_pool(x),
            "flatten" => drop(self.node(Primitive::Reshape, &[x], &[], &[shape.iter().product()])),
            "embedding" => self.embedding(x, layer),
            "layer_norm" => {
                let tensors = [self.tensor("weight", &[last]), self.tensor("bias", &[last])];
                same(self, Primitive::LayerNorm { dim: last }, &tensors);
            }
            "rms_norm" => {
                let tensors = [self.tensor("weight", &[last])];
                same(self, Primitive::RmsNorm { dim: last }, &tensors);
            }
            "group_norm" => {
                let (groups, channels) = (size(layer, "groups"), shape[0]);
                let tensors =
                    [self.tensor("weight", &[channels]), self.tensor("bias", &[channels])];
                same(self, Primitive::GroupNorm { groups, channels }, &tensors);
            }
            "self_attention" => self.attention(x, layer),
            "lstm" => self.recurrent(x, layer, 4),
            "gru" => self.recurrent(x, layer, 3),
            "mean_sequence" => drop(self.node(Primitive::MeanSequence, &[x], &[], &[last])),
            "last_step" => drop(self.node(Primitive::LastStep, &[x], &[], &[last])),
            "residual" => {
                let prefix = format!("{}_", self.layer);
                self.layers(&prefix, &layer["layers"]);
                let branch = self.graph.nodes.len();
                self.node(Primitive::Add { scale: 1.0 }, &[x, branch], &[], &shape);
            }
            name => same(self, Primitive::Activation(activation(name)), &[]),
        }
    }

    fn embedding(&mut self, x: ValueId, layer: &Value) {
        let (num, dim) = (size(layer, "num"), size(layer, "dim"));
        let tensor = self.tensor("weight", &[num, dim]);
        let length = self.graph.shape(x)[0];
        self.node(Primitive::Embedding { num, dim }, &[x], &[tensor], &[length, dim]);
    }

    fn attention(&mut self, x: ValueId, layer: &Value) {
        let shape = self.graph.shape(x).to_vec();
        let inputs = [["q.weight", "q.bias"], ["k.weight", "k.bias"], ["v.weight", "v.bias"]];
        let inputs = inputs.map(|names| self.linear(x, shape[1], &names));
        let causal = layer["causal"].as_bool().expect("causal");
        let op = Primitive::Attend { heads: size(layer, "heads"), causal };
        let mixed = self.node(op, &inputs, &[], &shape);
        self.linear(mixed, shape[1], &["o.weight", "o.bias"]);
    }

    fn recurrent(&mut self, x: ValueId, layer: &Value, gates: usize) {
        let (hidden, length) = (size(layer, "hidden"), self.graph.shape(x)[0]);
        let input = self.linear(x, gates * hidden, &["w_ih", "b_ih"]);
        let weight = self.tensor("w_hh", &[gates * hidden, hidden]);
        let bias = self.tensor("b_hh", &[gates * hidden]);
        let op = if gates == 4 { Primitive::Lstm { hidden } } else { Primitive::Gru { hidden } };
        self.node(op, &[input], &[weight, bias], &[length, hidden]);
    }

    /// A one-dimensional convolution is one on images of height 1.
    fn convolution(&mut self, x: ValueId, layer: &Value) {
        let flat = layer["type"] == "conv1d";
        let mut input = self.graph.shape(x).to_vec();
        let height = if flat && input.len() == 2 { Some(1) } else { None };
        let x = match height {
            Some(height) => {
                input.insert(1, height);
                self.node(Primitive::Reshape, &[x], &[], &input)
            }
            None => x,
        };
        let sides = |name, default: usize, below| {
            let side = layer[name].as_u64().map_or(default, |side| side as usize);
            [if flat { below } else { side }, side]
        };
        let geometry = Convolution {
            inputs: size(layer, "in"),
            outputs: size(layer, "out"),
            kernel: sides("kernel", 1, 1),
            stride: sides("stride", 1, 1),
            padding: sides("padding", 0, 0),
            dilation: sides("dilation", 1, 1),
            groups: layer["groups"].as_u64().unwrap_or(1) as usize,
        };
        self.convolve(x, geometry, biased(layer));
        if flat {
            let shape = self.graph.output().to_vec();
            let x = self.graph.nodes.len();
            self.node(Primitive::Reshape, &[x], &[], &[shape[0], shape[2]]);
        }
    }

    pub(super) fn convolve(&mut self, x: ValueId, geometry: Convolution, names: &[&str]) {
        let Convolution { inputs, outputs, kernel, stride, padding, dilation, groups } = geometry;
        let input = self.graph.shape(x);
        let side = |axis: usize| {
            let reach = dilation[axis] * (kernel[axis] - 1) + 1;
            (input[axis + 1] + 2 * padding[axis] - reach) / stride[axis] + 1
        };
        let shape = [outputs, side(0), side(1)];
        let shapes = [vec![outputs, inputs / groups, kernel[0], kernel[1]], vec![outputs]];
        let tensors: Vec<_> = names.iter().zip(&shapes).map(|(n, s)| self.tensor(n, s)).collect();
        self.node(Primitive::Conv2d { geometry, bias: names.len() == 2 }, &[x], &tensors, &shape);
    }

    fn pool(&mut self, x: ValueId, layer: &Value, average: bool) {
        let kernel = size(layer, "kernel");
        let stride = layer["stride"].as_u64().map_or(kernel, |stride| stride as usize);
        let input = self.graph.shape(x).to_vec();
        let side = |axis: usize| (input[axis] - kernel) / stride + 1;
        let op = Primitive::Pool { average, kernel: [kernel; 2], stride: [stride; 2] };
        self.node(op, &[x], &[], &[input[0], side(1), side(2)]);
    }

    fn global_pool(&mut self, x: ValueId) {
        let input = self.graph.shape(x).to_vec();
        let kernel = [input[1], input[2]];
        let op = Primitive::Pool { average: true, kernel, stride: kernel };
        let pooled = self.node(op, &[x], &[], &[input[0], 1, 1]);
        self.node(Primitive::Reshape, &[pooled], &[], &[input[0]]);
    }
}

fn size(layer: &Value, name: &str) -> usize {
    layer[name].as_u64().unwrap_or_else(|| panic!("{name} of {layer}")) as usize
}

fn biased(layer: &Value) -> &'static [&'static str] {
    if layer["bias"] == false { &["weight"] } else { &["weight", "bias"] }
}

fn activation(name: &str) -> Activation {
    match name {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "gelu" => Activation::Gelu,
        "silu" => Activation::Silu,
        "sigmoid" => Activation::Sigmoid,
        other => panic!("layer type {other}"),
    }
}
