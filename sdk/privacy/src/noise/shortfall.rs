//! What the sampler falls short of ideal noise, and how accounts pay for it.
//!
//! Let Q be the law of everything a device draws over the life of a composition (which
//! examples take part, and K coordinates of noise, each a fresh draw whatever was seen
//! before) with ideal noise, and Q' with the sampler's.
//!
//! 1. Ideal noise within REACH: Q_T, at total variation at most K t from Q, where
//!    t = 2 Phi(-REACH).
//! 2. ln(Q'/Q_T) is a sum of K terms within ±eta ([`MOST_LOG_RATIO`]), whose conditional
//!    means are Kullback-Leibler divergences, at most eta^2/2 (Bun, Steinke, arXiv
//!    1605.02065, proposition 3.3). By Azuma's inequality it exceeds
//!    lambda = K eta^2/2 + eta sqrt(2 K g) with probability at most e^-g, under Q', and
//!    so does its negative under Q_T.
//! 3. Hence Q'(A) <= e^lambda Q(A) + s and Q(A) <= e^lambda Q'(A) + s for all events A,
//!    with s = e^lambda K t + e^-g; post-processing, the release, keeps that.
//! 4. If ideal releases are (eps, delta)-DP, then real ones are
//!    (eps + 2 lambda, e^lambda (delta + e^eps s) + s)-DP; and if ideal ones are
//!    (0, delta)-DP, real ones are (0, e^lambda delta + e^(2 lambda) - 1 + (1 + e^lambda) s)-DP,
//!    by e^(2 lambda) Q'(A) <= Q'(A) + e^(2 lambda) - 1.
//!
//! The terms of step 2 are bounded whatever the deviations, so they may be chosen after
//! seeing earlier releases; and where their number depends on releases too, the union bound
//! over all numbers of steps up to 2^40 is paid. So the charge is valid under adaptivity. For 10,000 steps of
//! [`MOST_COORDINATES`] each, 2 lambda is 9e-7.

use super::MOST_COORDINATES;
use super::ziggurat::MOST_LOG_RATIO;
use crate::{Composition, Event, Mechanism};

/// g, in nats.
const CONCENTRATION: f64 = 641.0;

/// Coordinates over a life that are accounted for: K t < e^-641 for t = e^-688.3.
const MOST_TOTAL: f64 = 295_147_905_179_352_825_856.0;

/// ln s, rounded up: 2^40 e^-641 (1 + e^lambda), with lambda below 1/2 at [`MOST_TOTAL`] and one
/// term for each number of steps after which a life may end.
const LOG_SLACK: f64 = -612.0;

/// Part of delta that is kept for the slack.
const SHARE: f64 = 1.0 / 1_048_576.0;

/// What a composition is charged above an account of ideal noise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortfall {
    lambda: f64,
}

impl Shortfall {
    /// The shortfall of everything in `composition`; `None` when nothing in it is Gaussian
    /// noise on data, so that there is nothing to charge.
    pub(crate) fn of(composition: &Composition) -> Option<Self> {
        let sampled = |e: &&Event| match e.mechanism {
            Mechanism::PoissonGaussian { rate, .. } => rate.value() > 0.0,
            Mechanism::FixedSizeGaussian { sampling, .. } => sampling.share() > 0.0,
            // Samplers of their own, which are exact.
            Mechanism::DiscreteGaussian { .. } | Mechanism::Laplace { .. } => false,
            Mechanism::ShuffledGaussian(never) => match never {},
        };
        let events = composition.events().iter().filter(sampled);
        let steps: f64 = events.map(|e| e.count as f64).sum();
        if steps == 0.0 {
            return None;
        }
        let total = steps * MOST_COORDINATES as f64;
        if total > MOST_TOTAL {
            return Some(Self { lambda: f64::INFINITY });
        }
        let drift = total * MOST_LOG_RATIO * MOST_LOG_RATIO / 2.0;
        Some(Self { lambda: drift + MOST_LOG_RATIO * (2.0 * total * CONCENTRATION).sqrt() })
    }

    /// What is added to epsilon.
    pub(crate) fn epsilon_charge(self) -> f64 {
        2.0 * self.lambda
    }

    /// The delta at which to ask an account of ideal noise for epsilon.
    pub(crate) fn ideal_delta(self, delta: f64) -> f64 {
        delta * (-self.lambda).exp() * (1.0 - SHARE)
    }

    /// Epsilon at `delta`, where ideal noise has epsilon `ideal` at
    /// [`Self::ideal_delta`]; +infinity where the slack is more than its share of delta,
    /// as beyond an epsilon of some 560.
    pub(crate) fn epsilon(self, ideal: f64, delta: f64) -> f64 {
        let log_slack = ideal + self.lambda + std::f64::consts::LN_2 + LOG_SLACK;
        if log_slack <= delta.ln() + SHARE.ln() { ideal + 2.0 * self.lambda } else { f64::INFINITY }
    }

    /// The delta at which ideal noise has to have epsilon 0 for real noise to have it at
    /// `delta`; 0 when there is none.
    pub(crate) fn ideal_delta_of_zero(self, delta: f64) -> f64 {
        let room = delta * (1.0 - SHARE) - (2.0 * self.lambda).exp_m1();
        let slack_is_covered = self.lambda + 1.0 + LOG_SLACK <= delta.ln() + SHARE.ln();
        if slack_is_covered { (room * (-self.lambda).exp()).max(0.0) } else { 0.0 }
    }

    /// Delta at `epsilon`, where `ideal` is the delta of ideal noise by epsilon.
    pub(crate) fn delta(self, epsilon: f64, ideal: impl Fn(f64) -> f64) -> f64 {
        let less = epsilon - 2.0 * self.lambda;
        let found = if less >= 0.0 {
            self.lambda.exp() * (ideal(less) + (less + LOG_SLACK).exp()) + LOG_SLACK.exp()
        } else {
            // Total variation between Q and Q' at both ends.
            ideal(epsilon) + (1.0 + epsilon.exp()) * (self.lambda.exp_m1() + LOG_SLACK.exp())
        };
        if found.is_nan() { 1.0 } else { found.min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::REACH;
    use crate::{Adjacency, NoiseMultiplier, SamplingRate};

    fn shortfall(rate: f64, count: u64) -> Option<Shortfall> {
        let (rate, sigma) = (SamplingRate::new(rate).unwrap(), NoiseMultiplier::new(1.0).unwrap());
        Shortfall::of(
            &[Event::poisson_gaussian(Adjacency::AddRemove, rate, sigma, count)]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn ten_thousand_steps_of_the_largest_model_cost_a_millionth() {
        let lambda = shortfall(0.1, 10_000).unwrap().lambda;
        assert!((4e-7..5e-7).contains(&lambda), "{lambda}");
    }

    #[test]
    fn what_does_not_depend_on_data_is_not_charged() {
        assert!(shortfall(0.0, 9).is_none() && shortfall(0.5, 0).is_none());
    }

    #[test]
    fn the_slack_covers_the_tail_and_the_concentration() {
        // Mills: 2 Phi(-r) < 2 exp(-r^2/2) / (r sqrt(2 pi)).
        let log_tail = -REACH * REACH / 2.0 + (2.0 / REACH / 2.506_628).ln();
        assert!(log_tail + MOST_TOTAL.ln() <= -CONCENTRATION);
        let lambda = shortfall(1.0, 1 << 40).unwrap().lambda;
        assert!(lambda < 0.5);
        let union = 40.0 * std::f64::consts::LN_2;
        assert!(union - CONCENTRATION + (1.0 + lambda.exp()).ln() <= LOG_SLACK);
        assert!(shortfall(1.0, 1 << 41).unwrap().epsilon(1.0, 1e-5).is_infinite());
    }

    #[test]
    fn charged_epsilon_and_charged_delta_are_inverse_bounds() {
        let s = shortfall(0.1, 1000).unwrap();
        // A mechanism with exactly delta(e) = exp(-e): epsilon is -ln delta.
        let epsilon = s.epsilon(-s.ideal_delta(1e-5).ln(), 1e-5);
        let delta = s.delta(epsilon, |e| (-e).exp());
        assert!(delta <= 1e-5 && delta > 1e-5 * (1.0 - 2e-6), "{delta}");
        assert!(s.delta(0.0, |_| 0.0) > 0.0 && s.delta(0.0, |_| 0.0) < 1e-5);
    }

    #[test]
    fn an_epsilon_of_zero_costs_its_share_of_delta() {
        let s = shortfall(0.1, 1).unwrap();
        let ideal = s.ideal_delta_of_zero(1e-5);
        assert!(ideal < 1e-5 - 2.0 * s.lambda && ideal > 0.99e-5, "{ideal}");
        assert_eq!(s.ideal_delta_of_zero(1e-9), 0.0);
        assert_eq!(s.ideal_delta_of_zero(1e-290), 0.0);
    }

    #[test]
    fn an_epsilon_that_the_slack_does_not_cover_is_infinite() {
        let s = shortfall(0.1, 1).unwrap();
        assert!(s.epsilon(500.0, 1e-9).is_finite() && s.epsilon(620.0, 1e-9).is_infinite());
    }
}
