//! The clipped sum through the tensor path: gradients come whole from the device, and are
//! standardised, clipped and summed here, by the same code and on the same lattice.

use std::ops::Range;

use adafed_privacy::NormBound;

use super::Views;
use super::norms::{SQUARES_ERROR, squares};
use super::pass::{Constants, Worker};
use crate::Error;
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
    pub(super) views: Views<'a>,
    pub(super) constants: &'a Constants,
    pub(super) parameters: &'a [f32],
}

impl TensorPass<'_> {
    /// Adds the examples at `indices` to the worker's sum, which is in flat order.
    pub(super) fn add(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        let size = (MOST_VALUES / self.parameters.len()).clamp(1, MOST_EXAMPLES);
        let count = indices.len() * self.views.each;
        let mut sum = Vec::new();
        for start in (0..count).step_by(size) {
            let places = start..count.min(start + size);
            let mut gradients = self.gradients(indices, places.clone(), size)?;
            let gradients = gradients.chunks_exact_mut(self.parameters.len());
            for (place, gradient) in places.zip(gradients) {
                if self.views.completes(place, gradient, &mut sum) {
                    self.add_example(worker, gradient);
                }
            }
        }
        Ok(())
    }

    /// Gradients of the views in `places`, `[size, d]`. Fewer than `size` are filled up with
    /// zeros: a library may choose its kernels by the shape of a batch, and an example's bits
    /// must not depend on how many others were drawn.
    fn gradients(
        &self,
        indices: &[usize],
        places: Range<usize>,
        size: usize,
    ) -> Result<Vec<f32>, Error> {
        let (model, drawn, start) = (self.model, places.len(), places.start);
        let seen: usize = model.seen_shape().iter().product();
        let mut inputs = vec![0.0; size * seen];
        let mut targets = vec![0.0; size * model.target_len()];
        let read = (&mut inputs[..drawn * seen], &mut targets[..drawn * model.target_len()]);
        model.read_into(read.0, read.1, |slot, input, target| {
            self.views.read(indices, start + slot, input, target)
        })?;
        let mut streams: Vec<u64> = places.map(|place| self.views.stream(indices, place)).collect();
        streams.resize(size, self.views.seed);
        let mask = |node: usize, example: usize, factors: &mut [f32]| {
            model.engine().dropout_factors(node, streams[example], factors);
        };
        let parameters = Parameters { trainable: self.parameters, frozen: model.frozen() };
        let batch = Batch { size, inputs: &inputs, targets: &targets, dropout: Some(&mask) };
        Ok(self.tensors.gradients(parameters, batch).map_err(crate::nn::Error::from)?)
    }

    fn add_example(&self, worker: &mut Worker, gradient: &mut [f32]) {
        let constants = self.constants;
        let gain = constants.gain.as_deref();
        constants.centre_part(0, gradient);
        let norm = NormBound::of_squares(squares(gradient, gain), SQUARES_ERROR);
        let factor = constants.layout.factor(norm, NormBound::NONE, std::iter::empty());
        if let Some(mut part) = worker.sum.contribution(factor) {
            part.add_part(0, gradient, gain);
        }
    }
}
