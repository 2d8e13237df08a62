//! The linear layer.

use super::MICRO_BATCH;
use super::layer::{Layer, Pass};
use crate::kernels::{Columns, Matrix, multiply, outer_product};

/// Rows that one product takes. Always the same number, padded with zeros, so that the
/// bits of an example do not depend on how many neighbours it has.
const ROWS: usize = MICRO_BATCH;

/// `y = x W^T + b` at each position of an example, W `[outputs, inputs]`.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) bias: bool,
    /// Times the layer is applied to one example: the product of the leading dimensions.
    pub(super) positions: usize,
}

impl Linear {
    fn weight_len(&self) -> usize {
        self.inputs * self.outputs
    }

    fn weight<'a>(&self, weights: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&weights[..self.weight_len()], self.outputs, self.inputs)
    }
}

impl Layer for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn output_len(&self) -> usize {
        self.positions * self.outputs
    }

    fn parameters(&self) -> usize {
        self.weight_len() + if self.bias { self.outputs } else { 0 }
    }

    fn fan_in(&self) -> usize {
        self.inputs
    }

    fn forward(&self, weights: &[f32], input: &[f32], output: &mut [f32]) {
        let bias = &weights[self.weight_len()..];
        if self.bias {
            output.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(bias));
        }
        multiply_rows(input, self.weight(weights).transposed(), self.outputs, output, self.bias);
    }

    // dX = dY W.
    fn input_gradient(&self, weights: &[f32], at: Pass<'_>, result: &mut [f32]) {
        multiply_rows(at.gradient, self.weight(weights), self.inputs, result, false);
    }

    // dW = dY^T X and db = dY^T 1, summed over positions.
    fn parameter_gradient(
        &self,
        input: &[f32],
        gradient: &[f32],
        result: &mut [f32],
        _columns: &mut Columns,
    ) {
        let (weight, bias) = result.split_at_mut(self.weight_len());
        if self.positions == 1 {
            outer_product(gradient, input, weight);
            bias.copy_from_slice(&gradient[..bias.len()]);
            return;
        }
        let input = Matrix::new(input, self.positions, self.inputs);
        let gradient_matrix = Matrix::new(gradient, self.positions, self.outputs);
        multiply(weight, gradient_matrix.transposed(), input, false);
        bias.fill(0.0);
        for row in gradient.chunks_exact(self.outputs) {
            bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// `output = rows right` (or `+=`), [`ROWS`] rows at a time; `right` has `cols` columns.
fn multiply_rows(
    rows: &[f32],
    right: Matrix<'_>,
    cols: usize,
    output: &mut [f32],
    accumulate: bool,
) {
    let inner = rows.len() / (output.len() / cols).max(1);
    let blocks = rows.chunks(ROWS * inner).zip(output.chunks_mut(ROWS * cols));
    for (rows, output) in blocks {
        if output.len() == ROWS * cols {
            multiply(output, Matrix::new(rows, ROWS, inner), right, accumulate);
            continue;
        }
        let mut padded_rows = vec![0.0; ROWS * inner];
        let mut padded_output = vec![0.0; ROWS * cols];
        padded_rows[..rows.len()].copy_from_slice(rows);
        padded_output[..output.len()].copy_from_slice(output);
        multiply(&mut padded_output, Matrix::new(&padded_rows, ROWS, inner), right, accumulate);
        output.copy_from_slice(&padded_output[..output.len()]);
    }
}
