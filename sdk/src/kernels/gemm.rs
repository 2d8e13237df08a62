//! Matrix products on operands that are read where they lie.
//!
//! `output[m, n] = start + sum over k of left[m, k] right[k, n]`, one fused multiply-add a
//! term, in the order of k. So an element's bits depend neither on the other rows nor on
//! the columns beside it, and neither on how the work is cut.
//!
//! The left operand is broadcast value by value and may lie anywhere ([`Left`]): a
//! convolution reads its padded image in place, without im2col. The right operand is
//! loaded a vector at a time ([`Right`]): rows as they lie, or panels packed once a step.

use std::cell::RefCell;

use crate::profile;

#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, SimdLevel, Vector, vectorised};

/// Columns of a packed panel; a multiple of two vectors of every level.
pub(crate) const PANEL: usize = 32;

/// The left operand `[blocks * rows, segments.len() * inner]`: element (block, row, s, i)
/// is `values[block * block_step + row * row_step + segments[s] + i * step]`, and k counts
/// s, then i.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) blocks: usize,
    pub(crate) block_step: usize,
    pub(crate) rows: usize,
    pub(crate) row_step: usize,
    pub(crate) segments: &'a [usize],
    pub(crate) inner: usize,
    pub(crate) step: usize,
}

impl<'a> Left<'a> {
    /// Row-major `[rows, cols]`.
    pub(crate) fn rows(values: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { values, rows, row_step: cols, inner: cols, step: 1, ..Self::ONE_BLOCK }
    }

    /// The transpose of row-major `[rows, cols]`: `[cols, rows]`.
    pub(crate) fn columns(values: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { values, rows: cols, row_step: 1, inner: rows, step: cols, ..Self::ONE_BLOCK }
    }

    /// Nothing, in one block and one segment.
    pub(crate) const ONE_BLOCK: Self = Self {
        values: &[],
        blocks: 1,
        block_step: 0,
        rows: 0,
        row_step: 0,
        segments: &[0],
        inner: 0,
        step: 0,
    };

    /// Number of terms of a sum.
    fn terms(&self) -> usize {
        self.segments.len() * self.inner
    }

    fn assert_inside(&self) {
        if self.terms() == 0 {
            return;
        }
        let segment = self.segments.iter().copied().max().unwrap_or(0);
        let last = (self.blocks - 1) * self.block_step
            + (self.rows - 1) * self.row_step
            + (self.inner - 1) * self.step
            + segment;
        assert!(last < self.values.len(), "left operand of a product");
    }
}

/// The right operand: column n of row k is at
/// `n / PANEL * panel_step + k * row_step + n % PANEL`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a> {
    values: &'a [f32],
    terms: usize,
    cols: usize,
    row_step: usize,
    panel_step: usize,
}

impl<'a> Right<'a> {
    /// Row-major `[terms, cols]`, rows `row_step` apart.
    pub(crate) fn rows(values: &'a [f32], terms: usize, cols: usize, row_step: usize) -> Self {
        let least = if terms == 0 { 0 } else { (terms - 1) * row_step + cols };
        assert!(values.len() >= least, "right operand of a product");
        Self { values, terms, cols, row_step, panel_step: PANEL }
    }

    /// What [`pack`] made.
    pub(crate) fn packed(values: &'a [f32], terms: usize, cols: usize) -> Self {
        assert!(values.len() >= packed_len(terms, cols), "packed operand of a product");
        Self { values, terms, cols, row_step: PANEL, panel_step: terms * PANEL }
    }
}

/// Values of a packed operand `[terms, cols]`.
pub(crate) const fn packed_len(terms: usize, cols: usize) -> usize {
    terms * cols.next_multiple_of(PANEL)
}

/// Packs the matrix whose element (term, col) is `at(term, col)`.
pub(crate) fn pack(
    packed: &mut [f32],
    terms: usize,
    cols: usize,
    at: impl Fn(usize, usize) -> f32,
) {
    let panels = packed[..packed_len(terms, cols)].chunks_exact_mut((terms * PANEL).max(1));
    for (panel, values) in panels.enumerate() {
        for (term, row) in values.chunks_exact_mut(PANEL).enumerate() {
            for (lane, value) in row.iter_mut().enumerate() {
                let col = panel * PANEL + lane;
                *value = if col < cols { at(term, col) } else { 0.0 };
            }
        }
    }
}

/// Packs a matrix that lies in rows, `[terms, cols]`.
pub(crate) fn pack_rows(packed: &mut [f32], terms: usize, cols: usize, values: &[f32]) {
    assert_eq!(values.len(), terms * cols, "matrix to pack");
    let panels = packed[..packed_len(terms, cols)].chunks_exact_mut((terms * PANEL).max(1));
    for (panel, packed) in panels.enumerate() {
        let first = panel * PANEL;
        let rows = packed.as_chunks_mut::<PANEL>().0.iter_mut().zip(values.chunks_exact(cols));
        for (to, from) in rows {
            match from[first..].first_chunk() {
                Some(from) => *to = *from,
                None => to[..cols - first].copy_from_slice(&from[first..]),
            }
        }
    }
}

/// Packs a matrix whose transpose lies in rows: `values` `[cols, terms]`.
pub(crate) fn pack_columns(packed: &mut [f32], terms: usize, cols: usize, values: &[f32]) {
    assert_eq!(values.len(), terms * cols, "matrix to pack");
    let panels = packed[..packed_len(terms, cols)].chunks_exact_mut((terms * PANEL).max(1));
    let columns = values.chunks(PANEL * terms.max(1));
    vectorised!(for (packed, columns) in panels.zip(columns) {
        let packed = packed.as_chunks_mut::<PANEL>().0;
        // A few terms at a time: they share a cache line of their column.
        for (block, packed) in packed.chunks_mut(TERMS).enumerate() {
            for (lane, column) in columns.chunks_exact(terms).enumerate() {
                let from = &column[block * TERMS..][..packed.len()];
                for (to, from) in packed.iter_mut().zip(from) {
                    to[lane] = *from;
                }
            }
        }
    });
}

/// Terms that [`pack_columns`] turns at a time.
const TERMS: usize = 16;

/// What a sum starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Zero,
    /// What the output holds.
    Output,
    /// One value a column.
    Bias(&'a [f32]),
}

/// Blocks of rows, as those of the left operand.
pub(crate) struct Output<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) block_step: usize,
    pub(crate) row_step: usize,
}

impl<'a> Output<'a> {
    /// One block of rows, `row_step` apart.
    pub(crate) fn rows(values: &'a mut [f32], row_step: usize) -> Self {
        Self { values, block_step: 0, row_step }
    }
}

/// `output = start + left right`. Runs on the calling thread alone.
pub(crate) fn product(output: Output<'_>, left: Left<'_>, right: Right<'_>, start: Start<'_>) {
    profile::gemm(|| product_at(SimdLevel::current(), output, left, right, start));
}

fn product_at(
    level: SimdLevel,
    output: Output<'_>,
    left: Left<'_>,
    right: Right<'_>,
    start: Start<'_>,
) {
    assert_eq!(left.terms(), right.terms, "inner dimensions of a product");
    if left.blocks == 0 || left.rows == 0 || right.cols == 0 {
        return;
    }
    left.assert_inside();
    let last = (left.blocks - 1) * output.block_step + (left.rows - 1) * output.row_step;
    assert!(last + right.cols <= output.values.len(), "output of a product");
    if let Start::Bias(bias) = start {
        assert!(bias.len() >= right.cols, "bias of a product");
    }
    let Output { values, block_step, row_step } = output;
    let job = Job { left, right, start, output: values.as_mut_ptr(), block_step, row_step };
    // SAFETY: all indices were checked above: the largest of the left operand by
    // `assert_inside`, of the right one by its constructors, of output and bias here. The
    // output is borrowed mutably, so it overlaps no operand. The level is available:
    // `SimdLevel::current` and `available` yield no other.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => run_avx512(&job),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => run_avx2(&job),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => run::<Neon, 8>(&job),
            _ => run::<Portable, 4>(&job),
        }
    }
}

/// A product with its checked operands.
struct Job<'a> {
    left: Left<'a>,
    right: Right<'a>,
    start: Start<'a>,
    output: *mut f32,
    block_step: usize,
    row_step: usize,
}

/// # Safety
/// As [`run`], on a processor with AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn run_avx512(job: &Job<'_>) {
    // SAFETY: by the caller.
    unsafe { run::<Avx512, 12>(job) }
}

/// # Safety
/// As [`run`], on a processor with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(job: &Job<'_>) {
    // SAFETY: by the caller.
    unsafe { run::<Avx2, 6>(job) }
}

/// Where a tile begins, and how many columns it has.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    row: usize,
    col: usize,
    cols: usize,
}

/// Cuts the output into tiles of two vectors by at most `MOST` rows, as equal as can be.
///
/// # Safety
/// The operands and the output must hold every index of the job, and V's instruction set
/// must be available.
#[inline(always)]
unsafe fn run<V: Vector, const MOST: usize>(job: &Job<'_>) {
    let parts = job.left.rows.div_ceil(MOST);
    let (least, longer) = (job.left.rows / parts, job.left.rows % parts);
    let mut col = 0;
    while col < job.right.cols {
        let cols = (job.right.cols - col).min(2 * V::LANES);
        for block in 0..job.left.blocks {
            let mut row = 0;
            for part in 0..parts {
                let rows = least + usize::from(part < longer);
                // SAFETY: by the caller.
                unsafe { tile::<V, MOST>(job, Place { block, row, col, cols }, rows) };
                row += rows;
            }
        }
        col += cols;
    }
}

/// One tile, by the code for its number of rows and vectors.
#[inline(always)]
unsafe fn tile<V: Vector, const MOST: usize>(job: &Job<'_>, place: Place, rows: usize) {
    let cols = place.cols;
    macro_rules! by_rows {
        ($($count:literal)*) => {
            match rows {
                // SAFETY: by the caller.
                $($count if $count <= MOST => unsafe {
                    if cols == 2 * V::LANES {
                        sums::<V, $count, 2, false>(job, place)
                    } else if cols > V::LANES {
                        sums::<V, $count, 2, true>(job, place)
                    } else if cols == V::LANES {
                        sums::<V, $count, 1, false>(job, place)
                    } else {
                        sums::<V, $count, 1, true>(job, place)
                    }
                },)*
                _ => unreachable!("a tile has at most {MOST} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// The sums of one tile, held in registers. `PARTIAL`: the last vector is not full.
#[inline(always)]
unsafe fn sums<V: Vector, const ROWS: usize, const VECTORS: usize, const PARTIAL: bool>(
    job: &Job<'_>,
    place: Place,
) {
    let Place { block, row, col, cols } = place;
    let Left { values, block_step, row_step, segments, inner, step, .. } = job.left;
    let right = job.right;
    let last = cols - (VECTORS - 1) * V::LANES;
    // SAFETY: by the caller, every index below lies inside its operand; only the `last`
    // first lanes of a partial vector are accessed.
    unsafe {
        let load = |from: *const f32, vector: usize| {
            let from = from.add(vector * V::LANES);
            match PARTIAL && vector == VECTORS - 1 {
                true => V::load_first(from, last),
                false => V::load(from),
            }
        };
        let output = job.output.add(block * job.block_step + row * job.row_step + col);
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                match job.start {
                    Start::Zero => {}
                    Start::Output => *sum = load(output.add(row * job.row_step), vector),
                    Start::Bias(bias) => *sum = load(bias.as_ptr().add(col), vector),
                }
            }
        }
        let left = values.as_ptr().add(block * block_step + row * row_step);
        let mut panel = right.values.as_ptr().add(col / PANEL * right.panel_step + col % PANEL);
        for segment in segments {
            let mut left = left.add(*segment);
            for _ in 0..inner {
                let mut terms = [V::splat(0.0); VECTORS];
                for (vector, term) in terms.iter_mut().enumerate() {
                    *term = load(panel, vector);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*left.add(row * row_step));
                    for (sum, term) in sums.iter_mut().zip(terms) {
                        *sum = value.mul_add(term, *sum);
                    }
                }
                left = left.wrapping_add(step);
                panel = panel.wrapping_add(right.row_step);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let output = output.add(row * job.row_step);
            for (vector, sum) in sums.iter().enumerate() {
                match PARTIAL && vector == VECTORS - 1 {
                    true => sum.store_first(output.add(vector * V::LANES), last),
                    false => sum.store(output.add(vector * V::LANES)),
                }
            }
        }
    }
}

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

    /// A row-major matrix `[rows, cols]` whose rows begin `row_step` values apart.
    pub(crate) fn strided(values: &'a [f32], rows: usize, cols: usize, row_step: usize) -> Self {
        let least = if rows == 0 { 0 } else { (rows - 1) * row_step + cols };
        assert!(values.len() >= least, "matrix [{rows}, {cols}] with rows {row_step} apart");
        Self { values, rows, cols, row_step, col_step: 1 }
    }

    /// The same values seen as `[cols, rows]`.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
            ..self
        }
    }
}

thread_local! {
    /// Where a right operand that does not lie in rows is packed.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `output = left right`, or `output += left right` with `accumulate`; `output` is
/// row-major `[left.rows, right.cols]`.
pub(crate) fn multiply(output: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, accumulate: bool) {
    assert_eq!(Some(output.len()), left.rows.checked_mul(right.cols), "output of a product");
    multiply_into(output, right.cols, left, right, accumulate);
}

/// As [`multiply`], into rows that begin `row_step` values apart.
pub(crate) fn multiply_into(
    output: &mut [f32],
    row_step: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    accumulate: bool,
) {
    let Matrix { values, rows, cols: inner, row_step: left_step, col_step: step } = left;
    let left = Left { values, rows, row_step: left_step, inner, step, ..Left::ONE_BLOCK };
    let start = if accumulate { Start::Output } else { Start::Zero };
    let output = Output::rows(output, row_step);
    let (terms, cols) = (right.rows, right.cols);
    if right.col_step == 1 {
        return product(
            output,
            left,
            Right::rows(right.values, terms, cols, right.row_step),
            start,
        );
    }
    PACKED.with_borrow_mut(|packed| {
        let len = packed_len(terms, cols);
        packed.resize(packed.len().max(len), 0.0);
        let at = |term, col| right.values[term * right.row_step + col * right.col_step];
        pack(packed, terms, cols, at);
        product(output, left, Right::packed(packed, terms, cols), start);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::test_values;

    /// Rounding of a sum of up to 60 products of values below 1.
    const TOLERANCE: f64 = 1e-5;

    proptest! {
        #[test]
        fn every_level_gives_the_naive_product(
            rows in 1_usize..20, inner in 0_usize..20, cols in 1_usize..70,
            segments in 1_usize..4, step in 1_usize..3, packed: bool, start in 0..3,
        ) {
            let offsets: Vec<usize> = (0..segments).map(|s| s * 7).collect();
            let row_step = 3;
            let left_values = test_values(2 + rows * row_step + 7 * segments + inner * step, 1);
            let left = Left {
                values: &left_values, blocks: 2, block_step: 2, rows, row_step,
                segments: &offsets, inner, step,
            };
            let terms = segments * inner;
            let right_values = test_values(terms * (cols + 2), 2);
            let element = |term: usize, col: usize| right_values[term * (cols + 2) + col];
            let mut panels = vec![f32::NAN; packed_len(terms, cols)];
            pack(&mut panels, terms, cols, element);
            let right = match packed {
                true => Right::packed(&panels, terms, cols),
                false => Right::rows(&right_values, terms, cols, cols + 2),
            };
            let bias = test_values(cols, 3);
            for level in SimdLevel::available() {
                let mut output = vec![0.5; 2 * rows * (cols + 1)];
                let how = [Start::Zero, Start::Output, Start::Bias(&bias)][start as usize];
                let block_step = rows * (cols + 1);
                let to = Output { values: &mut output, block_step, row_step: cols + 1 };
                product_at(level, to, left, right, how);
                for row in 0..2 * rows {
                    prop_assert_eq!(output[row * (cols + 1) + cols], 0.5);
                    let first = row / rows * 2 + row % rows * row_step;
                    for col in 0..cols {
                        let mut expected = f64::from([0.0, 0.5, bias[col]][start as usize]);
                        for term in 0..terms {
                            let at = first + offsets[term / inner] + term % inner * step;
                            expected += f64::from(left_values[at]) * f64::from(element(term, col));
                        }
                        let found = f64::from(output[row * (cols + 1) + col]);
                        prop_assert!((found - expected).abs() < TOLERANCE, "{level}");
                    }
                }
            }
        }

        #[test]
        fn matrices_are_packed_as_their_elements_say(terms in 0_usize..70, cols in 1_usize..90) {
            let (rows, columns) = (test_values(terms * cols, 1), test_values(terms * cols, 2));
            let len = packed_len(terms, cols);
            let mut packed = [(); 4].map(|()| vec![0.0; len]);
            pack(&mut packed[0], terms, cols, |term, col| rows[term * cols + col]);
            pack_rows(&mut packed[1], terms, cols, &rows);
            pack(&mut packed[2], terms, cols, |term, col| columns[col * terms + term]);
            pack_columns(&mut packed[3], terms, cols, &columns);
            prop_assert_eq!(&packed[0], &packed[1]);
            prop_assert_eq!(&packed[2], &packed[3]);
        }

        #[test]
        fn matrices_multiply_in_every_orientation(
            rows in 1_usize..20, inner in 0_usize..40, cols in 1_usize..40,
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
            let at = |m: Matrix<'_>, r: usize, c: usize| {
                f64::from(m.values[r * m.row_step + c * m.col_step])
            };
            for (index, found) in output.iter().enumerate() {
                let (row, col) = (index / cols, index % cols);
                let start = if accumulate { 0.5 } else { 0.0 };
                let sum: f64 = (0..inner).map(|i| at(left, row, i) * at(right, i, col)).sum();
                prop_assert!((f64::from(*found) - start - sum).abs() < TOLERANCE);
            }
        }
    }
}
