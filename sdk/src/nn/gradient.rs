//! The gradient of every single example.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::layer::Layer;
use super::loss::CrossEntropy;
use super::tape::{LayerOp, Record, Tape, Values};
use super::{BoundModel, Error, Model};
use crate::kernels::Columns;

/// Examples that go through the layers together. A constant, and not a function of the
/// number of threads, so that cutting a batch into micro-batches is the same everywhere.
/// Eight was measured fastest on the 26,010-parameter network: activations stay in cache.
pub const MICRO_BATCH: usize = 8;

impl BoundModel<'_> {
    /// Computes one micro-batch forwards and backwards, then calls `visit(index, gradient)`
    /// for each example in order: `inputs` `[batch, input_len]`, `labels` `[batch]`,
    /// `gradient` `[d]` in flat order, of that example's own loss.
    ///
    /// The gradient lies in one buffer that is overwritten for the next example; `visit`
    /// may change it in place. Runs on the calling thread; cut a batch into pieces of
    /// [`MICRO_BATCH`] and run those in parallel. The bits of a gradient depend neither on
    /// the number of threads nor on the other examples.
    ///
    /// # Errors
    /// [`Error::Inputs`], [`Error::Label`], before `visit` is called.
    ///
    /// # Edge cases
    /// | given | result |
    /// | --- | --- |
    /// | no examples | `visit` is not called |
    /// | NaN or infinite input | that example's gradient holds NaN; no other is touched |
    pub fn for_each_gradient(
        &self,
        inputs: &[f32],
        labels: &[u32],
        visit: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), Error> {
        self.model.check_inputs(inputs, labels.len())?;
        self.model.check_labels(labels)?;
        if labels.is_empty() {
            return Ok(());
        }
        let records = self.record(inputs, labels)?;
        let opened: Vec<Opened<'_>> =
            records.iter().map(|record| Opened::of(self.model, record)).collect();
        let mut gradient = vec![0.0; self.model.parameters()];
        let mut columns = Columns::default();
        for example in 0..labels.len() {
            for opened in &opened {
                opened.parameter_gradient(example, &mut gradient, &mut columns)?;
            }
            visit(example, &mut gradient);
        }
        Ok(())
    }

    /// Forward and backward pass of one micro-batch.
    fn record(&self, inputs: &[f32], labels: &[u32]) -> Result<Vec<Record>, Error> {
        let tape = Arc::new(Tape::default());
        // Layers before the first parameter need no gradient: candle tracks from there on.
        let first = self.model.first_with_parameters();
        let input = self.run(0..first, self.input(inputs)?, &tape)?;
        let input = Var::from_tensor(&input)?;
        let logits = self.run(first..self.weights.len(), input.as_tensor().clone(), &tape)?;
        let losses = logits.apply_op1(CrossEntropy { labels: Arc::from(labels) })?;
        losses.backward()?;
        Ok(tape.take())
    }

    /// Applies some of the layers.
    pub(super) fn run(
        &self,
        layers: std::ops::Range<usize>,
        input: Tensor,
        tape: &Arc<Tape>,
    ) -> Result<Tensor, Error> {
        let first = self.model.first_with_parameters();
        let apply = |input: Tensor, index: usize| {
            input.apply_op1(LayerOp {
                layer: Arc::clone(&self.model.layers[index]),
                weights: Arc::clone(&self.weights[index]),
                index,
                first: index == first,
                tape: Arc::clone(tape),
            })
        };
        Ok(layers.into_iter().try_fold(input, apply)?)
    }

    /// Whole examples as a tensor `[batch, input_len]`.
    pub(super) fn input(&self, inputs: &[f32]) -> Result<Tensor, Error> {
        let shape = (inputs.len() / self.model.input_len(), self.model.input_len());
        Ok(Tensor::from_slice(inputs, shape, &Device::Cpu)?)
    }
}

impl Model {
    /// As [`BoundModel::for_each_gradient`], for one micro-batch with its parameters `[d]`.
    /// A step of several micro-batches calls [`Model::bind`] once instead.
    ///
    /// # Errors
    /// As [`Model::bind`] and [`BoundModel::for_each_gradient`].
    pub fn for_each_gradient(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        labels: &[u32],
        visit: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), Error> {
        self.bind(parameters)?.for_each_gradient(inputs, labels, visit)
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
        labels: &[u32],
    ) -> Result<Vec<f32>, Error> {
        self.check_inputs(inputs, labels.len())?;
        self.check_labels(labels)?;
        let bound = self.bind(parameters)?;
        let mut gradients = Vec::with_capacity(labels.len() * self.parameters());
        let pieces = inputs.chunks(MICRO_BATCH * self.input_len());
        for (inputs, labels) in pieces.zip(labels.chunks(MICRO_BATCH)) {
            bound.for_each_gradient(inputs, labels, &mut |_, gradient| {
                gradients.extend_from_slice(gradient);
            })?;
        }
        Ok(gradients)
    }

    /// Position of the first layer with parameters.
    fn first_with_parameters(&self) -> usize {
        self.layers.iter().position(|layer| layer.parameters() > 0).unwrap_or(0)
    }

    /// Refuses inputs that are not `examples` whole examples.
    pub(super) fn check_inputs(&self, inputs: &[f32], examples: usize) -> Result<(), Error> {
        let expected = examples.saturating_mul(self.input_len());
        if inputs.len() == expected {
            return Ok(());
        }
        Err(Error::Inputs { found: inputs.len(), examples, expected })
    }

    /// Refuses labels that the model has no output for.
    pub(super) fn check_labels(&self, labels: &[u32]) -> Result<(), Error> {
        let classes = self.output_len();
        let refused = labels.iter().position(|label| *label as usize >= classes);
        match refused {
            Some(example) => Err(Error::Label { example, label: labels[example], classes }),
            None => Ok(()),
        }
    }
}

/// A record whose values are at hand, with the layer and its place in the flat vector.
struct Opened<'a> {
    layer: &'a dyn Layer,
    slot: std::ops::Range<usize>,
    batch: usize,
    input: Values<'a>,
    gradient: Values<'a>,
}

impl<'a> Opened<'a> {
    fn of(model: &'a Model, record: &'a Record) -> Self {
        let slot = model.slots().nth(record.layer).unwrap_or_default();
        let layer = &*model.layers[record.layer];
        let (input, gradient) = (Values::of(&record.input), Values::of(&record.gradient));
        Self { layer, slot, batch: input.rows(), input, gradient }
    }

    fn parameter_gradient(
        &self,
        example: usize,
        result: &mut [f32],
        columns: &mut Columns,
    ) -> Result<(), Error> {
        let input = row(self.input.get()?, example, self.batch);
        let gradient = row(self.gradient.get()?, example, self.batch);
        let result = &mut result[self.slot.clone()];
        self.layer.parameter_gradient(input, gradient, result, columns);
        Ok(())
    }
}

/// Row `index` of `values` `[rows, ..]`.
fn row(values: &[f32], index: usize, rows: usize) -> &[f32] {
    let len = values.len() / rows;
    &values[index * len..(index + 1) * len]
}
