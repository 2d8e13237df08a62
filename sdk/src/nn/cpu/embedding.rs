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

/// The distinct rows of a table that one example uses, in the order in which they are met
/// first, and the summed gradient of each: what of the dense gradient is not left at zero.
#[derive(Debug, Default)]
pub(crate) struct GatheredRows {
    pub(crate) rows: Vec<u32>,
    /// `[rows, dim]`.
    pub(crate) values: Vec<f32>,
    /// One a row of the table: its place in `rows`, counted from 1, or 0.
    slots: Vec<u32>,
}

impl GatheredRows {
    /// Replaces what was gathered, for a table of `num` rows.
    pub(crate) fn gather(&mut self, seen: Seen<'_>, num: usize, dim: usize) {
        let Self { rows, values, slots } = self;
        slots.resize(num, 0);
        rows.clear();
        values.clear();
        values.resize(seen.gradient.len(), 0.0);
        vectorised!(
            for (row, gradient) in seen.input.iter().zip(seen.gradient.chunks_exact(dim)) {
                let row = *row as usize;
                if slots[row] == 0 {
                    rows.push(row as u32);
                    slots[row] = rows.len() as u32;
                }
                add(gradient, &mut values[(slots[row] as usize - 1) * dim..][..dim]);
            }
        );
        values.truncate(rows.len() * dim);
        rows.iter().for_each(|row| slots[*row as usize] = 0);
    }
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
            let mut gathered = GatheredRows::default();
            // Twice: the second time over what the first one left.
            for _ in 0..2 {
                gathered.gather(seen, num, dim);
                let mut scattered = vec![0.0; num * dim];
                for (row, values) in gathered.rows.iter().zip(gathered.values.chunks(dim)) {
                    prop_assert!(input.contains(&(*row as f32)));
                    add(values, &mut scattered[*row as usize * dim..]);
                }
                prop_assert_eq!(&scattered, &dense);
                let mut distinct = gathered.rows.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), gathered.rows.len());
            }
        }
    }
}
