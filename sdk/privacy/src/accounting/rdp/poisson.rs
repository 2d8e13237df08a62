//! Exact Renyi divergences under Poisson sampling, at every order, by quadrature.
//!
//! Published implementations use a binomial sum, which at fractional orders is an
//! alternating series that loses all digits. Here the excess of the moment over 1 is an
//! integral of a nonnegative function, at integer and fractional orders alike.

use super::super::mixture::{Against, LogSum, Mixture, Ratio, log_one_plus_exp};

/// Half-width, in standard deviations, around the outermost modes of the integrand:
/// exp(-12^2/2) = 5e-32 of the peak is left out.
const TAIL: f64 = 12.0;

/// ln(q e^c) beyond which the Minkowski bound equals the moment to double precision.
const MINKOWSKI_EXACT: f64 = 36.0;

/// Most quadrature nodes of one order (below order 1.1 and sigma 0.02 only, and at high
/// orders under replacement; everywhere else it takes a few hundred). Beyond, a closed
/// bound stands in.
const MAX_NODES: f64 = 32_768.0;

/// Renyi divergence of P from Q at every order; 0 < q < 1.
///
/// That of order a is ln A(a) / (a-1) with A(a) = E_Q[(P/Q)^a]. For add/remove the mixture
/// as P gives the larger of both directions (Mironov, Talwar, Zhang, arXiv 1908.10530,
/// theorem 5); a mirrored pair is the same both ways.
pub(super) fn curve(ratio: Ratio, orders: &[f64]) -> Vec<f64> {
    let by_quadrature = orders.iter().filter(|&&a| needs_quadrature(ratio, a));
    let widest = by_quadrature.fold(0.0, |m, &a| a.max(m));
    let nodes = if widest > 0.0 { nodes(ratio, widest) } else { Vec::new() };
    let one = |&a: &f64| {
        if !needs_quadrature(ratio, a) {
            return closed_bound(ratio, a);
        }
        let count = node_count(ratio, a) as usize;
        log_one_plus_exp(log_excess(a, &nodes[..count.min(nodes.len())])) / (a - 1.0)
    };
    orders.iter().map(one).collect()
}

/// Exponent c = (a-1)/(2 sigma^2): e^c is the L_a norm of the Gaussian ratio.
fn gaussian_exponent(step: Mixture, a: f64) -> f64 {
    0.5 * (a - 1.0) / step.sigma / step.sigma
}

fn needs_quadrature(ratio: Ratio, a: f64) -> bool {
    let step = ratio.mixture;
    let bound_is_exact = ratio.against == Against::Noise
        && gaussian_exponent(step, a) + step.q.ln() >= MINKOWSKI_EXACT;
    !bound_is_exact && node_count(ratio, a) <= MAX_NODES
}

/// Against noise, Minkowski's inequality in L_a(Q): A^(1/a) <= 1 - q + q e^c. With
/// A >= (q e^c)^a its relative error in ln A is below (1-q)/(q e^c).
///
/// Mirrored, joint convexity of A: A <= 1 - q + q e^z with z = 2 a (a-1) / sigma^2, that of
/// noise at distance 2.
fn closed_bound(ratio: Ratio, a: f64) -> f64 {
    let step = ratio.mixture;
    match ratio.against {
        Against::Noise => step.log_mixture(gaussian_exponent(step, a)) * a / (a - 1.0),
        Against::Mirror => step.log_mixture(4.0 * a * gaussian_exponent(step, a)) / (a - 1.0),
    }
}

/// Nodes from TAIL below the lower to TAIL above the upper mode.
fn node_count(ratio: Ratio, a: f64) -> f64 {
    let (lower, upper) = ratio.modes(a);
    ((upper - lower + 2.0 * TAIL) / ratio.mixture.quadrature_step()).ceil() + 1.0
}

/// One node of the trapezoidal rule: what does not depend on the order.
struct Node {
    log_weight: f64,
    log_ratio: f64,
    excess_ratio: f64,
}

fn nodes(ratio: Ratio, widest: f64) -> Vec<Node> {
    let h = ratio.mixture.quadrature_step();
    let log_scale = (h / std::f64::consts::TAU.sqrt()).ln();
    let from = ratio.modes(widest).0 - TAIL;
    let node = |k: u32| {
        let t = f64::from(k).mul_add(h, from);
        let log_ratio = ratio.log(t);
        let log_weight = log_scale - 0.5 * t * t + ratio.log_reference(t);
        Node { log_weight, log_ratio, excess_ratio: log_ratio.exp_m1() }
    };
    (0..node_count(ratio, widest) as u32).map(node).collect()
}

/// ln(A - 1), where A - 1 = E_Q[(1+u)^a - 1 - a u] and 1 + u is the likelihood ratio;
/// E_Q[u] = 0, and by Bernoulli's inequality the integrand is never negative.
fn log_excess(a: f64, nodes: &[Node]) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Quadrature and rounding.
    const EXACT: f64 = 1e-10;

    fn mirrored(q: f64, sigma: f64) -> Ratio {
        Ratio { mixture: Mixture { q, sigma }, against: Against::Mirror }
    }

    #[test]
    fn nodes_stay_bounded_for_any_noise() {
        for sigma in [1e-300, 1e-6, 1e-3, 0.01, 1e6, 1e300] {
            for order in [1.02, 1.1, 1024.0, 1e9] {
                for against in [Against::Noise, Against::Mirror] {
                    let ratio = Ratio { mixture: Mixture { q: 1e-9, sigma }, against };
                    let few = node_count(ratio, order) <= MAX_NODES;
                    assert!(!needs_quadrature(ratio, order) || few);
                    assert!(curve(ratio, &[order])[0] >= 0.0, "{sigma} {order}");
                }
            }
        }
    }

    #[test]
    fn a_mirrored_pair_agrees_with_a_plain_sum() {
        // The moment by definition, on a grid four times as fine, without any care.
        for (q, sigma, order) in [(0.3, 1.0, 2.5), (0.1, 2.0, 8.0), (0.01, 0.7, 3.0)] {
            let ratio = mirrored(q, sigma);
            let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
            let term = |k: i32| {
                let t = f64::from(k) / 32.0;
                let reference = ratio.log_reference(t).exp() * density(t);
                reference * (order * ratio.log(t)).exp() / 32.0
            };
            let naive = (-1600..=1600).map(term).sum::<f64>().ln() / (order - 1.0);
            let found = curve(ratio, &[order])[0];
            assert!((found / naive - 1.0).abs() < EXACT, "{q} {sigma} {order}: {found} {naive}");
        }
    }

    #[test]
    fn the_closed_bound_is_above_the_quadrature() {
        for (q, sigma) in [(0.01, 0.5), (0.3, 1.0), (0.9, 4.0)] {
            for order in [1.1, 2.0, 16.0, 200.0] {
                let ratio = mirrored(q, sigma);
                assert!(curve(ratio, &[order])[0] <= closed_bound(ratio, order) * (1.0 + EXACT));
            }
        }
    }

    #[test]
    fn a_replacement_costs_more_than_a_removal_and_less_than_no_sampling() {
        for (q, sigma) in [(0.01, 0.5), (0.3, 1.0), (0.9, 4.0)] {
            for order in [1.1, 2.0, 16.0] {
                let ratio = mirrored(q, sigma);
                let removal = curve(Ratio { against: Against::Noise, ..ratio }, &[order])[0];
                let replacement = curve(ratio, &[order])[0];
                let without = 2.0 * order / sigma / sigma;
                assert!(removal < replacement && replacement < without, "{q} {sigma} {order}");
            }
        }
    }
}
