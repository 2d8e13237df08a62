//! Sums of centred contributions whose gradients are summed as they are.
//!
//! A contribution is `gain f (g - a)`, but where g is mostly zero (a table of which an example
//! uses few rows) or never formed (an outer product), only `gain f g` is added, and the sum of
//! the clip factors F = sum f counts examples: `sum gain f (g - a) = S - gain a F`. Factors are
//! multiples of 2^-q, so F is exact, and the difference is taken once, when a sum is released.
//!
//! # Guarantee
//! What one example adds to `S - gain a F` is at most the clip radius long. Let z be the
//! rounded form of f g in S, n the norm of `gain (g - a)`. Then
//! `|gain (z - a f)| <= f n + |gain (z - f g)|`. For rows the last term is that of rounding to
//! the grid. For an outer product l r^T whose factors are rounded to the nearest integers, an
//! entry of z errs by at most `(|l s| + |r t| + 1/2) / 2` units of 2^-8 steps, `s, t` the scales
//! of its factors, hence
//! `|gain (z - f g)|^2 <= 3/4 2^-16 (s^2 sum l^2 rows + t^2 sum r^2 cols + all / 4)` with the
//! sums of `gain^2` over each row, each column and all entries. The scales are at most
//! `s^2 <= 2 256 f (r/l)`, `t^2 <= 2 256 f (l/r)`, l and r the largest factors. That is taken
//! off the radius, at the largest f that may be used.
//!
//! The single-precision products of rows err by 2^-23 of `gain f g`, which the centre may cancel,
//! so that the 2^-21 of C that lattices keep for such errors need not cover them. The bound on n
//! does: it is raised by twice the doubt of its own three terms, which is more.

use super::outer::{OuterShape, largest};
use super::{ClipFactor, LANES, Lattice, NormBound};

/// What takes sums of uncentred gradients to those of centred ones.
#[derive(Clone, Debug)]
pub(super) struct Centre {
    /// `gain a 2^-q`, one a coordinate; 0 where gradients are centred before they are added.
    shift: Vec<f64>,
    /// 2^q.
    fixed: f64,
    /// One an outer product.
    weights: Vec<Weights>,
}

/// Sums of `gain^2` of an outer product.
#[derive(Clone, Debug)]
struct Weights {
    rows: Vec<f64>,
    cols: Vec<f64>,
    all: f64,
}

/// A clip factor is at most 2^36 of the units in which they are summed.
const FACTOR_BITS: f64 = 36.0;
/// Entries of `gain f g` are at most so many grid steps, because rounding needs it.
pub(super) const MOST_STEPS: f64 = 2_097_152.0;
/// The same for entries of `f l r^T`: their factors fit 16 bits.
const MOST_PRODUCT: f64 = 1_048_576.0;

impl Centre {
    /// `gain` and `centre` `[d]`; `is_late` says which coordinates are centred in the sum.
    pub(super) fn new(
        lattice: &Lattice,
        outers: &[(usize, OuterShape)],
        gain: Option<&[f32]>,
        centre: &[f32],
        is_late: impl Fn(usize) -> bool,
    ) -> Self {
        let fixed = (FACTOR_BITS + lattice.grid.log2()).floor().exp2();
        let gain = |j: usize| gain.map_or(1.0, |gain| f64::from(gain[j]));
        let shift = |(j, a): (usize, &f32)| match is_late(j) {
            true => gain(j) * f64::from(*a) / fixed,
            false => 0.0,
        };
        let weights = outers.iter().map(|(start, shape)| Weights::new(*shape, |j| gain(start + j)));
        let (shift, weights) = (centre.iter().enumerate().map(shift).collect(), weights.collect());
        Self { shift, fixed, weights }
    }

    /// The factor in the units in which factors are summed: a whole number.
    pub(super) fn units(&self, factor: f32) -> i64 {
        (f64::from(factor) * self.fixed) as i64
    }

    /// What is taken off coordinate `place`, in grid steps, where the factors sum up to
    /// `units`.
    #[inline(always)]
    pub(super) fn taken(&self, place: usize, units: f64) -> f64 {
        self.shift[place] * units
    }

    /// The factor that clips an example, a whole number of units: `norm` of its centred
    /// gradient, `uncentred` of the part of its gradient that is centred in the sum, and the
    /// factors of its outer products.
    pub(super) fn factor<'v>(
        &self,
        lattice: &Lattice,
        norm: NormBound,
        uncentred: NormBound,
        outers: impl Iterator<Item = (&'v [f32], &'v [f32])>,
    ) -> ClipFactor {
        let mut most = f64::from(lattice.factor(norm).0).min(MOST_STEPS / uncentred.0);
        let (mut is_finite, mut error) = (uncentred.0.is_finite(), RoundingError::default());
        for ((left, right), weights) in outers.zip(&self.weights) {
            let largest = error.add(left, right, weights);
            is_finite &= largest.is_finite();
            most = most.min(MOST_PRODUCT / largest);
        }
        let radius = lattice.radius - error.length(most);
        let factor = most.min(radius / norm.0);
        // Written so that NaN, for which every comparison is false, is refused.
        if !(is_finite && radius > 0.0 && factor > 0.0) {
            return ClipFactor(0.0);
        }
        let factor = (self.units(factor as f32) as f64 / self.fixed) as f32;
        ClipFactor(if factor.is_normal() { factor } else { 0.0 })
    }
}

impl Weights {
    fn new(shape: OuterShape, gain: impl Fn(usize) -> f64) -> Self {
        let (mut rows, mut cols) = (vec![0.0; shape.rows], vec![0.0; shape.cols]);
        for j in 0..shape.len() {
            let square = gain(j) * gain(j);
            rows[j / shape.cols] += square;
            cols[j % shape.cols] += square;
        }
        Self { all: rows.iter().sum(), rows, cols }
    }
}

/// Bound on what rounding moves one example's outer products by: its square is linear in the
/// clip factor.
#[derive(Default)]
struct RoundingError {
    /// Sum of `(r/l) sum l^2 rows + (l/r) sum r^2 cols` over outer products.
    slope: f64,
    /// Sum of `all`.
    constant: f64,
}

impl RoundingError {
    /// Adds an outer product; gives the largest entry of it.
    fn add(&mut self, left: &[f32], right: &[f32], weights: &Weights) -> f64 {
        let (most_left, most_right) = vectorised!((largest(left), largest(right)));
        let (most_left, most_right) = (f64::from(most_left), f64::from(most_right));
        if most_left > 0.0 && most_right > 0.0 {
            let ratio = most_right / most_left;
            self.slope += ratio * weighted_squares(left, &weights.rows);
            self.slope += weighted_squares(right, &weights.cols) / ratio;
            self.constant += weights.all;
        }
        most_left * most_right
    }

    /// The bound, in grid steps, for a clip factor.
    fn length(&self, factor: f64) -> f64 {
        // 3/4, and a little more for the rounding of this bound itself.
        (0.7501 * (512.0 * factor * self.slope + self.constant / 4.0) / 65_536.0).sqrt()
    }
}

/// `sum values^2 weights`.
fn weighted_squares(values: &[f32], weights: &[f64]) -> f64 {
    vectorised!({
        let mut lanes = [0.0; LANES];
        for (values, weights) in values.chunks(LANES).zip(weights.chunks(LANES)) {
            for ((lane, value), weight) in lanes.iter_mut().zip(values).zip(weights) {
                *lane += f64::from(*value) * f64::from(*value) * weight;
            }
        }
        lanes.iter().sum()
    })
}
