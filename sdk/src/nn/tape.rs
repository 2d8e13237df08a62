//! Layers as candle ops, and the tape on which they leave what a parameter gradient
//! needs.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Storage, Tensor};

use super::layer::{Layer, Pass};

/// What a layer with parameters saw in one micro-batch.
pub(super) struct Record {
    /// Position among the layers of the model.
    pub(super) layer: usize,
    /// Its input, `[batch, input_len]`.
    pub(super) input: Tensor,
    /// Gradient of the loss with respect to its output, `[batch, output_len]`.
    pub(super) gradient: Tensor,
}

/// The records of one micro-batch, filled by the backward pass, last layer first.
#[derive(Default)]
pub(super) struct Tape(Mutex<Vec<Record>>);

impl Tape {
    /// Takes all records away.
    pub(super) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

/// One layer applied to one micro-batch. The parameters live in the op and not in the
/// graph, so that candle forms no gradient of them.
pub(super) struct LayerOp {
    pub(super) layer: Arc<dyn Layer>,
    pub(super) weights: Arc<[f32]>,
    /// Position among the layers of the model.
    pub(super) index: usize,
    /// The first layer with parameters: nobody needs the gradient of its input.
    pub(super) first: bool,
    pub(super) tape: Arc<Tape>,
}

impl CustomOp1 for LayerOp {
    fn name(&self) -> &'static str {
        self.layer.name()
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = values(storage, layout)?;
        let shape = (layout.dims()[0], self.layer.output_len());
        let mut output = vec![0.0; shape.0 * shape.1];
        self.layer.forward(&self.weights, input, &mut output);
        Ok((CpuStorage::F32(output), Shape::from(shape)))
    }

    fn bwd(&self, input: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if self.layer.parameters() > 0 {
            // Detached: a record that kept the graph would keep the tape it lies on.
            let (input, gradient) = (input.detach(), gradient.detach());
            self.tape.push(Record { layer: self.index, input, gradient });
        }
        if self.first {
            return Ok(None);
        }
        let (input, output) = (Values::of(input), Values::of(output));
        let gradient = Values::of(gradient);
        let at = Pass { input: input.get()?, output: output.get()?, gradient: gradient.get()? };
        let mut result = vec![0.0; at.input.len()];
        self.layer.input_gradient(&self.weights, at, &mut result);
        tensor(result, input.rows()).map(Some)
    }
}

/// A tensor `[rows, values / rows]` of its own.
pub(super) fn tensor(values: Vec<f32>, rows: usize) -> Result<Tensor> {
    let cols = values.len() / rows.max(1);
    Tensor::from_vec(values, (rows, cols), &Device::Cpu)
}

/// The values of a contiguous tensor, lent while the tensor lives.
pub(super) struct Values<'a> {
    // Candle's guard type has no public name.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    layout: &'a Layout,
}

impl<'a> Values<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage: Box::new(storage), layout }
    }

    /// Size of the first dimension.
    pub(super) fn rows(&self) -> usize {
        self.layout.dims().first().copied().unwrap_or(1)
    }

    pub(super) fn get(&self) -> Result<&[f32]> {
        match &**self.storage {
            Storage::Cpu(storage) => values(storage, self.layout),
            _ => candle_core::bail!("the tensor is not in CPU memory"),
        }
    }
}

/// The values that a contiguous layout selects.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("the tensor is not contiguous"),
    }
}
