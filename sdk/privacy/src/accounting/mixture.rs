//! The one-step likelihood ratios that both accountants rest on.
//!
//! Without the example a step releases z ~ N(0, sigma^2), with it the mixture
//! (1-q) N(0, sigma^2) + q N(1, sigma^2). In units t = z/sigma the ratio of the
//! densities is r(t) = 1 - q + q e^x with x = t/sigma - 1/(2 sigma^2). Where the example is
//! replaced, the mirror image of the mixture takes the place of the noise, and the ratio
//! is r(t) / r(-t).

/// Beyond this exponent 1 - q + q e^x is q e^x to within double precision for all but
/// the tiniest q, and a log form takes over that cannot overflow.
const LARGE_EXPONENT: f64 = 30.0;

/// The subsampled Gaussian of one step, 0 < q <= 1 and sigma > 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixture {
    pub(super) q: f64,
    pub(super) sigma: f64,
}

impl Mixture {
    /// x(t) = t/sigma - 1/(2 sigma^2).
    pub(super) fn exponent(self, t: f64) -> f64 {
        (t - 0.5 / self.sigma) / self.sigma
    }

    /// ln r(t), increasing in t.
    fn log_at(self, t: f64) -> f64 {
        self.log_mixture(self.exponent(t))
    }

    /// ln(1 - q + q e^x), increasing in x.
    pub(super) fn log_mixture(self, x: f64) -> f64 {
        let q = self.q;
        if q >= 1.0 {
            return x;
        }
        if x > LARGE_EXPONENT {
            return x + q.ln() + ((1.0 - q) / q * (-x).exp()).ln_1p();
        }
        let u = q * x.exp_m1();
        // Near u = -1 the sum of two positive numbers keeps the digits that 1 + u loses.
        if u > -0.5 { u.ln_1p() } else { (1.0 - q + q * x.exp()).ln() }
    }

    /// The t at which ln r(t) is `l`; -infinity at or below its infimum ln(1-q).
    fn position(self, l: f64) -> f64 {
        let q = self.q;
        let x = if q >= 1.0 {
            l
        } else if l > LARGE_EXPONENT {
            l - q.ln() + (-(1.0 - q) * (-l).exp()).ln_1p()
        } else {
            (l.exp_m1() / q).max(-1.0).ln_1p()
        };
        self.sigma * x + 0.5 / self.sigma
    }

    /// Step in t at which trapezoidal sums over the standard normal density times an
    /// analytic function of the ratio are exact to double precision.
    ///
    /// The integrand is analytic for |Im t| < pi sigma (where 1 - q + q e^x vanishes),
    /// so a step h errs by exp(y^2/2 - 2 pi y/h) for every y below that; with
    /// h = min(1, sigma)/2 and y = pi min(1, sigma) this is below exp(-34) = 2e-15.
    pub(super) fn quadrature_step(self) -> f64 {
        0.5 * self.scale()
    }

    /// Length in t over which normal density and likelihood ratio change; without
    /// sampling the log ratio is linear and only the density counts.
    pub(super) fn scale(self) -> f64 {
        if self.q >= 1.0 { 1.0 } else { self.sigma.min(1.0) }
    }
}

/// A likelihood ratio P/Q over the standard normal density, increasing in t.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    /// What P is.
    pub(super) mixture: Mixture,
    /// What Q is.
    pub(super) against: Against,
}

/// What a mixture is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    /// N(0, sigma^2), of density 1 over the standard normal one.
    Noise,
    /// (1-q) N(0, sigma^2) + q N(-1, sigma^2), of density r(-t).
    Mirror,
}

impl Ratio {
    /// ln(P/Q) at t.
    pub(super) fn log(self, t: f64) -> f64 {
        self.mixture.log_at(t) - self.log_reference(t)
    }

    /// ln of the density of Q over the standard normal one.
    pub(super) fn log_reference(self, t: f64) -> f64 {
        match self.against {
            Against::Noise => 0.0,
            Against::Mirror => self.mixture.log_at(-t),
        }
    }

    /// The t at which ln(P/Q) is `l`.
    ///
    /// Mirrored, with y = e^(t/sigma) and c = e^(-1/(2 sigma^2)), r(t) = e^l r(-t) is
    /// q c y^2 + (1-q)(1 - e^l) y - q c e^l = 0, hence ln y = l/2 + asinh(S) with
    /// S = (1-q)/(q c) sinh(l/2).
    pub(super) fn position(self, l: f64) -> f64 {
        let Mixture { q, sigma } = self.mixture;
        match self.against {
            Against::Noise => self.mixture.position(l),
            Against::Mirror => {
                let log_factor = ((1.0 - q) / q).ln() + 0.5 / sigma / sigma;
                sigma * (0.5 * l + asinh_of_product(log_factor, 0.5 * l))
            }
        }
    }

    /// Where, in t, the outermost modes of P^a Q^(1-a) are at most; a >= 1.
    pub(super) fn modes(self, a: f64) -> (f64, f64) {
        let one = 1.0 / self.mixture.sigma;
        match self.against {
            Against::Noise => (0.0, a * one),
            Against::Mirror => (-one, (2.0 * a - 1.0) * one),
        }
    }
}

/// asinh(e^b sinh(x)) without overflow.
fn asinh_of_product(b: f64, x: f64) -> f64 {
    // expm1, since losses at tiny rates are smaller than the rounding of 1.
    let log_sinh = x.abs() + (-(-2.0 * x.abs()).exp_m1()).ln() - std::f64::consts::LN_2;
    let log = b + log_sinh;
    let size = if log > LARGE_EXPONENT { log + std::f64::consts::LN_2 } else { log.exp().asinh() };
    size.copysign(x)
}

/// ln(1 + e^x) without overflow.
pub(super) fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// Sum of exponentials kept as (max, scaled sum), so that nothing overflows.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSum {
    max: f64,
    sum: f64,
}

impl LogSum {
    pub(super) const fn new() -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0.0 }
    }

    /// Adds e^x.
    pub(super) fn add(&mut self, x: f64) {
        if x == f64::NEG_INFINITY {
            return;
        }
        if x <= self.max {
            self.sum += (x - self.max).exp();
        } else {
            self.sum = self.sum * (self.max - x).exp() + 1.0;
            self.max = x;
        }
    }

    /// ln of the sum; -infinity when nothing was added.
    pub(super) fn ln(self) -> f64 {
        self.max + self.sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// log_ratio and position are inverse up to the rounding of a few operations.
    const INVERSE: f64 = 1e-9;

    #[test]
    fn position_inverts_the_log_ratio() {
        for (q, sigma) in [(1.0, 0.7), (0.5, 1.0), (0.01, 0.3), (1e-6, 2.0)] {
            for against in [Against::Noise, Against::Mirror] {
                let ratio = Ratio { mixture: Mixture { q, sigma }, against };
                for t in [0.0, 1.0, 3.0, 10.0, 200.0] {
                    let back = ratio.position(ratio.log(t));
                    let error = (back - t).abs();
                    assert!(error <= INVERSE * (1.0 + t), "{q} {sigma} {against:?} {t} {back}");
                }
            }
        }
    }

    #[test]
    fn a_mirrored_ratio_is_odd() {
        let ratio = Ratio { mixture: Mixture { q: 0.3, sigma: 0.8 }, against: Against::Mirror };
        for t in [0.0, 0.1, 2.0, 40.0] {
            assert!((ratio.log(t) + ratio.log(-t)).abs() < 1e-12);
            assert!((ratio.position(t) + ratio.position(-t)).abs() < INVERSE);
        }
    }

    #[test]
    fn a_mirrored_ratio_keeps_its_digits_at_tiny_rates() {
        for q in [1e-12, 1e-16, 1e-69] {
            let ratio = Ratio { mixture: Mixture { q, sigma: 0.8 }, against: Against::Mirror };
            for t in [1e-3, 1.0, 10.0] {
                assert!((ratio.position(ratio.log(t)) / t - 1.0).abs() < INVERSE, "{q} {t}");
            }
        }
    }

    #[test]
    fn log_ratio_neither_overflows_nor_loses_its_lower_limit() {
        let m = Mixture { q: 0.25, sigma: 1.0 };
        assert!((m.log_mixture(1e6) - (1e6 + 0.25_f64.ln())).abs() < 1e-9);
        assert!((m.log_mixture(-1e6) - 0.75_f64.ln()).abs() < 1e-15);
        assert_eq!(m.position(-1.0), f64::NEG_INFINITY);
        assert!(asinh_of_product(5e4, 1e3).is_finite() && asinh_of_product(0.0, 0.0) == 0.0);
    }

    #[test]
    fn log_sum_passes_over_terms_of_zero() {
        let mut sum = LogSum::new();
        sum.add(f64::NEG_INFINITY);
        assert_eq!(sum.ln(), f64::NEG_INFINITY);
        [1000.0, f64::NEG_INFINITY, 1000.0].into_iter().for_each(|x| sum.add(x));
        assert!((sum.ln() - (1000.0 + 2_f64.ln())).abs() < 1e-12);
    }
}
