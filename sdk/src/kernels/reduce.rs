//! Sums, and the largest of many.

use super::math::exp;
use super::vectorised;

/// Terms that are added apart from each other, the same on every processor: two AVX
/// registers, so that one addition does not wait for the one before.
const PARTS: usize = 16;

// A macro and not a generic function, for the reason given at `map!` of the activations.

/// Sum of a term over two slices of one length, in [`PARTS`] parts.
macro_rules! sum_of {
    (|$x:ident, $y:ident| $term:expr, $left:expr, $right:expr) => {{
        let (mut parts, mut rest) = ([0.0_f32; PARTS], 0.0_f32);
        let (left, left_rest) = $left.as_chunks::<PARTS>();
        let (right, right_rest) = $right.as_chunks::<PARTS>();
        for (left, right) in left.iter().zip(right) {
            for ((part, &$x), &$y) in parts.iter_mut().zip(left).zip(right) {
                *part += $term;
            }
        }
        for (&$x, &$y) in left_rest.iter().zip(right_rest) {
            rest += $term;
        }
        folded(parts) + rest
    }};
}

/// Sum of all values.
#[inline(always)]
pub(crate) fn total(values: &[f32]) -> f32 {
    sum_of!(|x, _same| x, values, values)
}

/// `sum (x - mean)^2`.
#[inline(always)]
pub(crate) fn square_deviation(values: &[f32], mean: f32) -> f32 {
    sum_of!(|x, _same| (x - mean) * (x - mean), values, values)
}

/// `sum x (y - mean)`.
#[inline(always)]
pub(crate) fn centred_dot(left: &[f32], right: &[f32], mean: f32) -> f32 {
    sum_of!(|x, y| x * (y - mean), left, right)
}

/// `sum e^(x - shift)`.
#[inline(always)]
pub(super) fn exp_sum(values: &[f32], shift: f32) -> f32 {
    sum_of!(|x, _same| exp(x - shift), values, values)
}

/// The largest value; NaN is passed over. Minus infinity if there is none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut parts = [f32::NEG_INFINITY; PARTS];
    let (chunks, rest) = values.as_chunks::<PARTS>();
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = if value > *part { value } else { *part };
        }
    }
    let mut half = PARTS / 2;
    while half > 0 {
        for index in 0..half {
            let value = parts[index + half];
            parts[index] = if value > parts[index] { value } else { parts[index] };
        }
        half /= 2;
    }
    rest.iter().fold(parts[0], |best, &value| if value > best { value } else { best })
}

/// Sum of the parts, halved until one is left: each half is one vector addition.
#[inline(always)]
fn folded(mut parts: [f32; PARTS]) -> f32 {
    let mut half = PARTS / 2;
    while half > 0 {
        for index in 0..half {
            parts[index] += parts[index + half];
        }
        half /= 2;
    }
    parts[0]
}

/// `sums[c] = sum of values[.., c]`; values `[rows, sums.len()]`.
pub(crate) fn column_sums(values: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    vectorised!(for row in values.chunks_exact(sums.len().max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::test_values;

    proptest! {
        #[test]
        fn reductions_are_the_naive_ones(len in 1_usize..100, mean in -1.0_f32..1.0) {
            let (left, right) = (test_values(len, 6), test_values(len, 7));
            let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let (x, y, m) = (wide(&left), wide(&right), f64::from(mean));
            let dot: f64 = x.iter().zip(&y).map(|(x, y)| x * (y - m)).sum();
            let square: f64 = x.iter().map(|x| (x - m) * (x - m)).sum();
            prop_assert!((f64::from(total(&left)) - x.iter().sum::<f64>()).abs() < 1e-5);
            prop_assert!((f64::from(centred_dot(&left, &right, mean)) - dot).abs() < 2e-5);
            prop_assert!((f64::from(square_deviation(&left, mean)) - square).abs() < 5e-5);
            prop_assert_eq!(largest(&left), left.iter().copied().fold(f32::MIN, f32::max));
        }
    }

    #[test]
    fn columns_are_summed() {
        let mut sums = [9.0; 3];
        column_sums(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut sums);
        assert_eq!(sums, [5.0, 7.0, 9.0]);
    }
}
