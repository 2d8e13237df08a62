//! Geometric and discrete Laplace laws.

use num_bigint::BigUint;
use num_traits::{One, ToPrimitive};
use rand::CryptoRng;

use super::coins::{bernoulli_exp, bernoulli_exp_minus_one};
use super::natural::Natural;
use super::rational::Rational;
use crate::Error;

/// Scales and deviations up to 2^100 are taken. A draw of 2^127 or more would need 2^26
/// coins of probability 1/e in a row to be true, which is why draws are given as i128.
pub(super) const LARGEST_SCALE_BITS: u32 = 100;

/// Numerators t of a scale up to 2^64 are computed with in machine words: with U < t and
/// a count V below 2^63, which nobody lives to see exceeded, U + t V < 2^127.
const WORD_BITS: u64 = 64;

/// The count k = 0, 1, .. with probability (1 - e^-x) e^(-x k).
///
/// # Guarantee
/// The law is the stated one, exactly (arXiv 2004.00010, algorithm 2 up to its sign,
/// section 5.2).
///
/// # Edge cases
/// | x | answer |
/// | --- | --- |
/// | 0, or below 2^-100 | [`Error::Parameter`] |
#[derive(Clone, Debug)]
pub struct Geometric(Magnitude);

impl Geometric {
    /// The law of rate `x`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a rate of 0 or below 2^-100.
    pub fn new(x: &Rational) -> Result<Self, Error> {
        let scale = x.inverse().filter(|scale| !scale.is_zero_or_above(LARGEST_SCALE_BITS));
        let refused = || x.refused("rate of a geometric law", "a number of at least 2^-100");
        Ok(Self(Magnitude::new(&scale.ok_or_else(refused)?)))
    }

    /// One draw.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u128 {
        self.0.sample(rng)
    }
}

/// The integer y with probability (1 - a)/(1 + a) a^|y|, a = e^(-1/scale).
///
/// # Guarantee
/// The law is the stated one, exactly (arXiv 2004.00010, algorithm 2, section 5.2).
///
/// # Edge cases
/// | scale | answer |
/// | --- | --- |
/// | 0, or above 2^100 | [`Error::Parameter`] |
#[derive(Clone, Debug)]
pub struct DiscreteLaplace(Magnitude);

impl DiscreteLaplace {
    /// The law of scale `scale`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a scale of 0 or above 2^100.
    pub fn new(scale: &Rational) -> Result<Self, Error> {
        if scale.is_zero_or_above(LARGEST_SCALE_BITS) {
            return Err(scale.refused("scale of a discrete Laplace law", "a number in (0, 2^100]"));
        }
        Ok(Self(Magnitude::new(scale)))
    }

    /// The law of the integer scale `t`, from 1 to 2^100 + 1.
    pub(super) fn of_integer(t: &BigUint) -> Self {
        Self(Magnitude::of(t.clone(), BigUint::one()))
    }

    /// One draw.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> i128 {
        loop {
            let magnitude = self.0.sample(rng);
            let negative = 2_u128.uniform_below(rng) < 1;
            // Zero counts with one of its signs only.
            if magnitude > 0 || !negative {
                let signed = magnitude as i128;
                return if negative { -signed } else { signed };
            }
        }
    }
}

/// Geometric law of rate s/t, in the smaller arithmetic that holds it.
#[derive(Clone, Debug)]
enum Magnitude {
    Words { t: u128, s: u128 },
    Long { t: BigUint, s: BigUint },
}

impl Magnitude {
    fn new(scale: &Rational) -> Self {
        Self::of(scale.numerator().clone(), scale.denominator().clone())
    }

    fn of(t: BigUint, s: BigUint) -> Self {
        match (t.to_u128(), s.to_u128()) {
            (Some(t), Some(s)) if t <= 1 << WORD_BITS => Self::Words { t, s },
            _ => Self::Long { t, s },
        }
    }

    fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u128 {
        match self {
            Self::Words { t, s } => geometric(t, s, rng),
            Self::Long { t, s } => geometric(t, s, rng)
                .to_i128()
                .expect("2^26 coins of probability 1/e in a row are not true")
                .unsigned_abs(),
        }
    }
}

/// Algorithm 2 without the sign: U + t V is geometric of rate 1/t, and its quotient by s is
/// so of rate s/t.
fn geometric<N: Natural, R: CryptoRng + ?Sized>(t: &N, s: &N, rng: &mut R) -> N {
    let u = loop {
        let u = t.uniform_below(rng);
        if bernoulli_exp(&u, t, rng) {
            break u;
        }
    };
    let mut v = 0_u64;
    while bernoulli_exp_minus_one(rng) {
        v += 1;
    }
    (u + t.clone() * N::from(v)) / s.clone()
}
