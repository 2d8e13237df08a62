//! The one-step likelihood ratio that both accountants rest on.
//!
//! Without the example a step releases z ~ N(0, sigma^2), with it the mixture
//! (1-q) N(0, sigma^2) + q N(1, sigma^2). In units t = z/sigma the ratio of the
//! densities is 1 - q + q e^x with x = t/sigma - 1/(2 sigma^2).

/// Beyond this exponent 1 - q + q e^x is q e^x to within double precision for all but
/// the tiniest q, and a log form takes over that cannot overflow.
const LARGE_EXPONENT: f64 = 30.0;

/// The subsampled Gaussian of one step, 0 < q <= 1 and sigma > 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixture {
    pub(super) q: f64,
    pub(super) sigma: f64,
}

impl Mixture {
    /// x(t) = t/sigma - 1/(2 sigma^2).
    pub(super) fn exponent(self, t: f64) -> f64 {
        (t - 0.5 / self.sigma) / self.sigma
    }

    /// l = ln(1 - q + q e^x): log of the ratio mixture / noise, increasing in x.
    pub(super) fn log_ratio(self, x: f64) -> f64 {
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

    /// The t at which the log ratio is `l`; -infinity at or below its infimum ln(1-q).
    pub(super) fn position(self, l: f64) -> f64 {
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
    fn position_inverts_log_ratio() {
        for (q, sigma) in [(1.0, 0.7), (0.5, 1.0), (0.01, 0.3), (1e-6, 2.0)] {
            let m = Mixture { q, sigma };
            for t in [0.0, 1.0, 3.0, 10.0, 200.0] {
                let back = m.position(m.log_ratio(m.exponent(t)));
                assert!((back - t).abs() <= INVERSE * (1.0 + t), "{q} {sigma} {t} {back}");
            }
        }
    }

    #[test]
    fn log_ratio_neither_overflows_nor_loses_its_lower_limit() {
        let m = Mixture { q: 0.25, sigma: 1.0 };
        assert!((m.log_ratio(1e6) - (1e6 + 0.25_f64.ln())).abs() < 1e-9);
        assert!((m.log_ratio(-1e6) - 0.75_f64.ln()).abs() < 1e-15);
        assert_eq!(m.position(-1.0), f64::NEG_INFINITY);
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
