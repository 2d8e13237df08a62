//! Parameters of exact laws: rational numbers.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::float::FloatCore;
use num_traits::{One, ToPrimitive, Zero};

use crate::Error;

/// A rational number of at least 0, in lowest terms.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | `Rational::new(_, 0)` | [`Error::Parameter`] |
/// | `Rational::new(0, q)` | 0/1 |
/// | an f64 | exactly that number, down to the least subnormal |
/// | an f64 below 0, infinite or not a number | [`Error::Parameter`] |
/// | -0.0 | 0/1 |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rational {
    numerator: BigUint,
    denominator: BigUint,
}

impl Rational {
    /// The number `numerator / denominator`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the denominator is 0.
    pub fn new(numerator: u128, denominator: u128) -> Result<Self, Error> {
        if denominator == 0 {
            let (name, expected) = ("denominator of a rational number", "an integer > 0");
            return Err(Error::Parameter { name, value: 0.0, expected });
        }
        Ok(Self::reduced(numerator.into(), denominator.into()))
    }

    fn reduced(numerator: BigUint, denominator: BigUint) -> Self {
        let common = numerator.gcd(&denominator);
        Self { numerator: numerator / &common, denominator: denominator / common }
    }

    pub(super) const fn numerator(&self) -> &BigUint {
        &self.numerator
    }

    pub(super) const fn denominator(&self) -> &BigUint {
        &self.denominator
    }

    /// Whether the number is 0 or more than 2^`bits`.
    pub(super) fn is_zero_or_above(&self, bits: u32) -> bool {
        self.numerator.is_zero() || self.numerator > &self.denominator << bits
    }

    /// The number itself, or its inverse where there is one.
    pub(super) fn inverse(&self) -> Option<Self> {
        let (numerator, denominator) = (self.denominator.clone(), self.numerator.clone());
        (!denominator.is_zero()).then_some(Self { numerator, denominator })
    }

    /// The error that refuses this number. Nothing else makes it a float.
    pub(super) fn refused(&self, name: &'static str, expected: &'static str) -> Error {
        let float = |n: &BigUint| n.to_f64().unwrap_or(f64::INFINITY);
        Error::Parameter {
            name,
            value: float(&self.numerator) / float(&self.denominator),
            expected,
        }
    }
}

/// The number that an f64 is, not the decimal that it was written as: 2.342 is
/// 5273715163650851 / 2^51.
impl TryFrom<f64> for Rational {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        if !(0.0..=f64::MAX).contains(&value) {
            let (name, expected) = ("rational number", "a finite number >= 0");
            return Err(Error::Parameter { name, value, expected });
        }
        let (mantissa, exponent, _) = value.integer_decode();
        let power = BigUint::one() << exponent.unsigned_abs();
        if exponent < 0 {
            return Ok(Self::reduced(mantissa.into(), power));
        }
        Ok(Self::reduced(power * mantissa, BigUint::one()))
    }
}
