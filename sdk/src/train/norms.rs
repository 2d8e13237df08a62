//! Weighted L2 norms of per-example gradients, bounded from above.
//!
//! The norm decides how far an example is clipped, so it may never come out too small:
//! every sum of squares goes with a bound on its relative error, and what could underflow
//! is added back.

use adafed_privacy::OuterShape;

use crate::kernels::{Left, Output, Right, Start, pack, packed_len, product, vectorised};

/// Values that are summed in f32 before f64 takes over, in lanes of their own.
const BLOCK: usize = 256;
const LANES: usize = 16;
/// Relative error of [`squares`]: three roundings a term, BLOCK / LANES + LANES additions.
pub(super) const SQUARES_ERROR: f64 = (3 + BLOCK / LANES + LANES) as f64 * F32_ROUNDING;
/// Half a unit in the last place of f32, doubled to cover second-order terms.
const F32_ROUNDING: f64 = 1.0 / (1 << 23) as f64;

/// `sum (values gain)^2`, within [`SQUARES_ERROR`]; NaN or infinite where a value is, or
/// where f32 overflows.
///
/// Squares below 2^-126 are lost; that is at most 2^-126 a term, and
/// [`lost`] gives the sum of it.
pub(super) fn squares(values: &[f32], gain: Option<&[f32]>) -> f64 {
    vectorised!(square_sum(values, gain)) + lost(values.len(), 1.0)
}

/// As [`squares`], of `rows` of a table `[.., dim]`: `values` `[rows, dim]`, `gain` that of
/// the whole table.
pub(super) fn row_squares(rows: &[u32], values: &[f32], dim: usize, gain: Option<&[f32]>) -> f64 {
    let sum = vectorised!({
        let mut sum = 0.0;
        for (row, values) in rows.iter().zip(values.chunks_exact(dim)) {
            let gain = gain.map(|gain| &gain[*row as usize * dim..][..dim]);
            sum += square_sum(values, gain);
        }
        sum
    });
    sum + lost(values.len(), 1.0)
}

/// `sum values weights`, of `rows` of a table as in [`row_squares`], in f64.
pub(super) fn row_products(rows: &[u32], values: &[f32], dim: usize, weights: &[f64]) -> f64 {
    vectorised!({
        let mut lanes = [0.0; LANES];
        for (row, values) in rows.iter().zip(values.chunks_exact(dim)) {
            let weights = &weights[*row as usize * dim..][..dim];
            let (chunks, rest) = values.as_chunks::<LANES>();
            let (weights, last) = weights.as_chunks::<LANES>();
            for (values, weights) in chunks.iter().zip(weights) {
                for lane in 0..LANES {
                    lanes[lane] += f64::from(values[lane]) * weights[lane];
                }
            }
            for (lane, (value, weight)) in lanes.iter_mut().zip(rest.iter().zip(last)) {
                *lane += f64::from(*value) * weight;
            }
        }
        lanes.iter().sum()
    })
}

/// `sum w (g - a)^2`, bounded from above by its three terms: `squares = sum w g^2` and
/// `constant = sum w a^2` are known within `error` of themselves, `products = sum w a g` within
/// `error` of `sum |w a g|`, which is at most `sqrt(squares constant)`.
pub(super) fn centred_squares(squares: f64, products: f64, constant: f64, error: f64) -> f64 {
    let doubt = error * (squares + constant + 2.0 * (squares * constant).sqrt());
    // Twice the doubt: the sum itself is rounded, too.
    let sum = squares - 2.0 * products + constant + 2.0 * doubt;
    // Not `max`, which would make 0 of NaN.
    if sum < 0.0 { 0.0 } else { sum }
}

#[inline(always)]
fn square_sum(values: &[f32], gain: Option<&[f32]>) -> f64 {
    let mut sum = 0.0;
    match gain {
        Some(gain) => {
            for (values, gain) in values.chunks(BLOCK).zip(gain.chunks(BLOCK)) {
                sum += scaled_block(values, gain);
            }
        }
        None => {
            for values in values.chunks(BLOCK) {
                sum += block(values);
            }
        }
    }
    sum
}

/// What underflow can have taken from a sum of `terms` squares of values in units of
/// `unit`.
fn lost(terms: usize, unit: f64) -> f64 {
    terms as f64 * unit * unit * f64::exp2(-120.0)
}

#[inline(always)]
fn block(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] * chunk[lane];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    in_f64(lanes)
}

#[inline(always)]
fn scaled_block(values: &[f32], gain: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let ((chunks, rest), (gains, rest_gain)) =
        (values.as_chunks::<LANES>(), gain.as_chunks::<LANES>());
    for (chunk, gain) in chunks.iter().zip(gains) {
        for lane in 0..LANES {
            let scaled = chunk[lane] * gain[lane];
            lanes[lane] += scaled * scaled;
        }
    }
    for (lane, (value, gain)) in lanes.iter_mut().zip(rest.iter().zip(rest_gain)) {
        let scaled = value * gain;
        *lane += scaled * scaled;
    }
    in_f64(lanes)
}

#[inline(always)]
fn in_f64(lanes: [f32; LANES]) -> f64 {
    let mut sum = 0.0;
    for lane in lanes {
        sum += f64::from(lane);
    }
    sum
}

/// Sum of a function of two values, in f64.
macro_rules! in_lanes {
    ($left:expr, $right:expr, |$x:ident, $y:ident| $term:expr) => {
        vectorised!({
            let mut lanes = [0.0_f64; LANES];
            for (left, right) in $left.chunks(LANES).zip($right.chunks(LANES)) {
                for ((lane, left), right) in lanes.iter_mut().zip(left).zip(right) {
                    let ($x, $y) = (f64::from(*left), f64::from(*right));
                    *lane += $term;
                }
            }
            lanes.iter().sum::<f64>()
        })
    };
}

/// The weighted norms of outer products `left right^T` without forming them:
/// `sum_rc gain_rc^2 left_r^2 right_c^2 = (left^2)^T G (right^2)`, all terms positive.
pub(super) struct OuterNorm {
    rows: usize,
    cols: usize,
    /// `gain^2`, packed as the right operand `[cols, rows]`; none where the gain is 1.
    gain: Option<Vec<f32>>,
    largest_gain: f32,
    /// `gain^2 a`, in units of the largest one and packed likewise, and that unit; none
    /// without a centre.
    centre: Option<(Vec<f32>, f64)>,
}

impl OuterNorm {
    /// `gain` and `centre` `[rows, cols]`.
    pub(super) fn new(shape: OuterShape, gain: Option<&[f32]>, centre: Option<&[f32]>) -> Self {
        let OuterShape { rows, cols } = shape;
        let centre = centre.map(|centre| {
            let weight = |j: usize| {
                let gain = gain.map_or(1.0, |gain| f64::from(gain[j]));
                gain * gain * f64::from(centre[j])
            };
            let unit = (0..centre.len()).fold(0.0, |most: f64, j| most.max(weight(j).abs()));
            let inverse = if unit > 0.0 { 1.0 / unit } else { 0.0 };
            let mut packed = vec![0.0; packed_len(cols, rows)];
            let at = |col, row| (weight(row * cols + col) * inverse) as f32;
            pack(&mut packed, cols, rows, at);
            (packed, unit)
        });
        let largest_gain = gain.map_or(1.0, |gain| gain.iter().copied().fold(0.0, f32::max));
        let gain = gain.map(|gain| {
            let mut packed = vec![0.0; packed_len(cols, rows)];
            pack(&mut packed, cols, rows, |col, row| gain[row * cols + col].powi(2));
            packed
        });
        Self { rows, cols, gain, largest_gain, centre }
    }

    /// Relative error of [`OuterNorm::squares`].
    pub(super) fn error(&self) -> f64 {
        // One rounding a term of the product, and the squares, gain and scaling.
        (self.cols + 16) as f64 * F32_ROUNDING
    }

    /// Adds the squared norm of each example's product: `left` `[examples, rows]`, `right`
    /// `[examples, cols]`.
    pub(super) fn squares(
        &self,
        left: &[f32],
        right: &[f32],
        scratch: &mut Vec<f32>,
        sums: &mut [f64],
    ) {
        let Some(gain) = &self.gain else {
            let rows = left.chunks_exact(self.rows).zip(right.chunks_exact(self.cols));
            for (sum, (left, right)) in sums.iter_mut().zip(rows) {
                *sum += exact_squares(left) * exact_squares(right);
            }
            return;
        };
        let weighted = self.weighted(gain, right, scaled_squares, scratch);
        let rows = left.chunks_exact(self.rows).zip(right.chunks_exact(self.cols));
        let weighted = weighted.chunks_exact(self.rows);
        for ((sum, (left, right)), weighted) in sums.iter_mut().zip(rows).zip(weighted) {
            let unit = f64::from(largest(right));
            let square = weighted_squares(left, weighted) * unit * unit;
            let unit = unit * f64::from(largest(left)) * f64::from(1.0 + self.largest_gain);
            *sum += square + lost(self.rows * self.cols, unit);
        }
    }

    /// Adds `sum gain^2 a left right` of each example, within [`OuterNorm::error`] of
    /// `sum |gain^2 a left right|`; nothing without a centre.
    pub(super) fn products(
        &self,
        left: &[f32],
        right: &[f32],
        scratch: &mut Vec<f32>,
        sums: &mut [f64],
    ) {
        let Some((centre, unit)) = &self.centre else { return };
        let weighted = self.weighted(centre, right, scaled_values, scratch);
        let rows = left.chunks_exact(self.rows).zip(right.chunks_exact(self.cols));
        let weighted = weighted.chunks_exact(self.rows);
        for ((sum, (left, right)), weighted) in sums.iter_mut().zip(rows).zip(weighted) {
            let unit = unit * f64::from(largest(right));
            *sum += weighted_sum(left, weighted) * unit;
            // What underflowed, on the side that makes the norm larger.
            *sum -= lost(self.rows * self.cols, 1.0) * f64::from(largest(left)) * unit;
        }
    }
    /// What `scale` makes of each example of `right`, times a packed operand `[cols, rows]`:
    /// `[examples, rows]`, in `scratch`.
    fn weighted<'s>(
        &self,
        packed: &[f32],
        right: &[f32],
        scale: fn(&[f32], &mut [f32]),
        scratch: &'s mut Vec<f32>,
    ) -> &'s [f32] {
        let examples = right.len() / self.cols;
        scratch.resize(examples * (self.cols + self.rows), 0.0);
        let (scaled, weighted) = scratch.split_at_mut(examples * self.cols);
        let each = scaled.chunks_exact_mut(self.cols).zip(right.chunks_exact(self.cols));
        each.for_each(|(to, from)| scale(from, to));
        let operand = Right::packed(packed, self.cols, self.rows);
        let scaled = Left::rows(scaled, examples, self.cols);
        product(Output::rows(weighted, self.rows), scaled, operand, Start::Zero);
        weighted
    }
}

/// Sum of squares in f64.
fn exact_squares(values: &[f32]) -> f64 {
    in_lanes!(values, values, |value, same| value * same)
}

/// `sum left^2 weights` in f64.
fn weighted_squares(left: &[f32], weights: &[f32]) -> f64 {
    in_lanes!(left, weights, |left, weight| left * left * weight)
}

/// `sum left weights` in f64.
fn weighted_sum(left: &[f32], weights: &[f32]) -> f64 {
    in_lanes!(left, weights, |left, weight| left * weight)
}

/// Largest absolute value; NaN if one is.
fn largest(values: &[f32]) -> f32 {
    vectorised!({
        let mut lanes = [0.0_f32; LANES];
        for chunk in values.chunks(LANES) {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                let value = value.abs();
                // NaN, once there, stays: every comparison with it is false.
                *lane = if value > *lane || value.is_nan() { value } else { *lane };
            }
        }
        lanes.iter().fold(0.0, |a: f32, b| if *b > a || b.is_nan() { *b } else { a })
    })
}

/// The values in units of the largest one.
fn scaled_values(values: &[f32], scaled: &mut [f32]) {
    let unit = largest(values);
    let inverse = 1.0 / unit;
    // At the ends of f32, where there is no normal inverse, the example is dropped; zeros stay.
    let inverse = match inverse.is_normal() {
        true => inverse,
        false if unit == 0.0 => 0.0,
        false => f32::NAN,
    };
    vectorised!(for (scaled, value) in scaled.iter_mut().zip(values) {
        *scaled = value * inverse;
    });
}

/// Their squares, of which none overflows.
fn scaled_squares(values: &[f32], squares: &mut [f32]) {
    scaled_values(values, squares);
    vectorised!(for square in squares.iter_mut() {
        *square *= *square;
    });
}
