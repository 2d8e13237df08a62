//! Fixed features: maps of one example's input that nothing private went into.
//!
//! A linear or small head on good fixed features has far fewer parameters to spend a privacy
//! budget on than a network that learns its features (Tramer and Boneh 2021, arXiv 2011.11660).
//! Each map here is a function of a few public numbers, at most a seed, so a task carries those
//! and not its weights. It reads one example at a time, so it changes no guarantee.

mod linear_algebra;
mod patches;
mod procedural;
mod scattering;
mod whitened;

use rayon::prelude::*;

pub use self::patches::{PatchSettings, Patches};
pub use self::scattering::Scattering;
pub use self::whitened::{Rotated, Whitened, WhiteningSettings};
use super::{Error, Examples, scale_colour, scale_pixel};

/// Examples that are mapped together.
const TOGETHER: usize = 64;

/// A map of one example's input to another one.
pub trait Features: Send + Sync {
    /// Shape of the inputs that it takes.
    fn input_shape(&self) -> &[usize];

    /// Shape of what it makes.
    fn shape(&self) -> &[usize];

    /// Writes the features of any number of inputs (one after the other, row-major, each as
    /// long as the product of [`input_shape`](Self::input_shape)) into `outputs`, each as long
    /// as that of [`shape`](Self::shape). An input's features do not depend on the others.
    fn compute(&self, inputs: &[f32], outputs: &mut [f32]);
}

/// `count` procedural images of `shape`, `[1 or 3, up to 32, up to 32]`: overlapping shapes of
/// all sizes, as leaves on the ground, in the scale of [`scale_pixel`] or [`scale_colour`]. A
/// function of the seed: what is learned from them is public.
///
/// # Errors
/// [`Error::Shape`] for another shape.
pub fn dead_leaves(seed: u64, count: usize, shape: [usize; 3]) -> Result<Vec<f32>, Error> {
    let ([channels, height, width], side) = (shape, procedural::SIDE);
    if ![1, 3].contains(&channels) || !(1..=side).contains(&height) || !(1..=side).contains(&width)
    {
        return Err(Error::Shape { shape: shape.to_vec() });
    }
    let whole = procedural::images(seed, count, channels);
    let (top, left) = ((side - height) / 2, (side - width) / 2);
    let rows = whole.chunks_exact(side).enumerate();
    let inside = rows.filter(|(row, _)| (top..top + height).contains(&(row % side)));
    let scale = if channels == 1 { scale_pixel } else { scale_colour };
    Ok(inside.flat_map(|(_, row)| &row[left..left + width]).map(|x| scale(*x as u8)).collect())
}

/// What one grey level is in inputs of so many channels.
fn grey_level(channels: usize) -> f32 {
    if channels == 1 { scale_pixel(1) - scale_pixel(0) } else { scale_colour(1) - scale_colour(0) }
}

/// The features of all `inputs`, and their number an input; mapped in parallel on rayon's
/// current pool.
fn computed(features: &dyn Features, inputs: &[f32]) -> (Vec<f32>, usize) {
    let [input, each] = [features.input_shape(), features.shape()].map(|s| s.iter().product());
    let mut outputs = vec![0.0; inputs.len() / input * each];
    let pieces = outputs.par_chunks_mut(TOGETHER * each).zip(inputs.par_chunks(TOGETHER * input));
    pieces.for_each(|(outputs, inputs)| features.compute(inputs, outputs));
    (outputs, each)
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
        let (outputs, _) = computed(features, self.inputs());
        self.with_inputs(features.shape().to_vec(), outputs)
    }
}
