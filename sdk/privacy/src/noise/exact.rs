//! Exact samplers: laws on the integers drawn from random bits by integer arithmetic alone.
//!
//! No probability is rounded and no float is touched, so that no account has to pay for
//! the sampler. They are the reference for the fast sampler of releases, and what
//! mechanisms need whose noise must be *the* discrete Gaussian, such as sums over devices.
//!
//! Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy",
//! arXiv 2004.00010, section 5: algorithm 1 ([`BernoulliExp`]), algorithm 2
//! ([`DiscreteLaplace`], [`Geometric`]) and algorithm 3 ([`DiscreteGaussian`]).
//!
//! # Random bytes
//! The same bytes give the same draws on every machine, in every version:
//! - Everything is read through `fill_bytes`, by [`UniformBelow`] alone. Below m it reads
//!   the fewest bytes that hold m - 1, little-endian; bits above those of m - 1 are
//!   cleared; a number of m or more is rejected and as many bytes are read again. Below 1
//!   no byte is read.
//! - Bernoulli(p/q), p/q in lowest terms, is "uniform below q is less than p". The coin
//!   gamma/K of algorithm 1 is not reduced: with gamma = n/d it is uniform below d K.
//! - d is: the denominator of x in lowest terms for [`BernoulliExp`]; t for the U of
//!   algorithm 2, with t/s the scale in lowest terms; 2 (p q t)^2 in algorithm 3, with p/q
//!   the deviation in lowest terms and t = floor(p/q) + 1.
//!
//! # Side channels
//! How long a draw takes, and how many bytes it reads, depends on the value drawn. Draw
//! the noise of a whole vector before the sum it is for is known, and tell nobody times.
//!
//! ```
//! use adafed_privacy::exact::{DiscreteGaussian, Rational, generator};
//!
//! let mut random = generator()?;
//! let noise = DiscreteGaussian::new(&Rational::new(1171, 500)?)?;
//! let released: i128 = 42 + noise.sample(&mut random);
//! # assert!((released - 42).abs() < 100);
//! # Ok::<(), adafed_privacy::Error>(())
//! ```

mod coins;
mod gaussian;
mod laplace;
mod natural;
mod rational;

use rand::CryptoRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use coins::{Bernoulli, BernoulliExp, UniformBelow};
pub use gaussian::DiscreteGaussian;
pub use laplace::{DiscreteLaplace, Geometric};
pub use rational::Rational;

use super::NoiseSeed;
use crate::Error;

/// A fresh generator for these samplers: ChaCha20, seeded by the operating system.
///
/// A process that forks must make a new one in the child, which otherwise repeats the
/// noise of its parent.
///
/// # Errors
/// [`Error::Randomness`] when the system has none to give; there is no fallback.
pub fn generator() -> Result<impl CryptoRng, Error> {
    Ok(ChaCha20Rng::from_seed(NoiseSeed::from_os()?.0))
}
