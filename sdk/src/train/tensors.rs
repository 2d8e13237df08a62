//! The clipped sum through the tensor path: gradients come whole from the device, and are
//! standardised, clipped and summed here, by the same code and on the same lattice.

use adafed_privacy::NormBound;

use super::norms::{SQUARES_ERROR, squares};
use super::pass::{Constants, Worker};
use crate::Error;
use crate::data::Dataset;
use crate::nn::Model;
use crate::nn::generic::{Batch, GenericModel, Parameters};

/// Gradient values that are on the device together, at most.
const MOST_VALUES: usize = 1 << 26;
/// Examples that are on the device together, at most.
const MOST_EXAMPLES: usize = 256;

/// One step on a device.
pub(super) struct TensorPass<'a> {
    pub(super) model: &'a Model,
    pub(super) tensors: &'a GenericModel,
    pub(super) data: &'a dyn Dataset,
    pub(super) constants: &'a Constants,
    pub(super) parameters: &'a [f32],
    /// What dropout masks of this step are drawn from.
    pub(super) dropout: u64,
}

impl TensorPass<'_> {
    /// Adds the examples at `indices` to the worker's sum, which is in flat order.
    pub(super) fn add(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        let together = (MOST_VALUES / self.parameters.len()).clamp(1, MOST_EXAMPLES);
        indices.chunks(together).try_for_each(|indices| self.add_some(worker, indices, together))
    }

    /// Fewer examples than `size` are filled up with zeros, which are not added: a library may
    /// choose its kernels by the shape of a batch, and an example's bits must not depend on how
    /// many others were drawn.
    fn add_some(&self, worker: &mut Worker, indices: &[usize], size: usize) -> Result<(), Error> {
        let (model, drawn) = (self.model, indices.len());
        let mut inputs = vec![0.0; size * model.seen_len()];
        let mut targets = vec![0.0; size * model.target_len()];
        let read =
            (&mut inputs[..drawn * model.seen_len()], &mut targets[..drawn * model.target_len()]);
        model.read_into(self.data, indices, read.0, read.1)?;
        let streams: Vec<u64> = (0..size)
            .map(|e| super::stream(self.dropout, indices.get(e).map_or(0, |i| *i)))
            .collect();
        let mask = |node: usize, example: usize, factors: &mut [f32]| {
            model.engine().dropout_factors(node, streams[example], factors);
        };
        let parameters = Parameters { trainable: self.parameters, frozen: model.frozen() };
        let batch = Batch { size, inputs: &inputs, targets: &targets, dropout: Some(&mask) };
        let mut gradients =
            self.tensors.gradients(parameters, batch).map_err(crate::nn::Error::from)?;
        let constants = self.constants;
        let gain = constants.gain.as_deref();
        let factor = |norm| constants.layout.factor(norm, NormBound::NONE, std::iter::empty());
        for gradient in gradients.chunks_exact_mut(self.parameters.len()).take(drawn) {
            constants.centre_part(0, gradient);
            let norm = NormBound::of_squares(squares(gradient, gain), SQUARES_ERROR);
            if let Some(mut part) = worker.sum.contribution(factor(norm)) {
                part.add_part(0, gradient, gain);
            }
        }
        Ok(())
    }
}
