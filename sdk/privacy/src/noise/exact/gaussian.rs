//! The discrete Gaussian law.

use num_bigint::BigUint;
use num_traits::ToPrimitive;
use rand::CryptoRng;

use super::coins::bernoulli_exp;
use super::laplace::{DiscreteLaplace, LARGEST_SCALE_BITS};
use super::natural::Natural;
use super::rational::Rational;
use crate::Error;

/// The integer x with probability proportional to e^(-x^2 / (2 sigma^2)).
///
/// Its variance is at most sigma^2, far less below a sigma of 1/2; accounts go by sigma,
/// the parameter (arXiv 2004.00010, theorem 4: adding it to an integer query of
/// sensitivity D is D^2/(2 sigma^2)-concentrated differentially private).
///
/// # Guarantee
/// The law is the stated one, exactly (arXiv 2004.00010, algorithm 3, section 5.3).
///
/// # Edge cases
/// | sigma | answer |
/// | --- | --- |
/// | 0, or above 2^100 | [`Error::Parameter`] |
/// | small | 0 but for a probability of some 2 e^(-1/(2 sigma^2)) |
#[derive(Clone, Debug)]
pub struct DiscreteGaussian {
    proposal: DiscreteLaplace,
    words: Option<Acceptance<u128>>,
    long: Acceptance<BigUint>,
}

impl DiscreteGaussian {
    /// The law of parameter `sigma`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0 or above 2^100.
    pub fn new(sigma: &Rational) -> Result<Self, Error> {
        if sigma.is_zero_or_above(LARGEST_SCALE_BITS) {
            return Err(sigma.refused("sigma of a discrete Gaussian law", "a number in (0, 2^100]"));
        }
        let (p, q) = (sigma.numerator(), sigma.denominator());
        let t = p / q + 1_u32;
        let long = Acceptance::new(p, q, &t);
        Ok(Self { proposal: DiscreteLaplace::of_integer(&t), words: long.in_words(), long })
    }

    /// One draw.
    ///
    /// Algorithm 3: a discrete Laplace proposal Y of scale t = floor(sigma) + 1 is taken
    /// with probability e^-gamma, gamma = (|Y| - sigma^2/t)^2 / (2 sigma^2).
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> i128 {
        loop {
            let proposed = self.proposal.sample(rng);
            if self.accepts(proposed.unsigned_abs(), rng) {
                return proposed;
            }
        }
    }

    /// In machine words where everything fits, and otherwise, for wide fractions and for
    /// proposals far out, without a limit. Both read the same bytes and answer the same.
    fn accepts<R: CryptoRng + ?Sized>(&self, y: u128, rng: &mut R) -> bool {
        let in_words = self.words.as_ref().and_then(|words| words.coin(y, rng));
        in_words
            .or_else(|| self.long.coin(y, rng))
            .expect("numbers without a limit do not outgrow it")
    }
}

/// gamma over its common denominator, for sigma = p/q:
///
///   gamma = (q^2 t |Y| - p^2)^2 / (2 (p q t)^2).
#[derive(Clone, Debug)]
struct Acceptance<N> {
    /// q^2 t.
    slope: N,
    /// p^2.
    offset: N,
    /// 2 (p q t)^2.
    denominator: N,
}

impl Acceptance<BigUint> {
    fn new(p: &BigUint, q: &BigUint, t: &BigUint) -> Self {
        Self { slope: q * q * t, offset: p * p, denominator: (p * q * t).pow(2) * 2_u32 }
    }

    fn in_words(&self) -> Option<Acceptance<u128>> {
        let (slope, offset) = (self.slope.to_u128()?, self.offset.to_u128()?);
        Some(Acceptance { slope, offset, denominator: self.denominator.to_u128()? })
    }
}

impl<N: Natural> Acceptance<N> {
    /// True with probability e^-gamma; `None`, before any byte is read, if that outgrows N.
    fn coin<R: CryptoRng + ?Sized>(&self, y: u128, rng: &mut R) -> Option<bool> {
        let line = self.slope.checked_mul(&N::from(y))?;
        let (high, low) =
            if line > self.offset { (&line, &self.offset) } else { (&self.offset, &line) };
        let distance = high.clone() - low.clone();
        let numerator = distance.checked_mul(&distance)?;
        Some(bernoulli_exp(&numerator, &self.denominator, rng))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    proptest! {
        /// Proposals of all lengths: the longest outgrow machine words.
        #[test]
        fn both_sizes_accept_the_same_proposals(
            p in 1_u128..1 << 30, q in 1_u128..1 << 16, y: u128, shift in 0_u32..=128, seed: u64,
        ) {
            let law = DiscreteGaussian::new(&Rational::new(p, q).unwrap()).unwrap();
            let rng = || ChaCha20Rng::seed_from_u64(seed);
            let y = y.checked_shr(shift).unwrap_or(0);
            let found = law.words.as_ref().and_then(|words| words.coin(y, &mut rng()));
            let long = law.long.coin(y, &mut rng());
            prop_assert!(found.is_none() || found == long);
            prop_assert!(y > 0 || law.words.is_none() || found.is_some());
        }
    }
}
