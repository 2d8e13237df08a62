//! Gaussian differential privacy by the central limit theorem: an approximation.
//!
//! Bu, Dong, Long, Su (arXiv 1911.11607), section 3.2: many Poisson-subsampled Gaussian steps behave
//! like one Gaussian mechanism of sensitivity over noise mu = q sqrt(T (e^(1/sigma^2) - 1)).
//! The limit can lie below the truth, so this is no [`Accountant`](super::Accountant), no
//! ledger and no calibration reads it; it serves to check orders of magnitude.

use crate::{Adjacency, Composition, Delta, Mechanism};

/// Epsilon in the limit of many steps, which may be below the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GdpApproximation {
    mu: f64,
}

impl GdpApproximation {
    /// `None` unless all events are Poisson-subsampled Gaussian ones under add/remove.
    #[must_use]
    pub fn of(composition: &Composition) -> Option<Self> {
        let square = |e: &crate::Event| match (e.adjacency, e.mechanism) {
            (Adjacency::AddRemove, Mechanism::PoissonGaussian { rate, noise_multiplier }) => {
                let spread = noise_multiplier.value().powi(-2).exp_m1();
                Some(e.count as f64 * rate.value().powi(2) * spread)
            }
            _ => None,
        };
        let squares: Option<f64> = composition.events().iter().map(square).sum();
        squares.map(|s| Self { mu: s.sqrt() })
    }

    /// Parameter mu of the limit.
    #[must_use]
    pub const fn mu(self) -> f64 {
        self.mu
    }

    /// Epsilon at `delta` in the limit: that of one Gaussian mechanism of noise 1 / mu.
    #[must_use]
    pub fn epsilon(self, delta: Delta) -> f64 {
        let sigma = crate::NoiseMultiplier::new(self.mu.recip()).ok();
        let rate = crate::SamplingRate::new(1.0).ok();
        let Some((sigma, rate)) = sigma.zip(rate) else {
            return if self.mu == 0.0 { 0.0 } else { f64::INFINITY };
        };
        let one = crate::Event::poisson_gaussian(Adjacency::AddRemove, rate, sigma, 1);
        super::pld::epsilon(&[one].into_iter().collect(), delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, NoiseMultiplier, SamplingRate};

    fn run(adjacency: Adjacency, q: f64, sigma: f64, steps: u64) -> Composition {
        let (q, sigma) = (SamplingRate::new(q).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        [Event::poisson_gaussian(adjacency, q, sigma, steps)].into_iter().collect()
    }

    #[test]
    fn the_limit_is_near_for_many_steps_and_may_be_too_low() {
        let delta = Delta::new(1e-5).unwrap();
        let mut too_low = 0;
        for (q, sigma, steps) in [(0.01, 1.0, 10_000), (0.001, 0.7, 100_000), (0.04, 1.5, 2250)] {
            let all = run(Adjacency::AddRemove, q, sigma, steps);
            let limit = GdpApproximation::of(&all).unwrap().epsilon(delta);
            let exact = super::super::pld::epsilon(&all, delta);
            assert!((limit / exact - 1.0).abs() < 0.15, "{q} {sigma} {steps}: {limit} {exact}");
            too_low += u32::from(limit < exact);
        }
        assert!(too_low > 0);
    }

    #[test]
    fn other_events_have_no_such_limit_here() {
        assert!(GdpApproximation::of(&run(Adjacency::ReplaceOne, 0.1, 1.0, 9)).is_none());
        let nothing = GdpApproximation::of(&Composition::new()).unwrap();
        assert_eq!(nothing.epsilon(Delta::new(1e-5).unwrap()), 0.0);
    }
}
