//! The pair of distributions that one use of a mechanism comes down to.
//!
//! For neighbours D and D' let H_a(M(D) || M(D')) = sup over events S of
//! P[M(D) in S] - a P[M(D') in S], the hockey-stick divergence. A pair (P, Q) dominates M if
//! H_a(P || Q) is at least that for every a >= 0 and all neighbours; then so do products of
//! pairs for adaptive compositions (Zhu, Dong, Wang, arXiv 2106.08567, theorem 10), and Renyi
//! divergences of the pair bound those of M.

use super::mixture::Mixture;
use crate::{Adjacency, Event, Mechanism};

/// A dominating pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pair {
    /// Mixture against noise and the reverse: both directions of add/remove (Zhu, Dong, Wang,
    /// theorem 11, for Poisson sampling; for Renyi divergences Mironov, Talwar, Zhang, arXiv
    /// 1908.10530, theorem 4). The argument below, with v = 0, shows it as well.
    AddRemove(Mixture),
    /// Mixture against its mirror image, (1-q) N(0) + q N(1) and (1-q) N(0) + q N(-1):
    /// Poisson sampling where one example is replaced.
    ///
    /// With contributions u and v in the unit ball, H_a is the largest over sets S of
    /// (1-q)(1-a) N_0(S) + q N_u(S) - a q N_v(S), with N_c the noise around c. Given
    /// N_0(S), Neyman and Pearson bound N_u(S) from above and N_v(S) from below by their
    /// values at the half-spaces orthogonal to u and v of that N_0(S); for u = -v of norm 1
    /// both are the same half-space, and the bounds are reached.
    Mirrored(Mixture),
    /// A batch of fixed size of which one example is replaced: mixture against noise for
    /// a >= 1, and for a < 1 the same the other way round.
    ///
    /// The releases are (1-q) R + q P and (1-q) R + q Q, with R, P and Q two norms apart
    /// (a batch without the example against one in which it stands for another). For a >= 1
    /// advanced joint convexity (Balle, Barthe, Gaboardi, arXiv 1807.01647, theorem 2) gives
    /// H_a = q H_b(P || (1-c) R + c Q), and convexity that of noise two norms apart; a < 1
    /// follows by H_a(P || Q) = 1 - a + a H_(1/a)(Q || P), neighbours being symmetric (also
    /// Zhu, Dong, Wang, theorem 11).
    FixedSize(Mixture),
    /// Laplace noise of scale 1 against the same, moved by `shift`: the likelihood ratio is
    /// monotone, so sets are half-lines, and a larger shift dominates.
    Laplace {
        /// Distance over scale.
        shift: f64,
    },
    /// Discrete Gaussian noise of parameter `std` against the same, moved by `shift` steps;
    /// likewise. Of vectors only Renyi divergences are bounded (Canonne, Kamath, Steinke,
    /// arXiv 2004.00010, proposition 5 and theorem 14).
    DiscreteGaussian {
        /// Parameter sigma, in steps.
        std: f64,
        /// Distance, in steps.
        shift: f64,
        /// Whether it is a single number.
        scalar: bool,
    },
    /// There is no noise, or no bound is known.
    Unbounded,
}

impl Pair {
    /// `None` where nothing depends on the data.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let replaces = event.adjacency == Adjacency::ReplaceOne;
        let distance = f64::from(event.adjacency.distance());
        let idle = |q: f64| event.count == 0 || q == 0.0;
        match event.mechanism {
            Mechanism::PoissonGaussian { rate, .. } if idle(rate.value()) => None,
            Mechanism::FixedSizeGaussian { sampling, .. } if idle(sampling.share()) => None,
            _ if event.count == 0 => None,
            Mechanism::ShuffledGaussian(never) => match never {},
            mechanism if mechanism.noise_multiplier().value() == 0.0 => Some(Self::Unbounded),
            Mechanism::PoissonGaussian { rate, noise_multiplier } => {
                Some(poisson(rate.value(), noise_multiplier.value(), replaces))
            }
            Mechanism::FixedSizeGaussian { .. } if !replaces => Some(Self::Unbounded),
            Mechanism::FixedSizeGaussian { sampling, noise_multiplier } => {
                let sigma = noise_multiplier.value() / distance;
                Some(Self::FixedSize(Mixture { q: sampling.share(), sigma }))
            }
            Mechanism::Laplace { noise_multiplier } => {
                Some(Self::Laplace { shift: distance / noise_multiplier.value() })
            }
            Mechanism::DiscreteGaussian { noise_multiplier, norm_steps, coordinates } => {
                let norm = f64::from(norm_steps.get());
                Some(Self::DiscreteGaussian {
                    std: noise_multiplier.value() * norm,
                    shift: distance * norm,
                    scalar: coordinates.get() == 1,
                })
            }
        }
    }
}

/// Without sampling, a replacement is a removal at twice the distance.
fn poisson(q: f64, sigma: f64, replaces: bool) -> Pair {
    match (replaces, q < 1.0) {
        (false, _) => Pair::AddRemove(Mixture { q, sigma }),
        (true, true) => Pair::Mirrored(Mixture { q, sigma }),
        (true, false) => Pair::AddRemove(Mixture { q, sigma: sigma / 2.0 }),
    }
}
