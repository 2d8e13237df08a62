//! Elementary functions in f32 without branches or table look-ups, so that loops over
//! them become vector code. Each is within a few units in the last place of the true
//! value (the tests measure them against f64) and carries NaN through.

// The fits below are minimax in relative error, made with 60-digit arithmetic by
// iteratively reweighted least squares; digits beyond f32 are kept as computed.
#![allow(clippy::excessive_precision)]

use super::reduce::{exp_sum, largest, total};

/// `ln 2`, split so that `n * LN2_HIGH` is exact for the `n` that occur.
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_400_5e-4;
/// `1.5 * 2^23`: adding it rounds to the nearest integer, which then stands in the
/// lowest bits of the sum.
const ROUNDER: f32 = 12_582_912.0;
/// `1 / k!` for k = 7 down to 0. On `|r| <= ln(2) / 2` the rest of the series is below
/// 6e-9.
const EXP_SERIES: [f32; 8] = [
    1.984_126_984e-4,
    1.388_888_889e-3,
    8.333_333_333e-3,
    4.166_666_667e-2,
    1.666_666_667e-1,
    0.5,
    1.0,
    1.0,
];

/// `tanh(x) / x = P(x^2) / Q(x^2)` on `|x| <= 9`, highest power first; relative error 7e-9.
const TANH_P: [f32; 7] = [
    -8.490_094_289e-14,
    5.278_552_735e-11,
    -2.022_662_611e-8,
    1.115_468_652e-5,
    3.103_994_559e-3,
    1.308_404_518e-1,
    9.999_999_935e-1,
];
const TANH_Q: [f32; 4] = [2.546_199_708e-4, 2.449_533_338e-2, 4.641_737_232e-1, 1.0];
/// `1 - tanh(9)` is 3e-8, half a unit in the last place.
const TANH_LIMIT: f32 = 9.0;

/// `erf(x) / x = P(x^2) / Q(x^2)` on `|x| <= 4`, highest power first; relative error 7e-8.
const ERF_P: [f32; 7] = [
    1.911_041_536e-8,
    -1.942_012_924e-6,
    1.472_326_606e-4,
    3.988_563_104e-3,
    5.151_876_356e-2,
    2.070_798_237e-1,
    1.128_379_096,
];
const ERF_Q: [f32; 5] =
    [1.020_605_836e-3, 1.495_409_63e-2, 1.179_518_542e-1, 5.168_509_812e-1, 1.0];
/// `1 - erf(4)` is 2e-8, below half a unit in the last place.
const ERF_LIMIT: f32 = 4.0;

/// `e^x`; zero far below and infinity far above what f32 holds.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r, e^x = 2^n e^r.
    let x = clamp(x, -104.0, 89.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // 2^n in two halves: n itself leaves the exponents of f32 at both ends.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let half = n >> 1;
    polynomial(&EXP_SERIES, r) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = clamp(x, -TANH_LIMIT, TANH_LIMIT);
    let square = x * x;
    let ratio = x * polynomial(&TANH_P, square) / polynomial(&TANH_Q, square);
    // Rounding must not leave the range: 1 - tanh^2 is a factor of gradients.
    clamp(ratio, -1.0, 1.0)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Error function.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let x = clamp(x, -ERF_LIMIT, ERF_LIMIT);
    let square = x * x;
    clamp(x * polynomial(&ERF_P, square) / polynomial(&ERF_Q, square), -1.0, 1.0)
}

/// Standard normal distribution function.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// Standard normal density.
#[inline(always)]
pub(super) fn normal_density(x: f32) -> f32 {
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_28;
    FRAC_1_SQRT_2PI * exp(-0.5 * x * x)
}

/// `(m, sum e^(x - m))` with m the largest value, so that
/// `log sum e^x = m + ln(sum)` without overflow.
#[inline(always)]
pub(crate) fn log_sum_exp(values: &[f32]) -> (f32, f32) {
    let largest = largest(values);
    (largest, exp_sum(values, largest))
}

/// `values = e^(scale x) / sum e^(scale x)`, for a positive scale; a NaN makes all of them
/// NaN. Less the largest, no power overflows.
#[inline(always)]
pub(crate) fn softmax(values: &mut [f32], scale: f32) {
    let largest = largest(values);
    for value in values.iter_mut() {
        *value = exp((*value - largest) * scale);
    }
    let share = 1.0 / total(values);
    for value in values.iter_mut() {
        *value *= share;
    }
}

/// Limits x to `low..=high`; NaN stays NaN, which `f32::max` and `min` would drop.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Horner's rule, highest power first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients.iter().fold(0.0, |value, coefficient| value * x + coefficient)
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four units in the last place of f32, relative; the fits themselves are within 7e-8
    /// and the rest is rounding in f32.
    const RELATIVE: f64 = 4.8e-7;

    /// Largest relative error over a grid, and the point it is at.
    fn worst(limit: f32, ours: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f32) {
        let points = 200_000;
        (0..=points)
            .map(|index| limit * (2.0 * index as f32 / points as f32 - 1.0))
            .filter(|x| exact(f64::from(*x)).abs() > f64::from(f32::MIN_POSITIVE))
            .map(|x| {
                let exact = exact(f64::from(x));
                ((f64::from(ours(x)) - exact).abs() / exact.abs(), x)
            })
            .fold((0.0, 0.0), |worst, next| if next.0 > worst.0 { next } else { worst })
    }

    #[test]
    fn functions_agree_with_f64() {
        let sigmoid64 = |x: f64| 1.0 / (1.0 + (-x).exp());
        for (name, (error, x)) in [
            ("exp", worst(87.0, exp, f64::exp)),
            ("tanh", worst(12.0, tanh, f64::tanh)),
            ("tanh near 0", worst(0.01, tanh, f64::tanh)),
            ("sigmoid", worst(80.0, sigmoid, sigmoid64)),
            ("erf", worst(6.0, erf, libm::erf)),
            ("erf near 0", worst(0.01, erf, libm::erf)),
        ] {
            assert!(error < RELATIVE, "{name}({x}) is off by {error:e}");
        }
    }

    #[test]
    fn ends_and_nan_are_carried() {
        assert_eq!((exp(0.0), exp(-200.0), exp(200.0)), (1.0, 0.0, f32::INFINITY));
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY)), (0.0, f32::INFINITY));
        assert_eq!((tanh(50.0), tanh(-50.0), tanh(0.0)), (1.0, -1.0, 0.0));
        assert_eq!((erf(50.0), erf(-50.0), erf(0.0)), (1.0, -1.0, 0.0));
        assert_eq!((sigmoid(-1e30), sigmoid(1e30)), (0.0, 1.0));
        for function in [exp, tanh, erf, sigmoid] {
            assert!(function(f32::NAN).is_nan());
        }
    }

    #[test]
    fn log_sum_exp_does_not_overflow() {
        assert_eq!(log_sum_exp(&[1000.0, 1000.0]), (1000.0, 2.0));
        assert!(log_sum_exp(&[f32::NAN, 1.0]).1.is_nan());
    }
}
