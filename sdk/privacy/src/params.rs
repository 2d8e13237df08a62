//! Numbers that carry a privacy meaning, each of which cannot hold an invalid value.
//!
//! A NaN that slips through a range check answers "epsilon 0" in more than one
//! accounting tool, so every constructor here refuses what is not finite, and serde
//! goes through the same constructor.

use serde::{Deserialize, Serialize};

use crate::Error;

macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, |$x:ident| $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Checks and wraps a value: ", $expected, ".")]
            ///
            /// # Errors
            /// [`Error::Parameter`] names the value when it is out of range or not finite.
            pub fn new($x: f64) -> Result<Self, Error> {
                if $x.is_finite() && $valid {
                    return Ok(Self($x));
                }
                Err(Error::Parameter { name: $what, value: $x, expected: $expected })
            }

            /// The number itself.
            #[must_use]
            pub const fn value(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = Error;
            fn try_from(x: f64) -> Result<Self, Error> {
                Self::new(x)
            }
        }

        impl From<$name> for f64 {
            fn from(x: $name) -> f64 {
                x.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self, Error> {
                s.parse().map_or_else(|_| Self::new(f64::NAN), Self::new)
            }
        }
    };
}

parameter!(
    /// Privacy loss bound epsilon, in nats.
    Epsilon, "epsilon", "a finite number >= 0", |x| x >= 0.0
);
parameter!(
    /// Probability delta with which the bound epsilon may fail.
    ///
    /// 0 and 1 are representable because accountants answer them (infinity and 0);
    /// a training plan wants a value strictly between.
    Delta, "delta", "a number in [0, 1]", |x| (0.0..=1.0).contains(&x)
);
parameter!(
    /// L2 norm C to which one example's contribution is clipped.
    ClipNorm, "clip norm", "a finite number > 0", |x| x > 0.0
);
parameter!(
    /// Noise multiplier sigma: standard deviation of the noise on the sum over the
    /// L2 sensitivity. 0 means no noise, and accounts as epsilon = infinity.
    NoiseMultiplier, "noise multiplier", "a finite number >= 0", |x| x >= 0.0
);
parameter!(
    /// Poisson sampling rate q: the probability with which each example takes part
    /// in a step, independently of all others.
    SamplingRate, "sampling rate", "a number in [0, 1]", |x| (0.0..=1.0).contains(&x)
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IntoDeserializer;

    use super::*;

    #[test]
    fn every_parameter_refuses_what_is_not_finite() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Epsilon::new(x).is_err());
            assert!(Delta::new(x).is_err());
            assert!(ClipNorm::new(x).is_err());
            assert!(NoiseMultiplier::new(x).is_err());
            assert!(SamplingRate::new(x).is_err());
        }
    }

    #[test]
    fn ranges_are_those_of_the_documentation() {
        assert!(Epsilon::new(-1e-9).is_err() && Epsilon::new(0.0).is_ok());
        assert!(Delta::new(1.5).is_err() && Delta::new(1.0).is_ok());
        assert!(ClipNorm::new(0.0).is_err() && ClipNorm::new(1e-3).is_ok());
        assert!(NoiseMultiplier::new(-1.0).is_err() && NoiseMultiplier::new(0.0).is_ok());
        assert!(SamplingRate::new(1.0 + 1e-9).is_err() && SamplingRate::new(0.0).is_ok());
    }

    /// Through serde from any number, NaN and infinities too, which JSON cannot write.
    fn read<'de, T: Deserialize<'de>>(x: f64) -> Option<T> {
        T::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(x)).ok()
    }

    proptest! {
        #[test]
        fn serde_refuses_every_invalid_parameter(bits in any::<u64>(), small in -3.0..3.0_f64) {
            for x in [f64::from_bits(bits), small, f64::NAN, f64::INFINITY, -0.0] {
                let (share, size) = ((0.0..=1.0).contains(&x), x >= 0.0 && x.is_finite());
                prop_assert_eq!(read::<Delta>(x).is_some(), share);
                prop_assert_eq!(read::<SamplingRate>(x).is_some(), share);
                prop_assert_eq!(read::<Epsilon>(x).is_some(), size);
                prop_assert_eq!(read::<NoiseMultiplier>(x).is_some(), size);
                prop_assert_eq!(read::<ClipNorm>(x).is_some(), size && x > 0.0);
            }
        }
    }

    #[test]
    fn serde_goes_through_the_constructor() {
        assert_eq!(serde_json::to_string(&Delta::new(0.5).unwrap()).unwrap(), "0.5");
        let error = serde_json::from_str::<SamplingRate>("1.5").unwrap_err().to_string();
        assert!(error.contains("sampling rate") && error.contains("1.5"), "{error}");
    }
}
