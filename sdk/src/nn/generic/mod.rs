//! Per-example gradients with the operations of a tensor library: the path of the GPUs,
//! and the oracle of the CPU engine.
//!
//! Each trainable tensor is copied once an example, and each copy sees its example only;
//! so the gradient of the summed losses with respect to copy `b` is the gradient of
//! example `b`. Shapes are logical: `[batch, ..]`, images `[batch, channels, h, w]`.
//! Every operation has a CUDA and a Metal kernel and a derivative in the library.

mod attention;
mod evaluate;
mod loss;
mod norm;
mod recurrent;
mod value;
mod weight;
mod window;

#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor};

use super::device::{Device, Error, first_line};
use super::graph::Graph;
use evaluate::Pass;
use weight::Weight;
use window::Windows;

/// A graph on a device.
#[derive(Debug)]
pub(crate) struct GenericModel {
    graph: Graph,
    device: candle_core::Device,
    /// For each node that reads windows of an image, which pixels.
    windows: Vec<Option<Windows>>,
}

/// Flat parameters, in the order of `Graph::layout`.
#[derive(Clone, Copy)]
pub(crate) struct Parameters<'a> {
    pub(crate) trainable: &'a [f32],
    pub(crate) frozen: &'a [f32],
}

/// Examples, one after the other, in the logical order of their shapes. Row numbers of
/// embeddings and labels are whole numbers in range: the caller has checked them.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Number of examples.
    pub(crate) size: usize,
    /// `[size, input]`.
    pub(crate) inputs: &'a [f32],
    /// `[size, target]`; not looked at where only outputs are asked for.
    pub(crate) targets: &'a [f32],
    /// Where the zeros of dropout are; `None`: nowhere, as outside of training.
    pub(crate) dropout: Option<&'a DropoutFactors<'a>>,
}

/// Writes by what each value that reaches a dropout node is multiplied, for (position of
/// the node in `Graph::nodes`, example, factors): 0 or `1 / (1 - rate)`.
pub(crate) type DropoutFactors<'f> = dyn Fn(usize, usize, &mut [f32]) + 'f;

impl GenericModel {
    /// Opens `device` and puts the index tensors of `graph` there.
    ///
    /// # Errors
    /// The device cannot be opened.
    pub(crate) fn new(graph: &Graph, device: Device) -> std::result::Result<Self, Error> {
        let device = device.open()?;
        let windows = graph.nodes.iter().map(|node| Windows::of(graph, node, &device));
        let windows = windows.collect::<Result<_>>().map_err(tensor_error)?;
        Ok(Self { graph: graph.clone(), device, windows })
    }

    /// The model's outputs `[size, output]`.
    ///
    /// # Errors
    /// An operation failed on the device, or lengths do not fit.
    #[cfg(test)]
    pub(crate) fn outputs(
        &self,
        parameters: Parameters<'_>,
        batch: Batch<'_>,
    ) -> std::result::Result<Vec<f32>, Error> {
        let outputs = || {
            let weights = self.weights(parameters, None)?;
            values(&self.forward(&weights, batch)?)
        };
        outputs().map_err(tensor_error)
    }

    /// The loss of each example `[size]`.
    ///
    /// # Errors
    /// An operation failed on the device, or lengths do not fit.
    #[cfg(test)]
    pub(crate) fn losses(
        &self,
        parameters: Parameters<'_>,
        batch: Batch<'_>,
    ) -> std::result::Result<Vec<f32>, Error> {
        let losses = || {
            let weights = self.weights(parameters, None)?;
            values(&self.loss(&weights, batch)?)
        };
        losses().map_err(tensor_error)
    }

    /// The gradient of each example's loss with respect to the trainable tensors
    /// `[size, parameters]`.
    ///
    /// # Errors
    /// An operation failed on the device, or lengths do not fit.
    pub(crate) fn gradients(
        &self,
        parameters: Parameters<'_>,
        batch: Batch<'_>,
    ) -> std::result::Result<Vec<f32>, Error> {
        self.try_gradients(parameters, batch).map_err(tensor_error)
    }

    fn try_gradients(&self, parameters: Parameters<'_>, batch: Batch<'_>) -> Result<Vec<f32>> {
        let weights = self.weights(parameters, Some(batch.size))?;
        let store = self.loss(&weights, batch)?.sum_all()?.backward()?;
        let trainable = weights.iter().filter_map(Weight::copies);
        let gradients = trainable.map(|copies| match store.get(copies) {
            Some(gradient) => gradient.flatten_from(1),
            // A tensor that the loss does not depend on.
            None => copies.zeros_like()?.flatten_from(1),
        });
        let gradients: Vec<Tensor> = gradients.collect::<Result<_>>()?;
        match gradients.is_empty() {
            true => Ok(Vec::new()),
            false => values(&Tensor::cat(&gradients, 1)?),
        }
    }

    fn loss(&self, weights: &[Weight], batch: Batch<'_>) -> Result<Tensor> {
        let targets = (batch.size, self.graph.target_len());
        let targets = Tensor::from_slice(batch.targets, targets, &self.device)?;
        loss::losses(self.graph.loss, &self.forward(weights, batch)?, &targets)
    }

    fn forward(&self, weights: &[Weight], batch: Batch<'_>) -> Result<Tensor> {
        let shape = value::batched(batch.size, &self.graph.input);
        let inputs = Tensor::from_slice(batch.inputs, shape, &self.device)?;
        Pass { model: self, weights, batch }.output(inputs)
    }

    /// All tensors in the order of the graph, the trainable ones copied `copies` times.
    fn weights(&self, parameters: Parameters<'_>, copies: Option<usize>) -> Result<Vec<Weight>> {
        let Parameters { mut trainable, mut frozen } = parameters;
        let weights = self.graph.tensors.iter().map(|tensor| {
            let rest = if tensor.trainable { &mut trainable } else { &mut frozen };
            let Some((values, after)) = rest.split_at_checked(tensor.len()) else {
                candle_core::bail!("too few parameters for {}", tensor.name);
            };
            *rest = after;
            let copies = copies.filter(|_| tensor.trainable);
            Weight::new(values, &tensor.shape, copies, &self.device)
        });
        let weights = weights.collect::<Result<_>>()?;
        match trainable.len() + frozen.len() {
            0 => Ok(weights),
            surplus => candle_core::bail!("{surplus} parameters more than the graph has"),
        }
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn tensor_error(error: candle_core::Error) -> Error {
    Error::Tensor { reason: first_line(&error) }
}
