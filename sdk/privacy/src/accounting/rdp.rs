//! Renyi accountant: Renyi divergences at many orders, added up.
//!
//! Composition adds, also where later events depend on earlier releases (Mironov, arXiv
//! 1702.07476, proposition 1), so this is the accountant for adaptive choices.

mod fixed_size;
mod poisson;

use super::mixture::{Against, Ratio};
use super::pair::Pair;
use crate::{Adjacency, Composition, Delta, Epsilon, Error, Event};

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
/// | events of two adjacencies | epsilon +infinity, delta 1; [`Composition::unified`] helps |
#[derive(Clone, Debug, PartialEq)]
pub struct RdpAccountant {
    orders: Vec<f64>,
    rdp: Vec<f64>,
    adjacency: Option<Adjacency>,
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
        Self { rdp: vec![0.0; orders.len()], orders, adjacency: None }
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
        Ok(Self { rdp: vec![0.0; orders.len()], orders, adjacency: None })
    }

    /// Adds an event.
    pub fn compose(&mut self, event: &Event) {
        let Some(pair) = Pair::of(event) else { return };
        let known = *self.adjacency.get_or_insert(event.adjacency) == event.adjacency;
        let one_use = curve(if known { pair } else { Pair::Unbounded }, &self.orders);
        for (total, use_) in self.rdp.iter_mut().zip(one_use) {
            *total += event.count as f64 * use_;
        }
    }

    /// Adds every event of a composition, under one adjacency.
    pub fn compose_all(&mut self, composition: &Composition) {
        composition.unified().for_each(|e| self.compose(&e));
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

/// Renyi divergence of one use at every order, rounded upwards.
fn curve(pair: Pair, orders: &[f64]) -> Vec<f64> {
    let each = |one: &dyn Fn(f64) -> f64| orders.iter().map(|&a| one(a)).collect();
    let against = |mixture, against| poisson::curve(Ratio { mixture, against }, orders);
    let exact: Vec<f64> = match pair {
        Pair::AddRemove(step) if step.q >= 1.0 => each(&|a| gaussian(a, step.sigma)),
        Pair::AddRemove(step) => against(step, Against::Noise),
        Pair::Mirrored(step) => against(step, Against::Mirror),
        Pair::FixedSize(step) => fixed_size::curve(step, orders),
        Pair::Laplace { shift } => each(&|a| laplace(a, shift)),
        Pair::DiscreteGaussian { std, shift, .. } => each(&|a| gaussian(a, std / shift)),
        Pair::Unbounded => each(&|_| f64::INFINITY),
    };
    // f64::max passes over a NaN, which is no bound.
    let bound = |r: f64| if r.is_nan() { f64::INFINITY } else { (r * ROUND_UP).max(LEAST_RDP) };
    exact.into_iter().map(bound).collect()
}

/// Noise sigma at distance 1, real or integer: a / (2 sigma^2).
fn gaussian(a: f64, sigma: f64) -> f64 {
    0.5 * a / sigma / sigma
}

/// Laplace noise of scale 1 at distance s (Mironov, arXiv 1702.07476, proposition 6):
/// ln(a/(2a-1) e^((a-1) s) + (a-1)/(2a-1) e^(-a s)) / (a-1).
///
/// Small s: the moment is 1 + a/(2a-1) expm1((a-1) s) + (a-1)/(2a-1) expm1(-a s), both
/// terms of order s and their sum of order s^2: digits are lost below s = 1e-5, where the
/// divergence is at most a s^2 / 2 (an s-DP mechanism, Bun, Steinke, arXiv 1605.02065,
/// proposition 3.3).
fn laplace(a: f64, s: f64) -> f64 {
    let concentrated = 0.5 * a * s * s;
    if a * s < 1e-5 {
        return concentrated.min(s);
    }
    let weight = a / (2.0 * a - 1.0);
    let log_moment = if (a - 1.0) * s > 1.0 {
        (a - 1.0) * s + (weight + (1.0 - weight) * (-(2.0 * a - 1.0) * s).exp()).ln()
    } else {
        (weight * ((a - 1.0) * s).exp_m1() + (1.0 - weight) * (-a * s).exp_m1()).ln_1p()
    };
    (log_moment / (a - 1.0)).min(concentrated).min(s)
}

#[cfg(test)]
mod tests {
    use super::super::mixture::LogSum;
    use super::*;
    use crate::{NoiseMultiplier, SamplingRate};

    /// Rounding upwards by 1e-11, and the quadrature behind it.
    const EXACT: f64 = 1e-9;

    fn rdp(q: f64, sigma: f64, order: f64) -> f64 {
        let (q, sigma) = (SamplingRate::new(q).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        let mut accountant = RdpAccountant::with_orders(vec![order]).unwrap();
        accountant.compose(&Event::poisson_gaussian(Adjacency::AddRemove, q, sigma, 1));
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
            all.compose(&Event::poisson_gaussian(Adjacency::AddRemove, q, sigma, 1));
            assert!(all.rdp().windows(2).all(|w| w[0] <= w[1] * (1.0 + EXACT)), "{q} {sigma}");
        }
    }

    #[test]
    fn the_laplace_mechanism_has_its_closed_form() {
        // (order, distance, value) from the formula in 40 digits.
        for (a, s, exact) in [
            (2.0, 1.0, 0.619_123_629_998_592_8),
            (1.5, 0.01, 7.474_969_373_634_452e-5),
            (64.0, 0.5, 0.48912215868096953),
            (1024.0, 3.0, 2.999_322_914_193_488),
        ] {
            assert!((laplace(a, s) / exact - 1.0).abs() < 1e-9, "{a} {s}: {}", laplace(a, s));
        }
        // The whole range is continuous and below pure differential privacy.
        for s in [1e-9, 1e-6, 1e-5, 1e-3, 1.0, 50.0] {
            for a in default_orders() {
                assert!(laplace(a, s) <= s && laplace(a, s) > 0.0, "{a} {s}");
            }
        }
    }

    #[test]
    fn two_adjacencies_are_not_added() {
        let (q, sigma) = (SamplingRate::new(0.1).unwrap(), NoiseMultiplier::new(1.0).unwrap());
        let of = |adjacency| Event::poisson_gaussian(adjacency, q, sigma, 10);
        let (remove, replace) = (of(Adjacency::AddRemove), of(Adjacency::ReplaceOne));
        let mut accountant = RdpAccountant::new();
        accountant.compose(&remove);
        accountant.compose(&replace);
        let delta = Delta::new(1e-5).unwrap();
        assert_eq!(accountant.epsilon(delta), f64::INFINITY);
        let both: Composition = [remove, replace].into_iter().collect();
        let twice: Composition = [replace, replace].into_iter().collect();
        let epsilon = |c: &Composition| super::super::rdp_epsilon(c, delta);
        assert!((epsilon(&both) / epsilon(&twice) - 1.0).abs() < EXACT);
    }

    #[test]
    fn epsilon_and_delta_are_inverse() {
        let mut accountant = RdpAccountant::new();
        let (q, sigma) = (SamplingRate::new(0.01).unwrap(), NoiseMultiplier::new(1.0).unwrap());
        accountant.compose(&Event::poisson_gaussian(Adjacency::AddRemove, q, sigma, 1000));
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
