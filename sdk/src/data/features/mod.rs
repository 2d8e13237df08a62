//! Fixed features: maps of one example's input that nothing private went into.
//!
//! A linear or small head on good fixed features has far fewer parameters to spend a privacy
//! budget on than a network that learns its features (Tramer and Boneh 2021, arXiv 2011.11660).
//! Each map here is a function of a few public numbers, at most a seed, so a task carries those
//! and not its weights. It reads one example at a time, so it changes no guarantee.

mod featured;
mod linear_algebra;
mod making;
mod patches;
mod procedural;
mod scattering;
mod spec;
mod whitened;

use rayon::prelude::*;

pub use self::featured::{Featured, MOST_KEPT};
pub(crate) use self::making::{Made, Making};
pub use self::patches::{PatchSettings, Patches};
pub use self::scattering::Scattering;
pub use self::spec::{
    FeatureSpec, MOST_AN_EXAMPLE, MOST_DIRECTIONS, MOST_FEATURES, MOST_IMAGES, MOST_LEARNING,
    MOST_PAIRS, MOST_SIZES, MOST_VALUES,
};
pub use self::whitened::{Rotated, Whitened, WhiteningSettings};
use super::{Error, Examples, scale_colour, scale_pixel};

/// Examples that are mapped together, at most.
const TOGETHER: usize = 64;

/// Asked between pieces of work whether to go on; work that may not leaves nothing behind.
pub type MayGoOn<'a> = &'a (dyn Fn() -> bool + Sync);

/// Nothing calls it off.
const ALWAYS: MayGoOn<'static> = &|| true;

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

    /// As [`compute`](Self::compute), on the calling thread, asking before each input or more
    /// often whether to go on. False when called off: `outputs` are then worth nothing.
    fn compute_while(&self, inputs: &[f32], outputs: &mut [f32], may_go_on: MayGoOn<'_>) -> bool {
        let [input, output] =
            [self.input_shape(), self.shape()].map(|s| s.iter().product::<usize>());
        let mut pairs = inputs.chunks_exact(input).zip(outputs.chunks_exact_mut(output));
        pairs.all(|(input, output)| {
            let goes_on = may_go_on();
            if goes_on {
                self.compute(input, output);
            }
            goes_on
        })
    }
}

/// `count` procedural images of `shape`, `[1 or 3, up to 32, up to 32]`: overlapping shapes of
/// all sizes, as leaves on the ground, in the scale of [`scale_pixel`] or [`scale_colour`]. A
/// function of the seed: what is learned from them is public.
///
/// # Errors
/// [`Error::Shape`] for another shape.
pub fn dead_leaves(seed: u64, count: usize, shape: [usize; 3]) -> Result<Vec<f32>, Error> {
    Ok(leaves(seed, count, shape, ALWAYS)?.expect("nothing calls it off"))
}

/// As [`dead_leaves`]; none when called off.
fn leaves(
    seed: u64,
    count: usize,
    shape: [usize; 3],
    may_go_on: MayGoOn<'_>,
) -> Result<Option<Vec<f32>>, Error> {
    let ([channels, height, width], side) = (shape, procedural::SIDE);
    if !procedural::draws(shape) {
        return Err(Error::Shape { shape: shape.to_vec() });
    }
    let whole = procedural::images(seed, count, channels, may_go_on);
    let Some(whole) = whole else { return Ok(None) };
    let (top, left) = ((side - height) / 2, (side - width) / 2);
    let scale = if channels == 1 { scale_pixel } else { scale_colour };
    let mut images = Vec::with_capacity(count * channels * height * width);
    for plane in whole.chunks_exact(side * side) {
        if !may_go_on() {
            return Ok(None);
        }
        for row in plane.chunks_exact(side).skip(top).take(height) {
            images.extend(row[left..left + width].iter().map(|x| scale(*x as u8)));
        }
    }
    Ok(Some(images))
}

/// What one grey level is in inputs of so many channels.
fn grey_level(channels: usize) -> f32 {
    if channels == 1 { scale_pixel(1) - scale_pixel(0) } else { scale_colour(1) - scale_colour(0) }
}

/// The features of all `inputs`, and their number an input; mapped in parallel on rayon's
/// current pool.
fn computed(features: &dyn Features, inputs: &[f32]) -> (Vec<f32>, usize) {
    let outputs = computed_while(features, inputs, ALWAYS).expect("nothing calls it off");
    (outputs, features.shape().iter().product())
}

/// As [`computed`]; none when called off.
fn computed_while(
    features: &dyn Features,
    inputs: &[f32],
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<f32>> {
    let [input, each] =
        [features.input_shape(), features.shape()].map(|s| s.iter().product::<usize>());
    let count = inputs.len() / input;
    // At least a piece for each thread, where there are so many inputs.
    let together = count.div_ceil(rayon::current_num_threads()).clamp(1, TOGETHER);
    let mut outputs = vec![0.0; count * each];
    let pieces = outputs.par_chunks_mut(together * each).zip(inputs.par_chunks(together * input));
    pieces.try_for_each(|(outputs, inputs)| {
        features.compute_while(inputs, outputs, may_go_on).then_some(())
    })?;
    Some(outputs)
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
