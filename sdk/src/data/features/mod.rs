//! Fixed features: maps of one example's input that nothing private went into.
//!
//! A linear or small head on good fixed features has far fewer parameters to spend a privacy
//! budget on than a network that learns its features (Tramer and Boneh 2021, arXiv 2011.11660).
//! Each map here is a function of a few public numbers, at most a seed, so a task carries those
//! and not its weights. It reads one example at a time, so it changes no guarantee.

mod scattering;

use rayon::prelude::*;

pub use self::scattering::Scattering;
use super::{Error, Examples};

/// A map of one example's input to another one.
pub trait Features: Send + Sync {
    /// Shape of the inputs that it takes.
    fn input_shape(&self) -> &[usize];

    /// Shape of what it makes.
    fn shape(&self) -> &[usize];

    /// Writes the features of `input` (row-major, as long as the product of
    /// [`input_shape`](Self::input_shape)) into `output`, as long as that of
    /// [`shape`](Self::shape).
    fn compute(&self, input: &[f32], output: &mut [f32]);
}

impl Examples {
    /// These examples seen through fixed features; targets stay. Examples are mapped in
    /// parallel on rayon's current pool.
    ///
    /// # Errors
    /// [`Error::Buffer`] where the features take inputs of another length,
    /// [`Error::NotFinite`] where they are not finite.
    pub fn with_features(&self, features: &dyn Features) -> Result<Self, Error> {
        let width = |shape: &[usize]| shape.iter().product::<usize>();
        let (found, expected) = (width(self.shape()), width(features.input_shape()));
        if found != expected {
            return Err(Error::Buffer { found, expected });
        }
        let each = width(features.shape());
        let mut outputs = vec![0.0; self.len() * each];
        let examples = outputs.par_chunks_mut(each).zip(self.inputs().par_chunks(found));
        examples.for_each(|(output, input)| features.compute(input, output));
        self.with_inputs(features.shape().to_vec(), outputs)
    }
}
