//! What the recurrent cores share: sizes, packed weights, and the gradient of the hidden
//! side.
//!
//! Each example keeps one slot a time step, `[gates + 1, hidden]`: what the cell needs on its
//! way back; once back, the gradient of `h_{t-1} W_hh^T + b_hh` and then `h_t`.

use crate::kernels::{Matrix, multiply, vectorised};

/// Sizes of a core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) gates: usize,
    pub(super) hidden: usize,
    pub(super) length: usize,
}

/// Packed weights: `W_hh` `[gates hidden, hidden]`, bias, and `W_hh` transposed.
pub(super) struct Weights<'a> {
    sizes: Sizes,
    matrix: &'a [f32],
    bias: &'a [f32],
    transposed: &'a [f32],
}

impl Sizes {
    /// Values of all gates at one time step.
    pub(super) fn wide(&self) -> usize {
        self.gates * self.hidden
    }

    /// Values kept for one time step.
    pub(super) fn slot(&self) -> usize {
        self.wide() + self.hidden
    }

    pub(super) fn saved_len(&self) -> usize {
        self.length * self.slot()
    }

    pub(super) fn pack(&self, tensors: &[&[f32]], packed: &mut Vec<f32>) {
        packed.clear();
        tensors.iter().for_each(|tensor| packed.extend_from_slice(tensor));
        for column in 0..self.hidden {
            packed.extend(tensors[0].iter().skip(column).step_by(self.hidden));
        }
    }

    // dW_hh = sum_t d_t h_{t-1}^T, db_hh = sum_t d_t; h before the first step is zero.
    pub(super) fn parameter_gradient(&self, saved: &[f32], result: &mut [f32]) {
        let (wide, slot) = (self.wide(), self.slot());
        let (weight, bias) = result.split_at_mut(wide * self.hidden);
        let steps = self.length - 1;
        if steps == 0 {
            weight.fill(0.0);
        } else {
            let gradients = Matrix::strided(&saved[slot..], steps, wide, slot);
            let states = Matrix::strided(&saved[wide..], steps, self.hidden, slot);
            multiply(weight, gradients.transposed(), states, false);
        }
        bias.fill(0.0);
        vectorised!(for slot in saved.chunks_exact(slot) {
            for (bias, gradient) in bias.iter_mut().zip(slot) {
                *bias += gradient;
            }
        });
    }
}

impl<'a> Weights<'a> {
    pub(super) fn of(sizes: Sizes, packed: &'a [f32]) -> Self {
        let (matrix, rest) = packed.split_at(sizes.wide() * sizes.hidden);
        let (bias, transposed) = rest.split_at(sizes.wide());
        Self { sizes, matrix, bias, transposed }
    }

    /// `result = h_{t-1} W_hh^T + b_hh` for every example, `[batch, gates hidden]`; `states`
    /// holds h `[batch, length, hidden]`.
    pub(super) fn hidden_side(&self, t: usize, states: &[f32], result: &mut [f32]) {
        let Sizes { hidden, length, .. } = self.sizes;
        let wide = self.sizes.wide();
        result.chunks_exact_mut(wide).for_each(|row| row.copy_from_slice(self.bias));
        if t > 0 {
            let batch = result.len() / wide;
            let states = &states[(t - 1) * hidden..];
            let states = Matrix::strided(states, batch, hidden, length * hidden);
            multiply(result, states, Matrix::new(self.transposed, hidden, wide), true);
        }
    }

    /// `result += d_t W_hh` for every example, `[batch, hidden]`: what step t hands to the
    /// state before it.
    pub(super) fn add_state_gradient(&self, t: usize, saved: &[f32], result: &mut [f32]) {
        let Sizes { hidden, .. } = self.sizes;
        let wide = self.sizes.wide();
        let gradients = &saved[t * self.sizes.slot()..];
        let gradients =
            Matrix::strided(gradients, result.len() / hidden, wide, self.sizes.saved_len());
        multiply(result, gradients, Matrix::new(self.matrix, wide, hidden), true);
    }
}
