//! Normalisation of rows: layer norm and root-mean-square norm.

use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::{centred_dot, square_deviation, total, vectorised};

/// Added to variances, so that constant rows have a standard deviation.
pub(super) const EPSILON: f32 = 1e-5;

/// Each row less its mean (if `centred`) over its standard deviation, or over its root mean
/// square, times the weight, plus the bias. Tensors weight `[dim]` and, if `centred`, bias
/// `[dim]`. Keeps mean and inverse deviation of each row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowNorm {
    pub(crate) dim: usize,
    pub(crate) rows: usize,
    /// Layer norm; without it, root-mean-square norm.
    pub(crate) centred: bool,
}

impl RowNorm {
    /// Mean and inverse deviation; the mean of a row that is not centred counts as zero.
    #[inline(always)]
    fn moments(&self, row: &[f32]) -> [f32; 2] {
        let share = 1.0 / self.dim as f32;
        let mean = if self.centred { total(row) * share } else { 0.0 };
        let variance = square_deviation(row, mean) * share;
        [mean, 1.0 / (variance + EPSILON).sqrt()]
    }

    // With x^ = (x - m) s and h = g w: dx = s (h - mean(h) - x^ mean(h x^)), without mean(h)
    // where nothing was centred.
    #[inline(always)]
    fn row_gradient(&self, row: &[f32], [mean, inverse]: [f32; 2], result: &mut [f32]) {
        let share = 1.0 / self.dim as f32;
        let centre = if self.centred { total(result) * share } else { 0.0 };
        let slope = centred_dot(result, row, mean) * share * inverse * inverse;
        for (result, x) in result.iter_mut().zip(row) {
            *result = inverse * (*result - centre - (x - mean) * slope);
        }
    }
}

impl Op for RowNorm {
    fn saved_len(&self) -> usize {
        2 * self.rows
    }

    fn forward(&self, at: Forward<'_>) {
        let (weight, bias) = at.weights.split_at(self.dim);
        let rows = at.inputs[0].chunks_exact(self.dim).zip(at.output.chunks_exact_mut(self.dim));
        let moments = at.saved.as_chunks_mut::<2>().0;
        vectorised!(for ((row, output), moments) in rows.zip(moments) {
            *moments = self.moments(row);
            let [mean, inverse] = *moments;
            for ((y, x), weight) in output.iter_mut().zip(row).zip(weight) {
                *y = (x - mean) * inverse * weight;
            }
            for (y, bias) in output.iter_mut().zip(bias) {
                *y += bias;
            }
        });
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let weight = &at.weights[..self.dim];
        let rows = at.inputs[0].chunks_exact(self.dim).zip(at.gradient.chunks_exact(self.dim));
        let results = result.chunks_exact_mut(self.dim).zip(at.saved.as_chunks::<2>().0);
        vectorised!(for ((row, gradient), (result, moments)) in rows.zip(results) {
            for ((result, gradient), weight) in result.iter_mut().zip(gradient).zip(weight) {
                *result = gradient * weight;
            }
            self.row_gradient(row, *moments, result);
        });
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        result.fill(0.0);
        let (weight, bias) = result.split_at_mut(self.dim);
        let rows = at.input.chunks_exact(self.dim).zip(at.gradient.chunks_exact(self.dim));
        let moments = at.saved.as_chunks::<2>().0;
        vectorised!(for ((row, gradient), [mean, inverse]) in rows.zip(moments) {
            for ((weight, x), gradient) in weight.iter_mut().zip(row).zip(gradient) {
                *weight += gradient * ((x - mean) * inverse);
            }
            for (bias, gradient) in bias.iter_mut().zip(gradient) {
                *bias += gradient;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    fn oracle(norm: &RowNorm, input: &[f32], tensors: &[Vec<f32>]) -> Vec<f64> {
        let mut output = Vec::new();
        for row in wide(input).chunks(norm.dim) {
            let n = row.len() as f64;
            let mean = if norm.centred { row.iter().sum::<f64>() / n } else { 0.0 };
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            for (index, x) in row.iter().enumerate() {
                let scaled = (x - mean) / (variance + 1e-5).sqrt() * f64::from(tensors[0][index]);
                output.push(scaled + tensors.get(1).map_or(0.0, |bias| f64::from(bias[index])));
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn rows_and_their_gradients_are_the_naive_ones(
            dim in 4_usize..40, rows in 1_usize..4, centred: bool,
        ) {
            let norm = RowNorm { dim, rows, centred };
            let tensors = [dim, dim];
            let tensors = if centred { &tensors[..] } else { &tensors[..1] };
            let case = Case::new(&norm, &[dim * rows], tensors, dim * rows);
            let output = case.forward().output;
            assert_values(&output, &oracle(&norm, &case.inputs[0], &case.tensors), 1e-5);
            case.check();
        }
    }

    #[test]
    fn constant_rows_stay_finite() {
        let norm = RowNorm { dim: 4, rows: 1, centred: true };
        let mut case = Case::new(&norm, &[4], &[4, 4], 4);
        case.inputs[0].fill(3.0);
        let bias: Vec<f32> = (0..3).flat_map(|_| case.tensors[1].clone()).collect();
        assert_eq!(case.forward().output, bias);
    }
}
