//! Convolution as products with the image laid out as columns.

use super::layer::{Layer, Pass};
use crate::kernels::{Columns, Matrix, Unfolding, Window, multiply, row_sums};

/// `Y = W X + b`: W `[outputs, patch]`, X the columns `[patch, positions]` of one image.
#[derive(Debug)]
pub(super) struct Conv2d {
    pub(super) unfolding: Unfolding,
    pub(super) outputs: usize,
    pub(super) bias: bool,
}

impl Conv2d {
    fn window(&self) -> &Window {
        self.unfolding.window()
    }

    fn weight_len(&self) -> usize {
        self.outputs * self.window().patch_len()
    }

    fn weight<'a>(&self, weights: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&weights[..self.weight_len()], self.outputs, self.window().patch_len())
    }

    /// A matrix `[outputs, positions]`: the output of one example, or its gradient.
    fn image<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::new(values, self.outputs, self.window().positions())
    }

    fn column_matrix<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::new(values, self.window().patch_len(), self.window().positions())
    }
}

impl Layer for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn output_len(&self) -> usize {
        self.outputs * self.window().positions()
    }

    fn parameters(&self) -> usize {
        self.weight_len() + if self.bias { self.outputs } else { 0 }
    }

    fn fan_in(&self) -> usize {
        self.window().patch_len()
    }

    fn forward(&self, weights: &[f32], input: &[f32], output: &mut [f32]) {
        let bias = &weights[self.weight_len()..];
        let mut columns = Columns::default();
        let inputs = input.chunks_exact(self.window().image_len());
        for (input, output) in inputs.zip(output.chunks_exact_mut(self.output_len())) {
            // The product adds to the bias: one pass over the output less.
            for (row, bias) in output.chunks_exact_mut(self.window().positions()).zip(bias) {
                row.fill(*bias);
            }
            let columns = self.column_matrix(self.unfolding.columns(input, &mut columns));
            multiply(output, self.weight(weights), columns, self.bias);
        }
    }

    // dX = col2im(W^T dY).
    fn input_gradient(&self, weights: &[f32], at: Pass<'_>, result: &mut [f32]) {
        let mut columns = Columns::default();
        result.fill(0.0);
        let gradients = at.gradient.chunks_exact(self.output_len());
        for (gradient, result) in gradients.zip(result.chunks_exact_mut(self.window().image_len()))
        {
            let weight = self.weight(weights).transposed();
            self.unfolding.add_columns(result, &mut columns, |columns| {
                multiply(columns, weight, self.image(gradient), false);
            });
        }
    }

    // dW = dY X^T, db = dY 1.
    fn parameter_gradient(
        &self,
        input: &[f32],
        gradient: &[f32],
        result: &mut [f32],
        columns: &mut Columns,
    ) {
        let (weight, bias) = result.split_at_mut(self.weight_len());
        let columns = self.column_matrix(self.unfolding.columns(input, columns)).transposed();
        multiply(weight, self.image(gradient), columns, false);
        if self.bias {
            row_sums(gradient, bias);
        }
    }
}
