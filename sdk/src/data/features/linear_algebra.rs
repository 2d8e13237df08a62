//! The little linear algebra that features are learned with.

use std::ops::Range;

use rayon::prelude::*;

use super::{ALWAYS, MayGoOn};
use crate::kernels::{Matrix, multiply_into};

/// Rows and columns of a product that are made together, and the terms that they are made of:
/// a millisecond or two between two looks at whether to go on, and operands that fit a core's
/// cache. An element's bits do not depend on how a product is cut.
pub(super) const TILE: usize = 64;
const TERMS: usize = 2048;
/// Rows that a product makes at once: for no more than these, nothing is read twice.
const AT_ONCE: usize = 12;

/// `left [rows, inner] right [inner, cols]`, on rayon's current pool; none when called off.
pub(super) fn product(
    left: &[f32],
    right: &[f32],
    [inner, cols]: [usize; 2],
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<f32>> {
    let mut output = vec![0.0; left.len() / inner * cols];
    let pieces = output.par_chunks_mut(TILE * cols).zip(left.par_chunks(TILE * inner));
    pieces.try_for_each(|(output, left)| {
        product_into(output, left, right, [inner, cols], may_go_on)
    })?;
    Some(output)
}

/// As [`product`], on the calling thread.
pub(super) fn product_into(
    output: &mut [f32],
    left: &[f32],
    right: &[f32],
    [inner, cols]: [usize; 2],
    may_go_on: MayGoOn<'_>,
) -> Option<()> {
    for (block, right) in right.chunks(TERMS * cols).enumerate() {
        let start = block * TERMS;
        let left = Matrix::strided(&left[start..], output.len() / cols, right.len() / cols, inner);
        add_terms(output, left, (right, cols), start > 0, may_go_on)?;
    }
    Some(())
}

/// `a^T b` for `a [rows, m]` and `b [rows, n]`: `[m, n]`, summed in a fixed order; none when
/// called off.
pub(super) fn cross(
    a: &[f32],
    m: usize,
    b: &[f32],
    n: usize,
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<f32>> {
    let mut output = vec![0.0; m * n];
    output.par_chunks_mut(TILE * n).enumerate().try_for_each(|(piece, output)| {
        let which = piece * TILE..piece * TILE + output.len() / n;
        let mut near = Vec::new();
        for (block, (a, b)) in a.chunks(TERMS * m).zip(b.chunks(TERMS * n)).enumerate() {
            columns(a, m, which.clone(), &mut near);
            let left = Matrix::new(&near, b.len() / n, which.len()).transposed();
            add_terms(output, left, (b, n), block > 0, may_go_on)?;
        }
        Some(())
    })?;
    Some(output)
}

/// `output = left right`, or `output += left right`, for `right [terms, cols]`.
fn add_terms(
    output: &mut [f32],
    left: Matrix<'_>,
    (right, cols): (&[f32], usize),
    accumulate: bool,
    may_go_on: MayGoOn<'_>,
) -> Option<()> {
    let (terms, few) = (right.len() / cols, output.len() / cols <= AT_ONCE);
    let mut near = Vec::new();
    for start in (0..cols).step_by(TILE) {
        if !may_go_on() {
            return None;
        }
        let count = TILE.min(cols - start);
        let right = if few {
            Matrix::strided(&right[start..], terms, count, cols)
        } else {
            columns(right, cols, start..start + count, &mut near);
            Matrix::new(&near, terms, count)
        };
        multiply_into(&mut output[start..], cols, left, right, accumulate);
    }
    Some(())
}

/// Copies some columns of `[rows, cols]` to where they lie together. Each row of a wide matrix
/// is on a page of its own, and a product would look all of them up for every few rows that it
/// makes.
fn columns(values: &[f32], cols: usize, which: Range<usize>, to: &mut Vec<f32>) {
    to.clear();
    values.chunks_exact(cols).for_each(|row| to.extend_from_slice(&row[which.clone()]));
}

/// Steps of [`positive_part`]: enough for eigenvalues down to 1e-5 of the norm.
const STEPS: usize = 32;

/// A symmetric matrix `[n, n]` with its negative eigenvalues taken for 0: `(M + |M|) / 2`, where
/// `|M| = sign(M) M`, and the sign comes by the iteration of Newton and Schulz (Higham, Functions
/// of Matrices, 2008, section 5.3). Eigenvalues below 1e-5 of its norm may be halved.
pub(super) fn positive_part(matrix: &[f32], n: usize) -> Vec<f32> {
    let times = |left: &[f32], right: &[f32]| {
        let made = product(left, right, [n, n], ALWAYS);
        made.expect("nothing calls it off")
    };
    let norm = matrix.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let inverse = 1.0 / norm.max(f64::MIN_POSITIVE);
    let mut sign: Vec<f32> = matrix.iter().map(|x| (f64::from(*x) * inverse) as f32).collect();
    for _ in 0..STEPS {
        let mut factor = times(&sign, &sign);
        factor.iter_mut().for_each(|x| *x *= -0.5);
        factor.iter_mut().step_by(n + 1).for_each(|x| *x += 1.5);
        sign = times(&sign, &factor);
    }
    let absolute = times(&sign, matrix);
    let symmetric = |at: usize| (absolute[at] + absolute[at % n * n + at / n]) / 2.0;
    matrix.iter().enumerate().map(|(at, x)| (x + symmetric(at)) / 2.0).collect()
}

/// Rows of a factor that one thread goes on with, at least.
const LEAST_ROWS: usize = 64;

/// Least pivot of the largest: above the rounding of products of 32-bit numbers.
const LEAST: f64 = 1e-7;

/// The lower triangular L of a positive definite matrix A = L L^T, row-major `[n, n]`.
pub(super) struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Of the symmetric `matrix`, whose lower triangle is read. A pivot that rounding left
    /// below [`LEAST`] of the largest is taken for the largest: what is divided by it then
    /// vanishes, instead of growing without bounds. None when called off.
    pub(super) fn new(mut matrix: Vec<f64>, n: usize, may_go_on: MayGoOn<'_>) -> Option<Self> {
        let largest = matrix.iter().step_by(n + 1).fold(f64::MIN_POSITIVE, |a, b| a.max(*b));
        for j in 0..n {
            if !may_go_on() {
                return None;
            }
            let (done, rest) = matrix.split_at_mut(j * n + n);
            let row = &mut done[j * n..];
            let pivot = row[j] - row[..j].iter().map(|x| x * x).sum::<f64>();
            row[j] = if pivot > LEAST * largest { pivot } else { largest }.sqrt();
            let row = &*row;
            rest.par_chunks_mut(n).with_min_len(LEAST_ROWS).for_each(|other| {
                let dot: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
                other[j] = (other[j] - dot) / row[j];
            });
        }
        Some(Self { n, lower: matrix })
    }

    /// x with L x = `b`, in place.
    pub(super) fn solve_lower(&self, b: &mut [f64]) {
        self.solve_lower_from(0, b);
    }

    /// As [`solve_lower`](Self::solve_lower), for a `b` that is 0 before `first`.
    fn solve_lower_from(&self, first: usize, b: &mut [f64]) {
        for i in first..self.n {
            let row = &self.lower[i * self.n..][..=i];
            let dot: f64 = row[first..i].iter().zip(&b[first..i]).map(|(l, x)| l * x).sum();
            b[i] = (b[i] - dot) / row[i];
        }
    }

    /// x with L^T x = `b`, in place.
    pub(super) fn solve_upper(&self, b: &mut [f64]) {
        for i in (0..self.n).rev() {
            b[i] /= self.lower[i * self.n + i];
            let x = b[i];
            let row = &self.lower[i * self.n..][..i];
            b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * x);
        }
    }

    /// L^-T, row-major `[n, n]`; none when called off.
    pub(super) fn inverse_transposed(&self, may_go_on: MayGoOn<'_>) -> Option<Vec<f32>> {
        let mut inverse = vec![0.0; self.n * self.n];
        inverse.par_chunks_exact_mut(self.n).enumerate().try_for_each(|(j, row)| {
            if !may_go_on() {
                return None;
            }
            let mut unit = vec![0.0; self.n];
            unit[j] = 1.0;
            self.solve_lower_from(j, &mut unit);
            row.iter_mut().zip(unit).for_each(|(to, from)| *to = from as f32);
            Some(())
        })?;
        Some(inverse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_the_product_of_its_factor_and_solves_undo_it() {
        let n = 5;
        let at =
            |i: usize, j: usize| 1.0 / (1 + i.abs_diff(j)) as f64 + if i == j { 1.0 } else { 0.0 };
        let matrix: Vec<f64> = (0..n * n).map(|k| at(k / n, k % n)).collect();
        let factor = Cholesky::new(matrix.clone(), n, ALWAYS).unwrap();
        let x = [1.0, -2.0, 3.0, 0.5, 0.0];
        let b: Vec<f64> =
            matrix.chunks(n).map(|row| row.iter().zip(&x).map(|(a, x)| a * x).sum()).collect();
        let mut found = b;
        factor.solve_lower(&mut found);
        factor.solve_upper(&mut found);
        x.iter().zip(&found).for_each(|(x, y)| assert!((x - y).abs() < 1e-12));
        let inverse = factor.inverse_transposed(ALWAYS).unwrap();
        let unit = |i: usize, j: usize| -> f64 {
            (0..n)
                .map(|k| {
                    f64::from(inverse[k * n + i])
                        * if k >= j { factor.lower[k * n + j] } else { 0.0 }
                })
                .sum()
        };
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            assert!((unit(i, j) - if i == j { 1.0 } else { 0.0 }).abs() < 1e-6);
        }
    }

    #[test]
    fn a_positive_part_keeps_positive_eigenvalues_and_their_directions() {
        const N: usize = 70;
        // The columns of a reflection are orthonormal.
        let v: Vec<f64> = (0..N).map(|i| ((i * i + 3) as f64).sin()).collect();
        let length: f64 = v.iter().map(|x| x * x).sum();
        let reflection = |i: usize, k: usize| f64::from(i == k) - 2.0 * v[i] * v[k] / length;
        let of = |eigenvalue: &dyn Fn(usize) -> f64| -> Vec<f32> {
            let term = |i, j, k| eigenvalue(k) * reflection(i, k) * reflection(j, k);
            let entry = |at: usize| (0..N).map(|k| term(at / N, at % N, k)).sum::<f64>() as f32;
            (0..N * N).map(entry).collect()
        };
        let eigenvalue = |k: usize| match k % 3 {
            0 => 5.0 / (k + 1) as f64,
            1 => -2.0 / (k + 1) as f64,
            _ => 0.0,
        };
        let found = positive_part(&of(&eigenvalue), N);
        let expected = of(&|k| eigenvalue(k).max(0.0));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert!(positive_part(&[0.0; 4], 2).iter().all(|x| *x == 0.0));
    }

    /// Sums of fused products in the order of the terms, to the bit: larger and smaller than
    /// what is made together, and not a multiple of it.
    #[test]
    fn products_are_those_of_their_definition() {
        let value = |i: usize| (i % 1013) as f32 / 499.0 - 1.0;
        for (terms, rows, cols) in [(2 * TERMS + 3, TILE + 7, TILE + 5), (70, 3, 2), (1, 13, 1)] {
            let left: Vec<f32> = (0..rows * terms).map(value).collect();
            let right: Vec<f32> = (0..terms * cols).map(|i| value(3 * i + 1)).collect();
            let transposed: Vec<f32> =
                (0..terms * rows).map(|at| left[at % rows * terms + at / rows]).collect();
            let found = product(&left, &right, [terms, cols], ALWAYS).unwrap();
            let crossed = cross(&transposed, rows, &right, cols, ALWAYS).unwrap();
            let few = rows.min(AT_ONCE);
            let mut first = vec![f32::NAN; few * cols];
            product_into(&mut first, &left[..few * terms], &right, [terms, cols], ALWAYS).unwrap();
            assert_eq!(first, found[..few * cols]);
            for (at, found) in found.iter().enumerate() {
                let (i, j) = (at / cols, at % cols);
                let add =
                    |sum: f32, k: usize| left[i * terms + k].mul_add(right[k * cols + j], sum);
                assert_eq!(*found, (0..terms).fold(0.0, add), "{i}, {j}");
                assert_eq!(*found, crossed[at], "{i}, {j}");
            }
            assert!(product(&left, &right, [terms, cols], &|| false).is_none());
            assert!(cross(&transposed, rows, &right, cols, &|| false).is_none());
        }
    }
}
