//! Uniform numbers, and coins of probability p/q and e^-x.

use num_bigint::BigUint;
use rand::CryptoRng;

use super::natural::Natural;
use super::rational::Rational;
use crate::Error;

/// Uniform on 0, .., m - 1: by rejection, so that no residue is favoured.
///
/// # Guarantee
/// Each of the m numbers has probability 1/m.
///
/// # Edge cases
/// | m | answer |
/// | --- | --- |
/// | 0 | [`Error::Parameter`] |
/// | 1 | always 0, no byte is read |
#[derive(Clone, Copy, Debug)]
pub struct UniformBelow(u128);

impl UniformBelow {
    /// The uniform law on 0, .., `bound` - 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0.
    pub const fn new(bound: u128) -> Result<Self, Error> {
        if bound == 0 {
            let (name, expected) = ("bound of a uniform law", "an integer > 0");
            return Err(Error::Parameter { name, value: 0.0, expected });
        }
        Ok(Self(bound))
    }

    /// One draw.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u128 {
        self.0.uniform_below(rng)
    }
}

/// A coin that is true with probability p/q.
///
/// # Guarantee
/// The probability is p/q, exactly.
///
/// # Edge cases
/// | p/q | answer |
/// | --- | --- |
/// | 0, 1 | always false, always true |
/// | above 1 | [`Error::Parameter`] |
#[derive(Clone, Debug)]
pub struct Bernoulli(Rational);

impl Bernoulli {
    /// The coin of probability `p`.
    ///
    /// # Errors
    /// [`Error::Parameter`] above 1.
    pub fn new(p: Rational) -> Result<Self, Error> {
        if p.numerator() > p.denominator() {
            return Err(p.refused("probability", "a number in [0, 1]"));
        }
        Ok(Self(p))
    }

    /// One draw.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> bool {
        self.0.denominator().uniform_below(rng) < *self.0.numerator()
    }
}

/// A coin that is true with probability e^-x, for a rational x of at least 0.
///
/// # Guarantee
/// The probability is e^-x, exactly (arXiv 2004.00010, algorithm 1, section 5.1).
///
/// # Edge cases
/// | x | answer |
/// | --- | --- |
/// | 0 | always true |
/// | large | false, after 1.6 coins of probability 1/e on average |
#[derive(Clone, Debug)]
pub struct BernoulliExp(Rational);

impl BernoulliExp {
    /// The coin of probability e^-`x`.
    #[must_use]
    pub const fn new(x: Rational) -> Self {
        Self(x)
    }

    /// One draw.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> bool {
        bernoulli_exp(self.0.numerator(), self.0.denominator(), rng)
    }
}

/// Algorithm 1: true with probability e^-gamma, gamma = `n` / `d`.
pub(super) fn bernoulli_exp<N: Natural, R: CryptoRng + ?Sized>(n: &N, d: &N, rng: &mut R) -> bool {
    if n <= d {
        return bernoulli_exp_to_one(n, d, 1, rng);
    }
    let (mut whole, rest) = n.div_rem(d);
    while !whole.is_zero() {
        if !bernoulli_exp_minus_one(rng) {
            return false;
        }
        whole.dec();
    }
    bernoulli_exp_to_one(&rest, d, 1, rng)
}

/// True with probability 1/e.
pub(super) fn bernoulli_exp_minus_one<R: CryptoRng + ?Sized>(rng: &mut R) -> bool {
    bernoulli_exp_to_one(&1_u128, &1, 1, rng)
}

/// The loop of algorithm 1 for gamma = `n` / `d` <= 1, from K = `k` on: K grows while the
/// coin gamma/K is true, and its parity decides. K passes k with probability gamma^k/k!, so
/// it ends odd with probability 1 - gamma + gamma^2/2 - .. = e^-gamma.
///
/// d K outgrows machine words rarely (K passes k with probability below 1/k!) and then goes on
/// without a limit, with the same draws.
fn bernoulli_exp_to_one<N: Natural, R: CryptoRng + ?Sized>(
    n: &N,
    d: &N,
    mut k: u64,
    rng: &mut R,
) -> bool {
    loop {
        let Some(bound) = d.checked_mul(&N::from(k)) else {
            return bernoulli_exp_to_one::<BigUint, R>(&n.widen(), &d.widen(), k, rng);
        };
        if bound.uniform_below(rng) >= *n {
            return k % 2 == 1;
        }
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngCore;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    proptest! {
        /// Up to the largest word, where d K outgrows words with K = 2.
        #[test]
        fn both_sizes_read_the_same_bytes_and_give_the_same_coins(
            d in 1_u128.., share in 0_u128..=64, seed: u64,
        ) {
            let n = d / 8 * share.min(d / (d / 8).max(1));
            let (mut rng, mut twin) =
                (ChaCha20Rng::seed_from_u64(seed), ChaCha20Rng::seed_from_u64(seed));
            for _ in 0..20 {
                let found = bernoulli_exp(&n, &d, &mut rng);
                prop_assert_eq!(found, bernoulli_exp(&n.widen(), &d.widen(), &mut twin));
                let found = d.uniform_below(&mut rng);
                prop_assert_eq!(found.widen(), d.widen().uniform_below(&mut twin));
            }
            prop_assert_eq!(rng.next_u64(), twin.next_u64());
        }
    }
}
