//! Renyi divergences of fixed-size sampling without replacement, one example replaced.
//!
//! Wang, Balle, Kasiviswanathan (arXiv 1808.00087), theorem 27: at integer orders a,
//!
//! (a-1) rdp(a) <= ln(1 + q^2 binom(a,2) min(4 B(2), 2 e^cgf(1))
//!                      + sum over j = 3..a of q^j binom(a,j) min(4 sqrt(B-(j) B+(j)), 2 e^cgf(j-1)))
//!
//! with cgf(j-1) = j (j-1) / (2 sigma^2) for Gaussian noise at distance 1, B(l) =
//! E_Q[(P/Q - 1)^l] at even l, and B-, B+ at the even numbers below and above j. Between
//! integers (a-1) rdp(a) is convex (corollary 10).

use super::super::mixture::{Against, LogSum, Mixture, Ratio, log_one_plus_exp};

/// Above, only the second bound of every term is taken, whose sum is linear in the order.
const MOST_MOMENTS: u32 = 256;

/// Half-width, in standard deviations, around the outermost modes of a moment's integrand.
const TAIL: f64 = 12.0;

/// Renyi divergence at every order; sigma is noise over the distance of a replacement.
pub(super) fn curve(step: Mixture, orders: &[f64]) -> Vec<f64> {
    let most = orders.iter().fold(0.0, |m: f64, &a| m.max(a)).ceil().min(f64::from(MOST_MOMENTS));
    let moments = Moments::new(step.sigma, most as u32 + 1);
    let one = |&a: &f64| {
        let (below, part) = (a.floor(), a.fract());
        let lower = log_moment(step, below, &moments);
        let upper = if part > 0.0 { log_moment(step, below + 1.0, &moments) } else { 0.0 };
        let bound = ((1.0 - part) * lower + part * upper) / (a - 1.0);
        // Without sampling it is no better (joint convexity).
        bound.min(super::gaussian(a, step.sigma))
    };
    orders.iter().map(one).collect()
}

/// Bound on (a-1) rdp(a) at an integer order.
fn log_moment(step: Mixture, order: f64, moments: &Moments) -> f64 {
    let (log_q, sigma) = (step.q.ln(), step.sigma);
    let cgf = |j: f64| 0.5 * j * (j - 1.0) / sigma / sigma;
    if order > f64::from(u32::MAX) {
        return f64::INFINITY;
    }
    let (mut sum, mut log_choose) = (LogSum::new(), order.ln());
    for j in 2..=order as u32 {
        let n = f64::from(j);
        log_choose += ((order - n + 1.0) / n).ln();
        let mut log_term = std::f64::consts::LN_2 + cgf(n);
        if order <= f64::from(MOST_MOMENTS) {
            log_term = log_term.min(4.0_f64.ln() + moments.between(j));
        }
        sum.add(n * log_q + log_choose + log_term);
    }
    log_one_plus_exp(sum.ln())
}

/// ln E_Q[(P/Q - 1)^l] at even l: the nonnegative integrand is summed as it stands, where
/// published code takes differences of moments.
struct Moments(Vec<f64>);

impl Moments {
    fn new(sigma: f64, most: u32) -> Self {
        let even = (1..=most.div_ceil(2)).map(|half| Self::one(sigma, 2 * half));
        Self(even.collect())
    }

    /// By the triangle inequality in L_j, B(j)^(1/j) >= e^((j-1)/(2 sigma^2)) - 1; where
    /// that is already half of e^cgf, the moment decides nothing.
    fn one(sigma: f64, j: u32) -> f64 {
        let n = f64::from(j);
        if n * (-0.5 * (n - 1.0) / sigma / sigma).exp() < 0.5 {
            return f64::INFINITY;
        }
        let ratio = Ratio { mixture: Mixture { q: 1.0, sigma }, against: Against::Noise };
        // |P/Q - 1|^j is at most of order |t|^j to the left, with a mode near -sqrt(j).
        let (from, to) = (-n.sqrt() - TAIL, n / sigma + n.sqrt() + TAIL);
        let h = ratio.mixture.quadrature_step();
        let mut sum = LogSum::new();
        for k in 0..=((to - from) / h).ceil() as u32 {
            let t = f64::from(k).mul_add(h, from);
            let l = ratio.log(t);
            let log_excess = l.max(0.0) + (-(-l.abs()).exp_m1()).ln();
            sum.add(n * log_excess - 0.5 * t * t);
        }
        sum.ln() + (h / std::f64::consts::TAU.sqrt()).ln()
    }

    /// ln sqrt(B-(j) B+(j)).
    fn between(&self, j: u32) -> f64 {
        let at = |half: u32| self.0.get(half as usize - 1).copied().unwrap_or(f64::INFINITY);
        0.5 * (at(j / 2) + at(j.div_ceil(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_moments_are_differences_of_likelihood_moments() {
        // B(4) = e^(6/s^2) - 4 e^(3/s^2) + 6 e^(1/s^2) - 4 + 1.
        let sigma = 1.7_f64;
        let e = |j: f64| (j / sigma / sigma).exp();
        let exact = e(6.0) - 4.0 * e(3.0) + 6.0 * e(1.0) - 3.0;
        assert!((Moments::one(sigma, 4).exp() / exact - 1.0).abs() < 1e-12);
        let wide = 50.0_f64;
        // Far below the first term: 3 / s^4 (1 + O(s^-2)).
        let small = Moments::one(wide, 4).exp() * wide.powi(4) / 3.0;
        assert!((small - 1.0).abs() < 0.01, "{small}");
    }

    #[test]
    fn bounds_agree_with_frozen_values_of_an_independent_implementation() {
        for (q, sigma, order, exact) in [
            (0.1, 1.0, 2.0, 0.052939293727797626),
            (0.1, 1.0, 8.0, 1.478554782562137),
            (0.01, 0.7, 4.0, 0.0056329565774164295),
            (0.001, 4.0, 64.0, 8.341480835269533e-06),
            (0.25, 6.0, 16.0, 0.05430124969462875),
        ] {
            let found = curve(Mixture { q, sigma }, &[order])[0];
            assert!((found / exact - 1.0).abs() < 1e-6, "{q} {sigma} {order}: {found}");
        }
    }

    #[test]
    fn a_whole_batch_is_the_plain_mechanism() {
        let found = curve(Mixture { q: 1.0, sigma: 2.0 }, &[1.5, 2.0, 3.0, 64.0]);
        let plain = [0.1875, 0.25, 0.375, 8.0];
        assert!(found.iter().zip(plain).all(|(f, p)| *f <= p * (1.0 + 1e-12)), "{found:?}");
    }

    #[test]
    fn bounds_grow_with_the_order_also_past_the_moments() {
        let orders = [1.5, 2.0, 2.7, 5.0, 64.0, 255.0, 256.0, 257.0, 1024.0];
        let found = curve(Mixture { q: 0.01, sigma: 2.0 }, &orders);
        assert!(found.windows(2).all(|w| w[0] <= w[1]), "{found:?}");
    }
}
