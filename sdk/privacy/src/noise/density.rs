//! The ideal law: a normal variate rounded to the nearest integer.
//!
//! P(n) = Phi((n + 1/2)/s) - Phi((n - 1/2)/s) is the law of round(N(0, s^2)), and an
//! integer plus such noise is a post-processing of the Gaussian mechanism. With
//! x = n/s and the generating function of the Hermite polynomials, integrating the
//! density over the cell gives the exact series
//!
//!   P(n) ~ exp(-x^2/2) * sum_k He_2k(x) / ((2k+1)! (4 s^2)^k)
//!        = exp(-x^2/2) * (1 + (x^2-1)/(24 s^2) + (x^4-6x^2+3)/(1920 s^4) + ...)
//!
//! whose first factor alone is the discrete Gaussian law. At s >= 2^12 and |x| <= 38 the
//! next term is below 2^-58.

use super::{LARGEST_STD, REACH};

/// Below this standard deviation the series above is too short; see [`RoundedNormal::new`].
const LEAST_STD: f64 = 4096.0;

/// Fraction bits of the exponent n^2/(2 s^2): it is below 2^10 within [`REACH`].
const EXPONENT_BITS: u32 = 117;

/// Bits of the exponent that are left to the second factor of [`RoundedNormal::weight`],
/// so that the first 53 are an f64 without rounding.
const LOW_BITS: u32 = 74;

/// Rounded normal law of standard deviation at least the one that was asked for, on a
/// grid `refinement` times finer than the integers.
#[derive(Clone, Debug)]
pub(super) struct RoundedNormal {
    /// Standard deviation on the fine grid.
    std: f64,
    /// floor(2^EXPONENT_BITS / (2 std^2)).
    curvature: u128,
    /// Odd number of fine cells in one integer's cell.
    refinement: u64,
}

impl RoundedNormal {
    /// The law of standard deviation `std` in (1/(2 REACH), [`LARGEST_STD`]].
    ///
    /// A small one is sampled on a finer grid: for an odd M, rounding M*N to integers and
    /// then m/M to integers is the same as rounding N at once, since the borders of the
    /// coarse cells, M (n + 1/2), are borders of fine cells.
    ///
    /// The deviation is raised to 32 significant bits and the curvature rounded down:
    /// the noise is exactly that of a deviation larger by a factor below 1 + 2^-31, more
    /// private and not to be charged.
    pub(super) fn new(std: f64) -> Self {
        debug_assert!(std * REACH > 0.5 && std <= LARGEST_STD);
        let refinement = if std < LEAST_STD { (LEAST_STD / std).ceil() as u64 | 1 } else { 1 };
        let fine = if refinement > 1 { (std * refinement as f64).next_up() } else { std };
        // std = mantissa / 2^shift with a mantissa in [2^31, 2^32].
        let shift = 31 - fine.log2().floor() as i32;
        let mantissa = (fine * f64::from(shift).exp2()).ceil();
        let inverse_square = (1_u128 << 127) / (mantissa as u128).pow(2);
        // 2^117 / (2 std^2) = inverse_square * 2^(2 shift - 11), rounded down.
        let scale = 2 * shift - 11;
        let curvature = if scale >= 0 { inverse_square << scale } else { inverse_square >> -scale };
        Self { std: mantissa * f64::from(-shift).exp2(), curvature, refinement }
    }

    /// Standard deviation on the fine grid, at least 2^12.
    pub(super) const fn std(&self) -> f64 {
        self.std
    }

    /// Fine columns within REACH: those of 0, 1, .. up to this, exclusive.
    pub(super) fn columns(&self) -> u64 {
        (self.std * REACH).ceil() as u64 + 1
    }

    /// The integer in whose cell the fine value `m` lies. There are no ties.
    pub(super) const fn coarse(&self, m: i64) -> i64 {
        let refinement = self.refinement as i64;
        (m + refinement / 2).div_euclid(refinement)
    }

    /// Whether fine values and integers are the same.
    pub(super) const fn is_fine(&self) -> bool {
        self.refinement == 1
    }

    /// P(n) up to a constant factor, for fine columns n < [`Self::columns`].
    ///
    /// # Guarantee
    /// Relative error at most 6 u, u = 2^-53: e = n^2/(2 std^2) is an exact integer
    /// multiple of 2^-117, so that e = high + low with high an f64 and low < 2^-43;
    /// exp errs by at most 2 units in the last place (4 u), e^-low = 1 - low up to
    /// 2^-87, and the last sum and product by u each. The series' next term and the
    /// roundings of `series` - low, which is below 2^-17, are far below u.
    pub(super) fn weight(&self, n: u64) -> f64 {
        let e = u128::from(n).pow(2) * self.curvature;
        let high =
            (e >> LOW_BITS) as f64 * f64::exp2(f64::from(LOW_BITS) - f64::from(EXPONENT_BITS));
        let low = (e & ((1 << LOW_BITS) - 1)) as f64 * f64::exp2(-f64::from(EXPONENT_BITS));
        let square = self.std * self.std;
        let series = (2.0 * high - 1.0) / (24.0 * square)
            + (4.0 * high * high - 12.0 * high + 3.0) / (1920.0 * square * square);
        (-high).exp() * (1.0 + (series - low))
    }

    /// The least number of columns n with `weight(n)` <= `height`, for heights above the
    /// weight at REACH; 0 for heights above all weights.
    pub(super) fn columns_above(&self, height: f64) -> u64 {
        let mut n = (self.std * (-2.0 * height.ln()).max(0.0).sqrt()).ceil() as u64;
        while self.weight(n) > height {
            n += 1;
        }
        while n > 0 && self.weight(n - 1) <= height {
            n -= 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_never_below_the_one_asked_for() {
        for std in [0.02, 0.3, 1.0, 9.0, 100.0, 4095.9, 4096.0, 1e5 / 3.0, 2e9 / 7.0, LARGEST_STD] {
            let law = RoundedNormal::new(std);
            let (found, asked) = (law.std, std * law.refinement as f64);
            assert!(found >= asked && found <= asked * (1.0 + f64::exp2(-30.0)), "{std}: {found}");
            // The curvature says the same, and the exponent at REACH fits its bits.
            let ratio = law.curvature as f64 * f64::exp2(-117.0) * 2.0 * found * found;
            assert!((ratio - 1.0).abs() < f64::exp2(-45.0), "{std}: {ratio}");
            assert!(u128::from(law.columns()).pow(2).checked_mul(law.curvature).is_some());
        }
    }

    #[test]
    fn cells_of_the_coarse_grid_are_whole_fine_cells() {
        let law = RoundedNormal::new(1000.0);
        assert_eq!(law.refinement, 5);
        let found: Vec<i64> = (-8..=8).map(|m| law.coarse(m)).collect();
        assert_eq!(found, [-2, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2]);
    }

    /// exp(x^2/2) times the integral of exp(-(x + t/s)^2/2) over |t| < 1/2, by Simpson's
    /// rule with 8 panels: relative error (x/s)^4 / 10^7.
    fn cell(x: f64, s: f64) -> f64 {
        let at = |i: i32| {
            let t = f64::from(i) / 16.0 / s;
            (-(x * t + t * t / 2.0)).exp()
        };
        let weight = |i: i32| if i.abs() == 8 { 1.0 } else { f64::from(2 + 2 * (i & 1)) };
        (-8..=8).map(|i| weight(i) * at(i)).sum::<f64>() / 48.0
    }

    #[test]
    fn weights_are_the_integrals_of_the_density_over_the_cells() {
        for s in [4096.0, 8192.0, 65_536.0] {
            let law = RoundedNormal::new(s);
            for x in [0.0, 0.5, 1.0, 2.0, 5.0, 9.0, 20.0, 36.75] {
                let n = (x * s) as u64;
                let found = law.weight(n) / (-0.5 * x * x).exp();
                // Powers of two are their own 32 bits, so x is exact here.
                assert!((found / cell(x, s) - 1.0).abs() < 1e-15, "{s} {x}: {found}");
            }
        }
    }

    #[test]
    fn the_library_exponential_is_as_good_as_assumed() {
        // exp(a + b) = exp(a) exp(b) for exactly added a, b: three errors of 2 ulp, one
        // rounding. Necessary, not sufficient; libraries in use promise 1 ulp.
        for i in 0..20_000 {
            let (a, b) = (f64::from(i % 300) / 8.0, f64::from(i) / 1024.0);
            let ratio = (-a).exp() * (-b).exp() / (-(a + b)).exp();
            assert!((ratio - 1.0).abs() <= 14.0 * f64::exp2(-53.0), "{a} {b} {ratio}");
        }
    }
}
