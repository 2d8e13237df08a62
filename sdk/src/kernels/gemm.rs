//! Matrix product: a checked door to the `gemm` crate.

/// A matrix inside a slice, row-major or transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix `[rows, cols]` that takes all of `values`.
    pub(crate) fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(cols), "matrix [{rows}, {cols}]");
        Self { values, rows, cols, row_step: cols, col_step: 1 }
    }

    /// The same values seen as `[cols, rows]`.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
        }
    }
}

/// `output = left right`, or `output += left right` with `accumulate`; `output` is
/// row-major `[left.rows, right.cols]`. Runs on the calling thread alone.
pub(crate) fn multiply(output: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, accumulate: bool) {
    assert_eq!(left.cols, right.rows, "inner dimensions of a product");
    assert_eq!(Some(output.len()), left.rows.checked_mul(right.cols), "output of a product");
    if output.is_empty() {
        return;
    }
    // SAFETY: a `Matrix` is made by `new`, which checks rows * cols == values.len(), and
    // `transposed`, which swaps both dimensions with both steps; so every index
    // r * row_step + c * col_step with r < rows and c < cols lies inside `values`. The
    // same holds for `output`, row-major [left.rows, right.cols], by the assertion above.
    // `output` is borrowed mutably, so it overlaps neither operand. All pointers come from
    // live slices of initialised f32, and no length exceeds isize::MAX elements.
    unsafe {
        gemm::gemm(
            left.rows,
            right.cols,
            left.cols,
            output.as_mut_ptr(),
            1,
            right.cols as isize,
            accumulate,
            left.values.as_ptr(),
            left.col_step as isize,
            left.row_step as isize,
            right.values.as_ptr(),
            right.col_step as isize,
            right.row_step as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Matrix, multiply};
    use crate::nn::test_values;

    proptest! {
        #[test]
        fn product_is_the_naive_product(
            rows in 1_usize..20, inner in 0_usize..40, cols in 1_usize..30,
            transpose_left: bool, transpose_right: bool, accumulate: bool,
        ) {
            let left_values = test_values(rows * inner, 1);
            let right_values = test_values(inner * cols, 2);
            let left = match transpose_left {
                true => Matrix::new(&left_values, inner, rows).transposed(),
                false => Matrix::new(&left_values, rows, inner),
            };
            let right = match transpose_right {
                true => Matrix::new(&right_values, cols, inner).transposed(),
                false => Matrix::new(&right_values, inner, cols),
            };
            let mut output = vec![0.5; rows * cols];
            multiply(&mut output, left, right, accumulate);
            for row in 0..rows {
                for col in 0..cols {
                    let at = |m: Matrix<'_>, r: usize, c: usize| {
                        f64::from(m.values[r * m.row_step + c * m.col_step])
                    };
                    let start = if accumulate { 0.5 } else { 0.0 };
                    let expected: f64 =
                        start + (0..inner).map(|i| at(left, row, i) * at(right, i, col)).sum::<f64>();
                    prop_assert!((f64::from(output[row * cols + col]) - expected).abs() < 1e-5);
                }
            }
        }
    }
}
