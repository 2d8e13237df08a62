//! Renyi accountant: exact RDP of the Poisson-subsampled Gaussian at every order.
//!
//! Mironov, Talwar, Zhang (arXiv 1908.10530), section 3: the RDP of order a of one step
//! is ln A(a) / (a-1) with A(a) = E_{z ~ N(0, sigma^2)} [(mixture/noise)^a], for both
//! directions of add/remove. Published implementations use a binomial sum, which at
//! fractional orders is an alternating series that loses all digits; here A - 1 is an
//! integral of a nonnegative function instead, at integer and fractional orders alike.

use super::mixture::{LogSum, Mixture};
use crate::{Composition, Delta, Epsilon, Error, Event, Mechanism};

/// Half-width, in standard deviations, around the outermost modes of the integrand:
/// exp(-12^2/2) = 5e-32 of the peak is left out.
const TAIL: f64 = 12.0;

/// ln(q e^c) beyond which the Minkowski bound equals A to double precision.
const MINKOWSKI_EXACT: f64 = 36.0;

/// Most quadrature nodes of one order (below order 1.1 and sigma 0.02 only; everywhere
/// else it takes a few hundred). Beyond, the Minkowski bound stands in.
const MAX_NODES: f64 = 32_768.0;

/// Results are raised by this factor: quadrature and rounding err by less than 1e-13.
const ROUND_UP: f64 = 1.0 + 1e-11;

/// A mechanism that releases anything has at least this RDP: far below, squares of the
/// likelihood ratio would underflow to a false 0.
const LEAST_RDP: f64 = 1e-290;

/// Orders at or below are left out of the conversion: their A - 1 loses digits.
const LEAST_ORDER: f64 = 1.01;

/// Orders 1.1 to 11 in steps of 0.1, 12 to 63, and 128, 256, 512, 1024.
#[must_use]
pub fn default_orders() -> Vec<f64> {
    let fractional = (11..=110).map(|tenth| f64::from(tenth) / 10.0);
    let integer = (12..=63).chain([128, 256, 512, 1024]).map(f64::from);
    fractional.chain(integer).collect()
}

/// Adds up Renyi divergences, order by order.
///
/// # Guarantee
/// Everything composed so far is (epsilon(delta), delta)-DP for every delta, and
/// (e, delta(e))-DP for every e, also when later events were chosen after seeing earlier
/// releases (RDP composes adaptively).
///
/// # Edge cases
/// | composed | answer |
/// | --- | --- |
/// | nothing, count 0, or sampling rate 0 | epsilon 0, delta 0 |
/// | noise multiplier 0 with rate and count > 0 | epsilon +infinity, delta 1 |
/// | anything else at delta 0 | epsilon +infinity |
/// | anything at delta 1 | epsilon 0 |
#[derive(Clone, Debug, PartialEq)]
pub struct RdpAccountant {
    orders: Vec<f64>,
    rdp: Vec<f64>,
}

impl Default for RdpAccountant {
    fn default() -> Self {
        Self::new()
    }
}

impl RdpAccountant {
    /// An accountant at the [`default_orders`].
    #[must_use]
    pub fn new() -> Self {
        let orders = default_orders();
        Self { rdp: vec![0.0; orders.len()], orders }
    }

    /// An accountant at orders of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Parameter`] when there is none, or one is not a finite number above 1.01.
    pub fn with_orders(orders: Vec<f64>) -> Result<Self, Error> {
        let refuse = |name, value, expected| Err(Error::Parameter { name, value, expected });
        if orders.is_empty() {
            return refuse("number of Renyi orders", 0.0, "at least 1");
        }
        if let Some(&a) = orders.iter().find(|a| !(a.is_finite() && **a > LEAST_ORDER)) {
            return refuse("Renyi order", a, "a finite number > 1.01");
        }
        Ok(Self { rdp: vec![0.0; orders.len()], orders })
    }

    /// Adds an event.
    pub fn compose(&mut self, event: &Event) {
        let Mechanism::PoissonGaussian { rate, noise_multiplier } = event.mechanism;
        if event.count == 0 || rate.value() == 0.0 {
            return;
        }
        let one_step = curve(rate.value(), noise_multiplier.value(), &self.orders);
        for (total, step) in self.rdp.iter_mut().zip(one_step) {
            *total += event.count as f64 * step;
        }
    }

    /// Adds every event of a composition.
    pub fn compose_all(&mut self, composition: &Composition) {
        composition.events().iter().for_each(|e| self.compose(e));
    }

    /// The orders.
    #[must_use]
    pub fn orders(&self) -> &[f64] {
        &self.orders
    }

    /// RDP composed so far, one value per order.
    #[must_use]
    pub fn rdp(&self) -> &[f64] {
        &self.rdp
    }

    /// Epsilon at `delta`, possibly +infinity.
    ///
    /// Canonne, Kamath, Steinke (arXiv 2004.00010), proposition 12:
    /// eps = min_a rdp(a) + ln(1 - 1/a) - ln(a delta)/(a-1); and 0 as soon as
    /// Bretagnolle-Huber bounds the total variation sqrt(1 - exp(-rdp)) by delta.
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> f64 {
        let delta = delta.value();
        if self.rdp.iter().all(|&r| r == 0.0) || delta >= 1.0 {
            return 0.0;
        }
        if delta == 0.0 {
            return f64::INFINITY;
        }
        let at = |(&a, &r): (&f64, &f64)| {
            if delta * delta + (-r).exp_m1() > 0.0 {
                return 0.0;
            }
            r + (-1.0 / a).ln_1p() - (delta.ln() + a.ln()) / (a - 1.0)
        };
        self.orders.iter().zip(&self.rdp).map(at).fold(f64::INFINITY, f64::min).max(0.0)
    }

    /// Delta at `epsilon`, in [0, 1]; the inverse of [`Self::epsilon`].
    #[must_use]
    pub fn delta(&self, epsilon: Epsilon) -> f64 {
        let at = |(&a, &r): (&f64, &f64)| {
            let total_variation = (-(-r).exp_m1()).sqrt();
            let log_delta = (a - 1.0) * (r - epsilon.value() + (-1.0 / a).ln_1p()) - a.ln();
            total_variation.min(log_delta.exp())
        };
        self.orders.iter().zip(&self.rdp).map(at).fold(1.0, f64::min)
    }
}

/// RDP of one step at every order, rounded upwards; q > 0.
fn curve(q: f64, sigma: f64, orders: &[f64]) -> Vec<f64> {
    let step = Mixture { q, sigma };
    let round_up = |r: f64| (r * ROUND_UP).max(LEAST_RDP);
    if sigma == 0.0 {
        return vec![f64::INFINITY; orders.len()];
    }
    if q >= 1.0 {
        return orders.iter().map(|a| round_up(0.5 * a / sigma / sigma)).collect();
    }
    let widest = orders.iter().filter(|&&a| needs_quadrature(step, a)).fold(0.0, |m, &a| a.max(m));
    let nodes = if widest > 0.0 { nodes(step, widest) } else { Vec::new() };
    let one = |&a: &f64| {
        if !needs_quadrature(step, a) {
            return minkowski(step, a);
        }
        let count = node_count(step, a) as usize;
        log_one_plus_exp(log_excess(step, a, &nodes[..count.min(nodes.len())])) / (a - 1.0)
    };
    orders.iter().map(|a| round_up(one(a))).collect()
}

/// Exponent c = (a-1)/(2 sigma^2): e^c is the L_a norm of the Gaussian ratio.
fn gaussian_exponent(step: Mixture, a: f64) -> f64 {
    0.5 * (a - 1.0) / step.sigma / step.sigma
}

fn needs_quadrature(step: Mixture, a: f64) -> bool {
    gaussian_exponent(step, a) + step.q.ln() < MINKOWSKI_EXACT && node_count(step, a) <= MAX_NODES
}

/// Minkowski's inequality in L_a(noise): A^(1/a) <= 1 - q + q e^c. With A >= (q e^c)^a
/// its relative error in ln A is below (1-q)/(q e^c).
fn minkowski(step: Mixture, a: f64) -> f64 {
    step.log_ratio(gaussian_exponent(step, a)) * a / (a - 1.0)
}

/// Nodes from -TAIL to TAIL beyond the upper mode, which lies below t = a/sigma.
fn node_count(step: Mixture, a: f64) -> f64 {
    ((a / step.sigma + 2.0 * TAIL) / step.quadrature_step()).ceil() + 1.0
}

/// One node of the trapezoidal rule: what does not depend on the order.
struct Node {
    log_weight: f64,
    log_ratio: f64,
    excess_ratio: f64,
}

fn nodes(step: Mixture, widest: f64) -> Vec<Node> {
    let h = step.quadrature_step();
    let log_scale = (h / std::f64::consts::TAU.sqrt()).ln();
    let node = |k: u32| {
        let t = f64::from(k).mul_add(h, -TAIL);
        let log_ratio = step.log_ratio(step.exponent(t));
        Node { log_weight: log_scale - 0.5 * t * t, log_ratio, excess_ratio: log_ratio.exp_m1() }
    };
    (0..node_count(step, widest) as u32).map(node).collect()
}

/// ln(A - 1), where A - 1 = E[(1+u)^a - 1 - a u] and 1 + u is the likelihood ratio;
/// E[u] = 0, and by Bernoulli's inequality the integrand is never negative.
fn log_excess(step: Mixture, a: f64, nodes: &[Node]) -> f64 {
    debug_assert!(step.q < 1.0);
    let mut sum = LogSum::new();
    nodes.iter().for_each(|n| sum.add(n.log_weight + log_bernoulli(a, n)));
    sum.ln()
}

/// ln((1+u)^a - 1 - a u), to a relative accuracy of about 1e-14.
fn log_bernoulli(a: f64, node: &Node) -> f64 {
    let (l, u) = (node.log_ratio, node.excess_ratio);
    if a * u.abs() < 0.25 {
        return (0.5 * a * (a - 1.0)).ln() + 2.0 * u.abs().ln() + binomial_tail(a, u).ln();
    }
    let y = a * l;
    if y > 1.0 {
        // e^y (1 - (1 + a u) e^-y), without the overflow of e^y and of u.
        return y + (-((1.0 - a) * (-y).exp() + a * (l - y).exp())).ln_1p();
    }
    (y.exp_m1() - a * u).ln()
}

/// sum over k >= 2 of binom(a, k) u^k, divided by its first term; |a u| < 1/4.
fn binomial_tail(a: f64, u: f64) -> f64 {
    let (mut term, mut sum, mut k) = (1.0, 1.0, 2.0);
    while f64::abs(term) > 1e-17 {
        term *= (a - k) / (k + 1.0) * u;
        sum += term;
        k += 1.0;
    }
    sum
}

/// ln(1 + e^x) without overflow.
fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoiseMultiplier, SamplingRate};

    /// Rounding upwards by 1e-11, and the quadrature behind it.
    const EXACT: f64 = 1e-9;

    fn rdp(q: f64, sigma: f64, order: f64) -> f64 {
        let (q, sigma) = (SamplingRate::new(q).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        let mut accountant = RdpAccountant::with_orders(vec![order]).unwrap();
        accountant.compose(&Event::poisson_gaussian(q, sigma, 1));
        accountant.rdp()[0]
    }

    /// ln sum_k binom(a, k) (1-q)^(a-k) q^k e^(k(k-1)/(2 sigma^2)) / (a-1): exact at
    /// integer orders, and all its terms are positive.
    fn binomial(q: f64, sigma: f64, order: u32) -> f64 {
        let (mut log_choose, a) = (0.0, f64::from(order));
        let mut sum = LogSum::new();
        for k in (0..=order).map(f64::from) {
            let power = (a - k) * (-q).ln_1p() + k * q.ln();
            sum.add(log_choose + power + 0.5 * k * (k - 1.0) / sigma / sigma);
            log_choose += ((a - k) / (k + 1.0)).ln();
        }
        sum.ln() / (a - 1.0)
    }

    #[test]
    fn integer_orders_agree_with_the_binomial_sum() {
        for (q, sigma) in [(0.5, 0.3), (0.1, 1.0), (0.04, 1.5), (0.3, 2.0), (0.9, 0.7)] {
            for order in [2, 3, 8, 64, 256] {
                let (quadrature, sum) =
                    (rdp(q, sigma, f64::from(order)), binomial(q, sigma, order));
                assert!((quadrature / sum - 1.0).abs() < EXACT, "{q} {sigma} {order}");
            }
        }
    }

    #[test]
    fn order_two_has_a_closed_form_down_to_the_smallest_rates() {
        for q in [1e-8_f64, 1e-4, 0.3] {
            for sigma in [0.3_f64, 1.0, 20.0, 1e4] {
                let exact = (q * q * (sigma * sigma).recip().exp_m1()).ln_1p();
                assert!((rdp(q, sigma, 2.0) / exact - 1.0).abs() < EXACT, "{q} {sigma}");
            }
        }
    }

    #[test]
    fn fractional_orders_agree_with_frozen_values() {
        // 32-digit quadrature, independent of this crate.
        for (q, sigma, order, exact) in [
            (0.0001, 10.0, 1.25, 6.281349677263112e-11),
            (0.0001, 10.0, 1.5, 7.537621512724966e-11),
        ] {
            assert!((rdp(q, sigma, order) / exact - 1.0).abs() < EXACT, "{q} {sigma} {order}");
        }
    }

    #[test]
    fn the_plain_gaussian_has_its_closed_form() {
        assert!((rdp(1.0, 0.7, 1.5) / (0.75 / 0.49) - 1.0).abs() < EXACT);
    }

    #[test]
    fn rdp_grows_with_the_order() {
        for (q, sigma) in [(0.01, 0.05), (0.01, 0.3), (0.1, 1.0), (1e-6, 0.2), (0.5, 30.0)] {
            let mut all = RdpAccountant::new();
            let (q, sigma) = (SamplingRate::new(q).unwrap(), NoiseMultiplier::new(sigma).unwrap());
            all.compose(&Event::poisson_gaussian(q, sigma, 1));
            assert!(all.rdp().windows(2).all(|w| w[0] <= w[1] * (1.0 + EXACT)), "{q} {sigma}");
        }
    }

    #[test]
    fn nodes_stay_bounded_for_any_noise() {
        for sigma in [1e-300, 1e-6, 1e-3, 0.01, 1e6, 1e300] {
            for order in [1.02, 1.1, 1024.0, 1e9] {
                let step = Mixture { q: 1e-9, sigma };
                assert!(!needs_quadrature(step, order) || node_count(step, order) <= MAX_NODES);
                assert!(rdp(1e-9, sigma, order) > 0.0, "{sigma} {order}");
            }
        }
    }

    #[test]
    fn epsilon_and_delta_are_inverse() {
        let mut accountant = RdpAccountant::new();
        let (q, sigma) = (SamplingRate::new(0.01).unwrap(), NoiseMultiplier::new(1.0).unwrap());
        accountant.compose(&Event::poisson_gaussian(q, sigma, 1000));
        let delta = Delta::new(1e-5).unwrap();
        let epsilon = Epsilon::new(accountant.epsilon(delta)).unwrap();
        assert!((accountant.delta(epsilon) / delta.value() - 1.0).abs() < EXACT);
    }

    #[test]
    fn orders_that_mean_nothing_are_refused() {
        for orders in [vec![], vec![1.0], vec![2.0, f64::NAN], vec![f64::INFINITY], vec![-3.0]] {
            assert!(matches!(RdpAccountant::with_orders(orders), Err(Error::Parameter { .. })));
        }
    }
}
