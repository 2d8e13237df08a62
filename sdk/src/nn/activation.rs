//! Activations as layers.

use super::layer::{Layer, Pass};
use crate::kernels::Activation;

/// A function applied to each value alone.
#[derive(Debug)]
pub(super) struct ActivationLayer {
    pub(super) name: &'static str,
    pub(super) function: Activation,
    /// Values of one example.
    pub(super) len: usize,
}

impl Layer for ActivationLayer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn forward(&self, _weights: &[f32], input: &[f32], output: &mut [f32]) {
        self.function.apply(input, output);
    }

    fn input_gradient(&self, _weights: &[f32], at: Pass<'_>, result: &mut [f32]) {
        self.function.gradient(at.input, at.output, at.gradient, result);
    }
}
