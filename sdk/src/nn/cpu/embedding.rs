//! Table look-up.

use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::vectorised;

/// `[length] -> [length, dim]`: rows of the weight `[num, dim]`. The input holds row numbers,
/// whole and below `num`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedding {
    pub(crate) dim: usize,
}

impl Op for Embedding {
    fn forward(&self, at: Forward<'_>) {
        let outputs = at.output.chunks_exact_mut(self.dim);
        for (row, output) in at.inputs[0].iter().zip(outputs) {
            output.copy_from_slice(&at.weights[*row as usize * self.dim..][..self.dim]);
        }
    }

    /// Row numbers have no gradient; zeros, if somebody asks.
    fn backward(&self, at: Backward<'_>) {
        at.input_gradients.iter_mut().flatten().for_each(|result| result.fill(0.0));
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        result.fill(0.0);
        let gradients = at.gradient.chunks_exact(self.dim);
        vectorised!(for (row, gradient) in at.input.iter().zip(gradients) {
            add(gradient, &mut result[*row as usize * self.dim..][..self.dim]);
        });
    }
}

/// The distinct rows of one example in ascending order, and the summed gradient of each,
/// `[rows, dim]`: the rows of the dense gradient that are not left at zero.
pub(crate) fn gather_rows(
    input: &[f32],
    gradient: &[f32],
    dim: usize,
    rows: &mut Vec<u32>,
    values: &mut Vec<f32>,
) {
    // `rows` first holds the positions in the order of their rows. Positions of one row stay
    // in order, so that sums do not depend on the sort.
    rows.clear();
    rows.extend(0..input.len() as u32);
    rows.sort_unstable_by_key(|position| (input[*position as usize] as u32, *position));
    values.clear();
    let mut count = 0;
    vectorised!(for index in 0..input.len() {
        let position = rows[index] as usize;
        let (row, gradient) = (input[position] as u32, &gradient[position * dim..][..dim]);
        if count > 0 && rows[count - 1] == row {
            add(gradient, &mut values[(count - 1) * dim..]);
        } else {
            rows[count] = row;
            values.extend_from_slice(gradient);
            count += 1;
        }
    });
    rows.truncate(count);
}

/// `sums += values`.
#[inline(always)]
fn add(values: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::Case;
    use crate::nn::test_values;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn rows_are_looked_up_and_their_gradients_summed(
            num in 1_usize..8, dim in 1_usize..20, length in 1_usize..12,
        ) {
            let op = Embedding { dim };
            let mut case = Case::new(&op, &[length], &[num * dim], length * dim);
            for value in &mut case.inputs[0] {
                *value = ((*value + 1.0) / 2.0 * num as f32).floor();
            }
            let output = case.forward().output;
            for (row, found) in case.inputs[0].iter().zip(output.chunks(dim)) {
                prop_assert_eq!(&case.tensors[0][*row as usize * dim..][..dim], found);
            }
            case.check_parameters();
        }

        #[test]
        fn gathered_rows_are_those_of_the_dense_gradient(
            num in 1_usize..40, dim in 1_usize..20, length in 1_usize..30,
        ) {
            let input: Vec<f32> = test_values(length, 1)
                .iter()
                .map(|value| ((value + 1.0) / 2.0 * num as f32).floor())
                .collect();
            let gradient = test_values(length * dim, 2);
            let mut dense = vec![f32::NAN; num * dim];
            let seen = Seen { input: &input, gradient: &gradient, saved: &[] };
            Embedding { dim }.parameter_gradient(seen, &mut dense, &mut []);
            let (mut rows, mut values) = (vec![9; 3], vec![9.0; 3]);
            gather_rows(&input, &gradient, dim, &mut rows, &mut values);
            prop_assert!(rows.is_sorted_by(|left, right| left < right));
            let mut scattered = vec![0.0; num * dim];
            for (row, values) in rows.iter().zip(values.chunks(dim)) {
                prop_assert!(input.contains(&(*row as f32)));
                scattered[*row as usize * dim..][..dim].copy_from_slice(values);
            }
            prop_assert_eq!(scattered, dense);
        }
    }
}
