//! The gradient of every single example, and their plain sum.

use std::sync::Arc;

use super::cpu::Workspace;
use super::graph::Primitive;
use super::{BoundModel, Error, Loss, Model};
use crate::data::features::Features;

impl BoundModel<'_> {
    /// Computes one micro-batch forwards and backwards, then calls `visit(index, gradient)`
    /// for each example in order: `inputs` `[batch, input_len]`, `targets`
    /// `[batch, target_len]`, `gradient` `[d]` in flat order, of that example's own loss.
    ///
    /// The gradient lies in one buffer that is overwritten for the next example; `visit`
    /// may change it in place. Runs on the calling thread; cut a batch into pieces of
    /// [`Model::micro_batch`] and run those in parallel. The bits of a gradient depend
    /// neither on the number of threads nor on the other examples. Dropout is off.
    ///
    /// # Errors
    /// [`Error::Inputs`], [`Error::Targets`], [`Error::Label`], [`Error::Token`], and those of
    /// [`Model::features`], before `visit` is called.
    ///
    /// # Edge cases
    /// | given | result |
    /// | --- | --- |
    /// | no examples | `visit` is not called |
    /// | NaN or infinite input | that example's gradient holds NaN; no other is touched |
    pub fn for_each_gradient(
        &self,
        inputs: &[f32],
        targets: &[f32],
        visit: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), Error> {
        let model = self.model;
        let batch = model.check_examples(inputs, targets)?;
        let features = model.features()?;
        let engine = model.materialised();
        let mut workspace = model.workspace();
        let d = model.parameters();
        let (mut parts, mut gradient) = (vec![0.0; d], vec![0.0; d]);
        let most = model.micro_batch();
        let pieces = inputs.chunks(most * model.input_len());
        let targets = targets.chunks(most * model.target_len());
        for (piece, (inputs, targets)) in pieces.zip(targets).enumerate() {
            let count = (batch - piece * most).min(most);
            self.run(&mut workspace, features, inputs, targets, count);
            for example in 0..count {
                workspace.dense(engine, example, &mut parts);
                for (value, flat) in parts.iter().zip(&engine.order) {
                    gradient[*flat as usize] = *value;
                }
                visit(piece * most + example, &mut gradient);
            }
        }
        model.give_back(workspace);
        Ok(())
    }

    /// Both passes of one micro-batch.
    fn run(
        &self,
        workspace: &mut Workspace,
        features: Option<&Arc<dyn Features>>,
        inputs: &[f32],
        targets: &[f32],
        batch: usize,
    ) {
        let engine = self.model.engine();
        Model::see(features, inputs, workspace.inputs(engine, batch));
        workspace.forward(engine, &self.packed, &[]);
        workspace.backward(engine, &self.packed, &[], targets);
    }
}

impl Model {
    /// As [`BoundModel::for_each_gradient`], with its parameters `[d]`. A step of several
    /// micro-batches calls [`Model::bind`] once instead.
    ///
    /// # Errors
    /// As [`Model::bind`] and [`BoundModel::for_each_gradient`].
    pub fn for_each_gradient(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: &[f32],
        visit: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), Error> {
        self.bind(parameters)?.for_each_gradient(inputs, targets, visit)
    }

    /// All gradients of a batch at once, `[batch, d]`: for tests and small models, because
    /// it takes batch times d values of memory. Same bits as
    /// [`BoundModel::for_each_gradient`].
    ///
    /// # Errors
    /// As [`Model::for_each_gradient`].
    pub fn per_example_gradients(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: &[f32],
    ) -> Result<Vec<f32>, Error> {
        let mut gradients = Vec::new();
        self.for_each_gradient(parameters, inputs, targets, &mut |_, gradient| {
            gradients.extend_from_slice(gradient);
        })?;
        Ok(gradients)
    }

    /// Refuses inputs and targets that do not fit; the number of examples.
    pub(super) fn check_examples(&self, inputs: &[f32], targets: &[f32]) -> Result<usize, Error> {
        let examples = targets.len() / self.target_len();
        if examples * self.target_len() != targets.len() {
            let (found, expected) = (targets.len(), self.target_len());
            return Err(Error::Targets { found, expected });
        }
        self.check_inputs(inputs, examples)?;
        self.check_targets(targets)?;
        Ok(examples)
    }

    /// Refuses inputs that are not `examples` whole examples, or that name a row which an
    /// embedding does not have.
    pub(crate) fn check_inputs(&self, inputs: &[f32], examples: usize) -> Result<(), Error> {
        let expected = examples.saturating_mul(self.input_len());
        if inputs.len() != expected {
            return Err(Error::Inputs { found: inputs.len(), examples, expected });
        }
        for node in self.graph().nodes.iter().filter(|node| node.inputs.first() == Some(&0)) {
            let Primitive::Embedding { num, .. } = node.op else { continue };
            if let Some(place) = inputs.iter().position(|value| !is_index(*value, num)) {
                return Err(Error::Token {
                    layer: node.layer.clone(),
                    example: place / self.input_len(),
                    position: place % self.input_len(),
                    value: inputs[place],
                    rows: num,
                });
            }
        }
        Ok(())
    }

    /// Refuses labels that the model has no output for.
    pub(crate) fn check_targets(&self, targets: &[f32]) -> Result<(), Error> {
        let classes = match self.graph().loss {
            Loss::CrossEntropy | Loss::SequenceCrossEntropy => {
                self.graph().output().last().copied().unwrap_or(0)
            }
            Loss::BceWithLogits | Loss::Mse => return Ok(()),
        };
        match targets.iter().position(|label| !is_index(*label, classes)) {
            Some(place) => {
                let (example, label) = (place / self.target_len(), targets[place]);
                Err(Error::Label { example, label, classes })
            }
            None => Ok(()),
        }
    }
}

/// Whether a value is a whole number below `count`; NaN is not.
fn is_index(value: f32, count: usize) -> bool {
    value >= 0.0 && value < count as f32 && value.fract() == 0.0
}
