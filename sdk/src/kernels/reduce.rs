//! Sums of rows and outer products.

use super::{LANES, vectorised};

/// `output[r] = sum of values[r, ..]`; values `[output.len(), cols]`.
pub(crate) fn row_sums(values: &[f32], output: &mut [f32]) {
    let cols = values.len() / output.len().max(1);
    assert_eq!(cols * output.len(), values.len(), "rows of a sum");
    vectorised!({
        for (row, output) in values.chunks_exact(cols.max(1)).zip(output) {
            *output = sum(row);
        }
    });
}

/// `output[r, c] = left[r] right[c]`; output `[left.len(), right.len()]`.
pub(crate) fn outer_product(left: &[f32], right: &[f32], output: &mut [f32]) {
    assert_eq!(output.len(), left.len() * right.len(), "output of an outer product");
    vectorised!({
        for (row, &scale) in output.chunks_exact_mut(right.len().max(1)).zip(left) {
            for (output, value) in row.iter_mut().zip(right) {
                *output = scale * value;
            }
        }
    });
}

/// Sum in [`LANES`] parts kept apart, so that vector instructions do it in an order that
/// does not depend on the processor.
#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::test_values;

    proptest! {
        #[test]
        fn sums_and_outer_products_are_the_naive_ones(rows in 1_usize..9, cols in 1_usize..40) {
            let values = test_values(rows * cols, 5);
            let mut sums = vec![0.0; rows];
            row_sums(&values, &mut sums);
            for (row, sum) in values.chunks(cols).zip(&sums) {
                prop_assert!((row.iter().sum::<f32>() - sum).abs() < 1e-5);
            }
            let mut product = vec![0.0; rows * cols];
            outer_product(&sums, &values[..cols], &mut product);
            for (index, found) in product.iter().enumerate() {
                prop_assert_eq!(*found, sums[index / cols] * values[index % cols]);
            }
        }
    }
}
