//! One pass through a graph.

use candle_core::{Result, Tensor};

use super::super::graph::{Node, Primitive};
use super::weight::Weight;
use super::{Batch, GenericModel, Windows, attention, norm, recurrent, value};

/// A graph with the parameters and the examples of one pass.
pub(super) struct Pass<'a> {
    pub(super) model: &'a GenericModel,
    pub(super) weights: &'a [Weight],
    pub(super) batch: Batch<'a>,
}

impl Pass<'_> {
    /// The last node's output `[batch, ..]` for inputs `[batch, ..]`.
    pub(super) fn output(&self, inputs: Tensor) -> Result<Tensor> {
        let mut values = vec![inputs];
        for (index, node) in self.model.graph.nodes.iter().enumerate() {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|input| &values[*input]).collect();
            let output = self.run(index, node, &inputs)?;
            let shape = value::batched(self.batch.size, &node.shape);
            // Only where it changes something: the derivative of a reshape is a copy.
            values.push(if output.dims() == shape { output } else { output.reshape(shape)? });
        }
        Ok(values.swap_remove(values.len() - 1))
    }

    fn run(&self, index: usize, node: &Node, inputs: &[&Tensor]) -> Result<Tensor> {
        let x = inputs[0];
        let weight = |place: usize| &self.weights[node.tensors[place]];
        match node.op {
            Primitive::Linear { inputs, .. } => self.linear(node, inputs, x),
            Primitive::Conv2d { geometry, .. } => {
                self.affine(node, &self.windows(index)?.columns(x)?, geometry.groups)
            }
            Primitive::Embedding { .. } => weight(0).rows(&x.to_dtype(candle_core::DType::U32)?),
            Primitive::LayerNorm { .. } => norm::layer_norm(x, weight(0), weight(1)),
            Primitive::RmsNorm { .. } => norm::rms_norm(x, weight(0)),
            Primitive::GroupNorm { groups, .. } => {
                norm::group_norm(x, groups, weight(0), weight(1))
            }
            Primitive::Attend { heads, causal } => {
                attention::attend([x, inputs[1], inputs[2]], heads, causal)
            }
            Primitive::Lstm { hidden } => recurrent::lstm(x, hidden, weight(0), weight(1)),
            Primitive::Gru { hidden } => recurrent::gru(x, hidden, weight(0), weight(1)),
            Primitive::Activation(function) => value::activation(function, x),
            Primitive::Softmax => value::softmax(x),
            Primitive::Dropout { .. } => self.dropout(index, node, x),
            Primitive::Pool { average: true, .. } => self.windows(index)?.means(x),
            Primitive::Pool { average: false, .. } => self.windows(index)?.maxima(x),
            Primitive::MeanSequence => x.mean(1),
            Primitive::LastStep => x.narrow(1, x.dim(1)? - 1, 1),
            Primitive::Transpose => x.transpose(1, 2),
            Primitive::Reshape => Ok(x.clone()),
            Primitive::Add { scale } => x.add(&inputs[1].affine(f64::from(scale), 0.0)?),
        }
    }

    /// `[batch, .., inputs] -> [batch, rows, outputs]`.
    fn linear(&self, node: &Node, inputs: usize, x: &Tensor) -> Result<Tensor> {
        let rows = x.elem_count() / (self.batch.size * inputs).max(1);
        let columns = x.reshape((self.batch.size, rows, inputs))?.transpose(1, 2)?;
        self.affine(node, &columns, 1)?.transpose(1, 2)
    }

    /// `W x + b` with b where the node has one; columns in, columns out.
    fn affine(&self, node: &Node, columns: &Tensor, groups: usize) -> Result<Tensor> {
        let mut weights = node.tensors.iter().map(|tensor| &self.weights[*tensor]);
        let (Some(weight), bias) = (weights.next(), weights.next()) else {
            candle_core::bail!("layer {} has no weight", node.layer);
        };
        let product = weight.product(columns, groups)?;
        match bias {
            Some(bias) => product.broadcast_add(&bias.along_rows()?),
            None => Ok(product),
        }
    }

    fn dropout(&self, index: usize, node: &Node, x: &Tensor) -> Result<Tensor> {
        let Some(write_factors) = self.batch.dropout else { return Ok(x.clone()) };
        let length: usize = node.shape.iter().product();
        let mut factors = vec![0.0; self.batch.size * length];
        for (example, factors) in factors.chunks_exact_mut(length.max(1)).enumerate() {
            write_factors(index, example, factors);
        }
        x.mul(&Tensor::from_vec(factors, x.shape(), x.device())?)
    }

    fn windows(&self, index: usize) -> Result<&Windows> {
        let windows = self.model.windows[index].as_ref();
        Ok(windows.expect("`GenericModel::new` makes them for convolution and pooling"))
    }
}
