//! Sums of outer products: the gradients of layers that are applied once an example, which
//! are never formed.
//!
//! The gradient of such a layer is `l r^T`, `l` the gradient of its outputs and `r` its
//! inputs. Its clipped contribution `f l r^T`, in units of 2^-[`PRODUCT_BITS`] grid steps, is
//! rounded factor by factor: `L R^T` with the integers `L = trunc(l s)` and
//! `R = trunc(r t)`, where `s t = f 2^PRODUCT_BITS`. Under a centre, where entries that become
//! smaller do not make the difference smaller, they are rounded to the nearest instead, and the
//! radius pays for it ([`centre`](super::centre)).
//!
//! # Guarantee of rounding towards zero
//! `|L_r R_c| <= f |l_r r_c| 2^PRODUCT_BITS (1 + 2^-51)` for every entry: rounding towards
//! zero, and holding the factors within 16 bits, makes no entry larger. So a contribution is
//! no longer than the clipped gradient it stands for under any weighting of its entries, and
//! nothing is to be taken off the clip norm for it. The sums of these products are exact.

use super::integers::Integers;
use super::products::{COLS, LANES, LeftRow, Products, ROWS, RightRow};

/// A product of factors counts 2^-8 grid steps: fine enough that factors have some 11 bits
/// where a gradient's largest entry is a tenth of the clip norm.
pub(super) const PRODUCT_BITS: i32 = 8;

/// Examples whose factors are kept until their products are added together.
const HELD: usize = 128;
const PAIRS: usize = HELD / 2;

/// The weight of a layer: `[rows, cols]`, outputs by inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterShape {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
}

impl OuterShape {
    /// Number of weights.
    #[must_use]
    pub const fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is no weight.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// How factors become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    TowardsZero,
    ToNearest,
}

/// The exact sum of one layer's contributions.
#[derive(Clone)]
pub(super) struct OuterSum {
    shape: OuterShape,
    rounding: Rounding,
    left: Vec<LeftRow>,
    right: Vec<RightRow>,
    /// Examples whose factors are kept.
    held: usize,
    /// Room is taken when factors are kept, before their products are added.
    sums: Integers,
    /// One example's factors on their way to where they are kept.
    factors: Vec<i16>,
}

/// `values scale` as integers, held within 16 bits; the largest magnitude of them. NaN
/// becomes 0. A macro, because a function handed over as a value may not be inlined.
macro_rules! integers {
    ($values:expr, $scale:expr, $to:expr, $round:path) => {{
        let mut most = 0;
        for (to, value) in $to.iter_mut().zip($values) {
            *to = $round(f64::from(*value) * $scale) as i16;
            most = most.max(to.unsigned_abs());
        }
        u32::from(most)
    }};
}

impl OuterSum {
    pub(super) fn new(shape: OuterShape, rounding: Rounding) -> Self {
        let OuterShape { rows, cols } = shape;
        Self {
            shape,
            rounding,
            left: vec![LeftRow::default(); rows.div_ceil(ROWS) * PAIRS],
            right: vec![RightRow::default(); cols.div_ceil(COLS) * PAIRS],
            held: 0,
            sums: Integers::new(shape.len()),
            factors: vec![0; rows + cols],
        }
    }

    /// Adds `f left right^T`, where `f` takes gradients to clipped grid steps.
    pub(super) fn add(&mut self, left: &[f32], right: &[f32], f: f32) {
        let OuterShape { rows, cols } = self.shape;
        assert!(left.len() == rows && right.len() == cols, "factors of an outer product");
        let split = Split::new(left, right, f);
        let (scaled_left, scaled_right) = self.factors.split_at_mut(rows);
        let most = vectorised!(match self.rounding {
            Rounding::TowardsZero =>
                integers!(left, split.left, scaled_left, f64::trunc)
                    * integers!(right, split.right, scaled_right, f64::trunc),
            Rounding::ToNearest =>
                integers!(left, split.left, scaled_left, f64::round_ties_even)
                    * integers!(right, split.right, scaled_right, f64::round_ties_even),
        });
        if most == 0 {
            return;
        }
        if !self.sums.has_room(most) {
            self.settle();
            self.sums.fold();
        }
        self.sums.take_room(most);
        self.keep();
        if self.held == HELD {
            self.settle();
        }
    }

    /// Puts one example's factors beside those that are kept.
    fn keep(&mut self) {
        let (pair, half) = (self.held / 2, self.held % 2);
        let (left, right) = self.factors.split_at(self.shape.rows);
        for (block, values) in left.chunks(ROWS).enumerate() {
            let row = &mut self.left[block * PAIRS + pair];
            for (to, value) in row.iter_mut().zip(values) {
                // The second example of a pair may never come.
                *to = if half == 0 { [*value, 0] } else { [to[0], *value] };
            }
        }
        for (block, values) in right.chunks(COLS).enumerate() {
            let row = self.right[block * PAIRS + pair].as_flattened_mut();
            row.iter_mut().zip(values).for_each(|(to, value)| to[half] = *value);
        }
        self.held += 1;
    }

    /// Adds the products of the factors that are kept.
    pub(super) fn settle(&mut self) {
        if self.held == 0 {
            return;
        }
        let OuterShape { rows, cols } = self.shape;
        let pairs = self.held.div_ceil(2);
        let (left, right) = (&self.left[..], &self.right[..]);
        let sums = &mut self.sums.partial[..];
        Products { sums, rows, cols, left, right, stride: PAIRS, pairs }.add();
        self.held = 0;
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.held == 0
    }

    /// Adds the sums at `places`, counted from `start`, to `totals`, in units of
    /// 2^-[`PRODUCT_BITS`] grid steps.
    pub(super) fn add_to(&self, start: usize, places: &[u32], totals: &mut [i64]) {
        self.sums.add_to(start, places, totals);
    }

    pub(super) fn clear(&mut self) {
        self.held = 0;
        self.sums.clear();
    }
}

/// What the factors of one example are multiplied with before they are rounded.
struct Split {
    left: f64,
    right: f64,
}

impl Split {
    /// Both factors get the same number of bits, to one half: `right` is the power of two
    /// that makes their largest values meet.
    ///
    /// Zero, infinite and NaN values give scales that leave nothing but zeros.
    fn new(left: &[f32], right: &[f32], f: f32) -> Self {
        let product = f64::from(f) * f64::from(PRODUCT_BITS).exp2();
        let (most_left, most_right) = vectorised!((largest(left), largest(right)));
        let (most_left, most_right) = (f64::from(most_left) * product, f64::from(most_right));
        let right = (0.5 * (most_left.log2() - most_right.log2())).round().exp2();
        Self { left: product / right, right }
    }
}

/// Largest magnitude; NaN is passed over.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for chunk in values.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if value.abs() > *lane { value.abs() } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: f64 = 256.0;

    fn sum(shape: OuterShape, examples: &[(Vec<f32>, Vec<f32>, f32)]) -> Vec<i64> {
        rounded_sum(shape, Rounding::TowardsZero, examples)
    }

    fn rounded_sum(
        shape: OuterShape,
        rounding: Rounding,
        examples: &[(Vec<f32>, Vec<f32>, f32)],
    ) -> Vec<i64> {
        let mut sum = OuterSum::new(shape, rounding);
        examples.iter().for_each(|(left, right, f)| sum.add(left, right, *f));
        sum.settle();
        let (places, mut totals) =
            ((0..shape.len() as u32).collect::<Vec<_>>(), vec![0; shape.len()]);
        sum.add_to(0, &places, &mut totals);
        totals
    }

    fn any_values(len: usize) -> impl Strategy<Value = Vec<f32>> {
        let value = (-1.0_f32..1.0, -3_i32..1).prop_map(|(value, size)| value * 10_f32.powi(size));
        (prop::collection::vec(value, len), -30_i32..30)
            .prop_map(|(values, size)| values.iter().map(|v| v * (size as f32).exp2()).collect())
    }

    fn any_example() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, f32)> {
        (any_values(5), any_values(70), 1e-3_f32..1e5)
    }

    const SHAPE: OuterShape = OuterShape { rows: 5, cols: 70 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Also where factors leave 16 bits.
        #[test]
        fn rounding_makes_no_entry_larger((left, right, f) in any_example()) {
            let found = sum(SHAPE, &[(left.clone(), right.clone(), f)]);
            for (place, found) in found.iter().enumerate() {
                let (l, r) = (left[place / SHAPE.cols], right[place % SHAPE.cols]);
                let exact = f64::from(f) * f64::from(l) * f64::from(r) * UNIT;
                prop_assert!(found.unsigned_abs() as f64 <= exact.abs() * (1.0 + f64::exp2(-50.0)));
                prop_assert!(*found == 0 || (*found > 0) == (exact > 0.0));
            }
        }

        /// Where the largest product is within the range, an entry loses less than one unit
        /// of each factor.
        #[test]
        fn factors_keep_half_the_bits_of_their_product((left, right, f) in any_example()) {
            let split = Split::new(&left, &right, f);
            let most = |values: &[f32], scale: f64| f64::from(largest(values)) * scale;
            let (most_left, most_right) = (most(&left, split.left), most(&right, split.right));
            if most_left * most_right > 0.0 {
                prop_assert!((most_left / most_right).log2().abs() <= 1.001);
            }
            if most_left < 32_767.0 && most_right < 32_767.0 {
                let found = sum(SHAPE, &[(left.clone(), right.clone(), f)]);
                for (place, found) in found.iter().enumerate() {
                    let l = f64::from(left[place / SHAPE.cols]) * split.left;
                    let r = f64::from(right[place % SHAPE.cols]) * split.right;
                    prop_assert!((l * r - *found as f64).abs() <= l.abs() + r.abs() + 1e-6);
                }
                let nearest = rounded_sum(SHAPE, Rounding::ToNearest, &[(left.clone(), right.clone(), f)]);
                for (place, found) in nearest.iter().enumerate() {
                    let l = f64::from(left[place / SHAPE.cols]) * split.left;
                    let r = f64::from(right[place % SHAPE.cols]) * split.right;
                    let most = 0.5 * (l.abs() + r.abs() + 0.5) + 1e-6;
                    prop_assert!((l * r - *found as f64).abs() <= most);
                }
            }
        }

        #[test]
        fn a_sum_is_exactly_that_of_its_examples(
            examples in prop::collection::vec(any_example(), 1..10), copies in 1_usize..60,
        ) {
            let many: Vec<_> = (0..copies).flat_map(|_| examples.clone()).collect();
            let mut expected = vec![0; SHAPE.len()];
            for example in &examples {
                let alone = sum(SHAPE, std::slice::from_ref(example));
                expected.iter_mut().zip(alone).for_each(|(sum, v)| *sum += v * copies as i64);
            }
            prop_assert_eq!(sum(SHAPE, &many), expected);
        }
    }

    #[test]
    fn what_is_not_finite_contributes_nothing() {
        for bad in [f32::NAN, f32::INFINITY] {
            let (mut left, right) = (vec![1.0; 5], vec![1.0; 70]);
            left[3] = bad;
            let found = sum(SHAPE, &[(left, right, 100.0)]);
            let rows = found.chunks(SHAPE.cols).enumerate();
            for (row, values) in rows {
                assert!(row != 3 || values.iter().all(|value| *value == 0), "{bad}");
            }
        }
        assert!(sum(SHAPE, &[(vec![0.0; 5], vec![1.0; 70], 1.0)]).iter().all(|v| *v == 0));
    }
}
