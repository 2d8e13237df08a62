//! Pooling as a layer.

use super::layer::{Layer, Pass};
use crate::kernels::{Window, average_pool, average_pool_gradient, max_pool, max_pool_gradient};

/// Largest or mean value of each window.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: &'static str,
    /// Mean of the window instead of its largest value.
    pub(super) average: bool,
    pub(super) window: Window,
}

impl Layer for Pool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn output_len(&self) -> usize {
        self.window.channels * self.window.positions()
    }

    fn forward(&self, _weights: &[f32], input: &[f32], output: &mut [f32]) {
        match self.average {
            true => average_pool(&self.window, input, output),
            false => max_pool(&self.window, input, output),
        }
    }

    fn input_gradient(&self, _weights: &[f32], at: Pass<'_>, result: &mut [f32]) {
        match self.average {
            true => average_pool_gradient(&self.window, at.gradient, result),
            false => max_pool_gradient(&self.window, at.input, at.gradient, result),
        }
    }
}
