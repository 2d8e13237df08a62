//! Adding parts of contributions to integer sums: scale, round to the grid, add.
//!
//! Everything runs inside the caller's dispatch and must be inlined into it. No fused
//! multiply-add: every processor gives the same integers.

use super::ClipFactor;

/// 1.5 * 2^23: adding it leaves the nearest integer of a value below 2^22 in the low bits.
const MAGIC: f32 = 12_582_912.0;
/// Columns of one block of an outer product: sums and gains stay in registers.
const COLS: usize = 32;

/// Outer products of a group of examples: `left` `[examples, rows]` and `right`
/// `[examples, cols]`, the factors of the gradient of a layer that is applied once an
/// example.
pub struct OuterPart<'a> {
    /// Gradients of the layer's outputs.
    pub left: &'a [f32],
    /// The layer's inputs.
    pub right: &'a [f32],
    /// Rows of a product.
    pub rows: usize,
    /// Columns of a product.
    pub cols: usize,
    /// What each coordinate is multiplied with, `[rows, cols]`; 1 where absent.
    pub gain: Option<&'a [f32]>,
    /// One an example.
    pub factors: &'a [ClipFactor],
}

impl OuterPart<'_> {
    /// Lays out the clipped left factors as `[rows, examples]`, then the right ones in
    /// blocks `[cols / COLS, examples, COLS]`. Examples that are dropped become zeros,
    /// because zero times infinity is not zero.
    pub(super) fn lay_out(&self, scratch: &mut Vec<f32>) {
        let examples = self.factors.len();
        let left_len = self.rows * examples;
        scratch.clear();
        scratch.resize(left_len + self.cols.next_multiple_of(COLS) * examples, 0.0);
        let (left, right) = scratch.split_at_mut(left_len);
        for (example, factor) in self.factors.iter().enumerate().filter(|(_, f)| !f.is_zero()) {
            let values = &self.left[example * self.rows..][..self.rows];
            for (row, value) in values.iter().enumerate() {
                left[row * examples + example] = value * factor.0;
            }
            let values = &self.right[example * self.cols..][..self.cols];
            for (block, values) in values.chunks(COLS).enumerate() {
                let place = (block * examples + example) * COLS;
                right[place..place + values.len()].copy_from_slice(values);
            }
        }
    }
}

/// The integer nearest to a value below 2^22, in the low bits, above those of [`MAGIC`].
#[inline(always)]
fn rounded(value: f32) -> i32 {
    (value + MAGIC).to_bits() as i32
}

#[inline(always)]
pub(super) fn add(sums: &mut [i32], values: &[f32], factor: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += rounded(value * factor).wrapping_sub(MAGIC.to_bits() as i32);
    }
}

#[inline(always)]
pub(super) fn add_scaled(sums: &mut [i32], values: &[f32], gain: &[f32], factor: f32) {
    for ((sum, value), gain) in sums.iter_mut().zip(values).zip(gain) {
        *sum += rounded(value * gain * factor).wrapping_sub(MAGIC.to_bits() as i32);
    }
}

/// `laid_out` is what [`OuterPart::lay_out`] made.
#[inline(always)]
pub(super) fn add_outer(sums: &mut [i32], part: &OuterPart<'_>, laid_out: &[f32]) {
    let examples = part.factors.len();
    let (left, right) = laid_out.split_at(part.rows * examples);
    for (block, right) in right.chunks_exact((COLS * examples).max(1)).enumerate() {
        let first = block * COLS;
        let cols = COLS.min(part.cols - first);
        for (row, left) in left.chunks_exact(examples).enumerate() {
            let place = row * part.cols + first;
            let sums = &mut sums[place..place + cols];
            let gain = part.gain.map(|gain| &gain[place..place + cols]);
            if let Ok(sums) = <&mut [i32; COLS]>::try_from(&mut *sums) {
                // Lengths known to the compiler are moved without a call.
                let gains = gain.map_or(&[1.0; COLS], |gain| {
                    gain.first_chunk().expect("a gain for each column")
                });
                add_block(left, right, gains, sums);
                continue;
            }
            let (mut gains, mut block) = ([1.0; COLS], [0; COLS]);
            gain.iter().for_each(|gain| gains[..cols].copy_from_slice(gain));
            add_block(left, right, &gains, &mut block);
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_add(value);
            }
        }
    }
}

/// Adds the rounded products of one row and [`COLS`] columns, over all examples.
#[inline(always)]
fn add_block(left: &[f32], right: &[f32], gains: &[f32; COLS], sums: &mut [i32; COLS]) {
    let mut block = [0_i32; COLS];
    for (&left, right) in left.iter().zip(right.as_chunks::<COLS>().0) {
        for lane in 0..COLS {
            let value = rounded(right[lane] * gains[lane] * left);
            block[lane] = block[lane].wrapping_add(value);
        }
    }
    // Every term holds the bits of MAGIC: taken off once, modulo 2^32.
    let magic = (MAGIC.to_bits() as i32).wrapping_mul(left.len() as i32);
    for (sum, value) in sums.iter_mut().zip(block) {
        *sum = sum.wrapping_add(value).wrapping_sub(magic);
    }
}
