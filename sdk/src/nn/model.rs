//! A description made ready to run.

use std::ops::Range;
use std::sync::Arc;

use adafed_algorithm::Layout;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::layer::{Layer, build};
use super::{Error, ModelSpec};

/// A checked model: layers and their places in the flat parameter vector. It holds no
/// parameters; every call is given them, or [`Model::bind`] keeps a copy.
#[derive(Clone, Debug)]
pub struct Model {
    spec: ModelSpec,
    layout: Layout,
    pub(super) layers: Vec<Arc<dyn Layer>>,
    input_len: usize,
    output_len: usize,
}

/// A model with one parameter vector, shared by the micro-batches of a step.
#[derive(Clone, Debug)]
pub struct BoundModel<'m> {
    pub(super) model: &'m Model,
    /// One part a layer.
    pub(super) weights: Vec<Arc<[f32]>>,
}

impl Model {
    /// Checks `spec` and builds its layers.
    ///
    /// # Errors
    /// As [`ModelSpec::check`], and [`Error::NoParameters`].
    pub fn new(spec: &ModelSpec) -> Result<Self, Error> {
        let layers = build(spec)?;
        let layout = spec.layout()?;
        if layout.is_empty() {
            return Err(Error::NoParameters);
        }
        let input_len = spec.input.iter().product();
        let output_len = spec.output_len()?;
        Ok(Self { spec: spec.clone(), layout, layers, input_len, output_len })
    }

    /// The description.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Names, shapes and order of the parameters.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number d of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layout.len()
    }

    /// Shape of one example.
    #[must_use]
    pub fn input_shape(&self) -> &[usize] {
        &self.spec.input
    }

    /// Values of one example.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// Number of outputs (classes).
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// First values of the parameters, `[d]`: uniform on `+-1 / sqrt(fan in)`, weights and
    /// biases alike, as PyTorch's linear and convolution layers start. The same seed gives
    /// the same bits on every machine. Public: the seed is part of the task.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut generator = ChaCha20Rng::seed_from_u64(seed);
        let mut parameters = Vec::with_capacity(self.parameters());
        for layer in &self.layers {
            let bound = 1.0 / (layer.fan_in() as f32).sqrt();
            let values = (0..layer.parameters()).map(|_| bound * symmetric(&mut generator));
            parameters.extend(values);
        }
        parameters
    }

    /// Joins the model with a parameter vector `[d]`, which is copied.
    ///
    /// # Errors
    /// [`Error::Parameters`] where the length is not d.
    pub fn bind(&self, parameters: &[f32]) -> Result<BoundModel<'_>, Error> {
        if parameters.len() != self.parameters() {
            let found = parameters.len();
            return Err(Error::Parameters { found, expected: self.parameters() });
        }
        let weights = self.slots().map(|slot| Arc::from(&parameters[slot])).collect();
        Ok(BoundModel { model: self, weights })
    }

    /// The part of the flat vector that belongs to each layer.
    pub(super) fn slots(&self) -> impl Iterator<Item = Range<usize>> {
        self.layers.iter().scan(0, |start, layer| {
            let slot = *start..*start + layer.parameters();
            *start = slot.end;
            Some(slot)
        })
    }
}

/// Uniform on `[-1, 1)`, from the top 24 bits of one word.
fn symmetric(generator: &mut ChaCha20Rng) -> f32 {
    const SCALE: f32 = 1.0 / (1 << 23) as f32;
    (generator.next_u32() >> 8) as f32 * SCALE - 1.0
}
