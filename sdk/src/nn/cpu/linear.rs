//! The linear layer.

use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::{
    Left, Output, Right, Start, column_sums, pack_columns, pack_rows, packed_len, product,
};

/// `y = x W^T + b` at each position of an example, W `[outputs, inputs]`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
    /// Times the layer is applied to one example.
    pub(crate) positions: usize,
}

impl Linear {
    /// Where W, packed for the backward pass, begins, and where the bias does.
    fn places(&self) -> (usize, usize) {
        let forward = packed_len(self.inputs, self.outputs);
        (forward, forward + packed_len(self.outputs, self.inputs))
    }
}

impl Op for Linear {
    // W^T for Y = X W^T, W for dX = dY W, then the bias.
    fn pack(&self, tensors: &[&[f32]], back: bool, packed: &mut Vec<f32>) {
        let (backward, bias) = self.places();
        let weight = tensors[0];
        packed.resize(bias, 0.0);
        pack_columns(packed, self.inputs, self.outputs, weight);
        if back {
            pack_rows(&mut packed[backward..], self.outputs, self.inputs, weight);
        }
        packed.extend_from_slice(if self.bias { tensors[1] } else { &[] });
    }

    fn forward(&self, at: Forward<'_>) {
        let (backward, bias) = self.places();
        let left = Left::rows(at.inputs[0], at.batch * self.positions, self.inputs);
        let right = Right::packed(&at.weights[..backward], self.inputs, self.outputs);
        let start = if self.bias { Start::Bias(&at.weights[bias..]) } else { Start::Zero };
        product(Output::rows(at.output, self.outputs), left, right, start);
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let (backward, bias) = self.places();
        let left = Left::rows(at.gradient, at.batch * self.positions, self.outputs);
        let right = Right::packed(&at.weights[backward..bias], self.outputs, self.inputs);
        product(Output::rows(result, self.inputs), left, right, Start::Zero);
    }

    // dW = dY^T X and db = dY^T 1, summed over positions.
    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        let (weight, bias) = result.split_at_mut(self.inputs * self.outputs);
        let left = Left::columns(at.gradient, self.positions, self.outputs);
        let right = Right::rows(at.input, self.positions, self.inputs, self.inputs);
        product(Output::rows(weight, self.inputs), left, right, Start::Zero);
        if self.bias {
            column_sums(at.gradient, bias);
        }
    }
}
