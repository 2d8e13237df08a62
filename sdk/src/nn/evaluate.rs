//! Outputs, losses and accuracy; not private, and so not to leave a device as they are.

use std::sync::Arc;

use rayon::prelude::*;

use super::loss::CrossEntropy;
use super::tape::{Tape, Values};
use super::{BoundModel, Error, MICRO_BATCH, Model};

impl Model {
    /// Outputs (logits) `[batch, output_len]` for `inputs` `[batch, input_len]`. Micro-batches
    /// run in parallel on rayon's current pool; the bits do not depend on it.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`].
    pub fn predict(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        batch: usize,
    ) -> Result<Vec<f32>, Error> {
        self.check_inputs(inputs, batch)?;
        let bound = self.bind(parameters)?;
        let pieces = inputs.par_chunks(MICRO_BATCH * self.input_len());
        collect(pieces.map(|inputs| bound.logits(inputs)?.to_values()))
    }

    /// The loss of each example, `[batch]`.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`], [`Error::Label`].
    pub fn losses(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        labels: &[u32],
    ) -> Result<Vec<f32>, Error> {
        self.check_inputs(inputs, labels.len())?;
        self.check_labels(labels)?;
        let bound = self.bind(parameters)?;
        let pieces = inputs.par_chunks(MICRO_BATCH * self.input_len());
        collect(pieces.zip(labels.par_chunks(MICRO_BATCH)).map(|(inputs, labels)| {
            let op = CrossEntropy { labels: Arc::from(labels) };
            bound.logits(inputs)?.apply_op1_no_bwd(&op)?.to_values()
        }))
    }

    /// Share of examples whose largest output is that of their label; 0 for none.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`], [`Error::Label`].
    pub fn accuracy(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        labels: &[u32],
    ) -> Result<f64, Error> {
        self.check_labels(labels)?;
        let logits = self.predict(parameters, inputs, labels.len())?;
        let rows = logits.chunks_exact(self.output_len());
        let right =
            rows.zip(labels).filter(|(row, label)| largest(row) == **label as usize).count();
        Ok(right as f64 / labels.len().max(1) as f64)
    }
}

impl BoundModel<'_> {
    fn logits(&self, inputs: &[f32]) -> Result<candle_core::Tensor, Error> {
        self.run(0..self.weights.len(), self.input(inputs)?, &Arc::new(Tape::default()))
    }
}

/// Copies a tensor's values out.
trait ToValues {
    fn to_values(&self) -> Result<Vec<f32>, Error>;
}

impl ToValues for candle_core::Tensor {
    fn to_values(&self) -> Result<Vec<f32>, Error> {
        Ok(Values::of(self).get()?.to_vec())
    }
}

/// Pieces in order, one after the other.
fn collect(
    pieces: impl IndexedParallelIterator<Item = Result<Vec<f32>, Error>>,
) -> Result<Vec<f32>, Error> {
    Ok(pieces.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Index of the first largest value.
fn largest(values: &[f32]) -> usize {
    let best = |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).reduce(best).unwrap_or(0)
}
