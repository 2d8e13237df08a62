//! A bound on the norm of an update: one device cannot outweigh the others by size.

/// The longest update that is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NormBound {
    /// L2 norm, in grid steps.
    limit: f64,
}

impl NormBound {
    pub(super) const fn new(limit: f64) -> Self {
        Self { limit }
    }

    /// Scales a longer update down to the limit, each value rounded to the nearest integer,
    /// halves away from zero: the norm then exceeds the limit by sqrt(k)/2 grid steps at
    /// most. Only operations that IEEE 754 rounds correctly, so every machine agrees.
    pub(super) fn apply(&self, values: &mut [i64]) {
        let norm = norm_squared(values).sqrt();
        if norm > self.limit {
            let factor = self.limit / norm;
            values.iter_mut().for_each(|v| *v = (*v as f64 * factor).round() as i64);
        }
    }
}

/// The exact sum of squares, rounded at the end: `carries` counts wholes of 2^128, because
/// a few of the largest values go beyond, and a norm that stopped there would let them by.
fn norm_squared(values: &[i64]) -> f64 {
    let (mut sum, mut carries) = (0_u128, 0_u32);
    for value in values {
        let (next, carried) = sum.overflowing_add(u128::from(value.unsigned_abs()).pow(2));
        (sum, carries) = (next, carries + u32::from(carried));
    }
    f64::from(carries) * (u64::MAX as f64).powi(2) + sum as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length(values: &[i64]) -> f64 {
        values.iter().map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn an_update_within_the_bound_is_left_alone() {
        let mut values = [3, -4];
        NormBound::new(5.0).apply(&mut values);
        assert_eq!(values, [3, -4]);
        NormBound::new(2.5).apply(&mut values);
        assert_eq!(values, [2, -2]);
    }

    proptest! {
        #[test]
        fn no_update_is_longer_than_the_bound_whatever_was_sent(
            values in prop::collection::vec(any::<i64>(), 1..40), limit in 1.0_f64..1e9,
        ) {
            let (mut bounded, k) = (values.clone(), values.len() as f64);
            NormBound::new(limit).apply(&mut bounded);
            prop_assert!(length(&bounded) <= limit + k.sqrt());
            for (old, new) in values.iter().zip(&bounded) {
                prop_assert!(*new == 0 || old.signum() == new.signum());
            }
        }
    }
}
