//! What the CPU engine asks of an operation.
//!
//! Values of a micro-batch lie one example after the other. One example's value is
//! row-major in its logical shape, but images `[c, h, w]` lie channels last, `[h, w, c]`:
//! then a convolution reads its input as it lies, and channels fill the vectors.

use std::fmt::Debug;

/// One node of the graph on the CPU. All slices hold whole micro-batches unless stated.
pub(crate) trait Op: Debug + Send + Sync {
    /// Values that one example keeps from the forward pass for the backward pass and for
    /// its parameter gradient, besides inputs and output.
    fn saved_len(&self) -> usize {
        0
    }

    /// Values of scratch that a call needs, for a micro-batch of `batch` examples. Holds
    /// anything when a call begins.
    fn scratch_len(&self, _batch: usize) -> usize {
        0
    }

    /// Lays the parameters out as the passes want them; once a step. `back`: whether the way
    /// back needs a layout of its own, because the input's gradient is of use. The default is
    /// one tensor after the other.
    fn pack(&self, tensors: &[&[f32]], _back: bool, packed: &mut Vec<f32>) {
        packed.clear();
        tensors.iter().for_each(|tensor| packed.extend_from_slice(tensor));
    }

    /// Writes all of `output` and of `saved`.
    fn forward(&self, at: Forward<'_>);

    /// Writes all of every input gradient that is asked for; may change `saved`, for
    /// [`Op::parameter_gradient`].
    fn backward(&self, at: Backward<'_>);

    /// Gradient of one example's loss with respect to the parameters, one tensor after the
    /// other, in flat order unless [`Op::order`] says otherwise; writes all of `result`. `at`
    /// is that of one example.
    fn parameter_gradient(&self, _at: Seen<'_>, _result: &mut [f32], _scratch: &mut [f32]) {}

    /// Where entry i of what [`Op::parameter_gradient`] writes belongs in the flat order of
    /// the tensors, if not at i.
    fn order(&self) -> Option<Vec<u32>> {
        None
    }
}

/// A micro-batch on its way forwards.
pub(crate) struct Forward<'a> {
    /// Packed parameters of the node.
    pub(crate) weights: &'a [f32],
    /// One slice an input of the node.
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a mut [f32],
    /// `[batch, saved_len]`.
    pub(crate) saved: &'a mut [f32],
    pub(crate) scratch: &'a mut [f32],
    /// Examples of the micro-batch.
    pub(crate) batch: usize,
    /// What dropout is drawn from, one an example; empty outside of training.
    pub(crate) streams: &'a [u64],
}

/// A micro-batch on its way back.
pub(crate) struct Backward<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a [f32],
    /// Gradient of the loss with respect to the output.
    pub(crate) gradient: &'a [f32],
    pub(crate) saved: &'a mut [f32],
    pub(crate) scratch: &'a mut [f32],
    pub(crate) batch: usize,
    pub(crate) streams: &'a [u64],
    /// One an input of the node; `None` where nobody needs it.
    pub(crate) input_gradients: &'a mut [Option<&'a mut [f32]>],
}

/// What one example left behind on its way forwards and back.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The node's first (for parametrised nodes: only) input.
    pub(crate) input: &'a [f32],
    /// Gradient of the loss with respect to the output.
    pub(crate) gradient: &'a [f32],
    pub(crate) saved: &'a [f32],
}
