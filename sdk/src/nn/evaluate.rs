//! Outputs, losses and accuracy; not private, and so not to leave a device as they are.

use std::sync::Arc;

use rayon::prelude::*;

use super::cpu::{Workspace, loss};
use super::{BoundModel, Error, Model};
use crate::data::features::Features;

impl Model {
    /// Outputs (logits) `[batch, output_len]` for `inputs` `[batch, input_len]`. A single
    /// micro-batch runs on the calling thread, several in parallel on rayon's current pool; the
    /// bits do not depend on it.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`], [`Error::Token`], and those of
    /// [`Model::features`].
    pub fn predict(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        batch: usize,
    ) -> Result<Vec<f32>, Error> {
        self.check_inputs(inputs, batch)?;
        let features = self.features()?;
        let bound = self.bind(parameters)?;
        let mut outputs = vec![0.0; batch * self.output_len()];
        let most = self.micro_batch();
        if batch <= most {
            bound.outputs(features, inputs, &mut outputs);
            return Ok(outputs);
        }
        let pieces = inputs.par_chunks(most * self.input_len());
        let results = outputs.par_chunks_mut(most * self.output_len());
        let pieces = pieces.zip(results);
        pieces.for_each(|(inputs, outputs)| bound.outputs(features, inputs, outputs));
        Ok(outputs)
    }

    /// The loss of each example, `[batch]`, for `targets` `[batch, target_len]`.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`], [`Error::Targets`], [`Error::Label`],
    /// [`Error::Token`]; [`Error::NotFiniteLoss`] names the first example without one.
    pub fn losses(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: &[f32],
    ) -> Result<Vec<f32>, Error> {
        let batch = self.check_examples(inputs, targets)?;
        let outputs = self.predict(parameters, inputs, batch)?;
        let (graph, rows) = (self.graph(), outputs.chunks_exact(self.output_len()));
        let examples = rows.zip(targets.chunks_exact(self.target_len()));
        let losses: Vec<f32> =
            examples.map(|(output, target)| loss::value(graph.loss, output, target)).collect();
        match losses.iter().position(|loss| !loss.is_finite()) {
            Some(example) => Err(Error::NotFiniteLoss { example, loss: losses[example] }),
            None => Ok(losses),
        }
    }

    /// Share of labels that the largest output belongs to, over examples, and positions
    /// where there are several; 0 for none.
    ///
    /// # Errors
    /// [`Error::Parameters`], [`Error::Inputs`], [`Error::Targets`], [`Error::Label`],
    /// [`Error::Token`].
    pub fn accuracy(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: &[f32],
    ) -> Result<f64, Error> {
        let batch = self.check_examples(inputs, targets)?;
        let outputs = self.predict(parameters, inputs, batch)?;
        let classes = self.graph().output().last().copied().unwrap_or(1);
        let rows = outputs.chunks_exact(classes);
        let right =
            rows.zip(targets).filter(|(row, label)| largest(row) == **label as usize).count();
        Ok(right as f64 / targets.len().max(1) as f64)
    }
}

impl BoundModel<'_> {
    fn outputs(&self, features: Option<&Arc<dyn Features>>, inputs: &[f32], outputs: &mut [f32]) {
        let (model, engine) = (self.model, self.model.engine());
        let mut workspace: Workspace = model.workspace();
        let batch = inputs.len() / model.input_len();
        Model::see(features, inputs, workspace.inputs(engine, batch));
        workspace.forward(engine, &self.packed, &[]);
        outputs.copy_from_slice(workspace.outputs(engine));
        model.give_back(workspace);
    }
}

/// Index of the first largest value.
fn largest(values: &[f32]) -> usize {
    let best = |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).reduce(best).unwrap_or(0)
}
