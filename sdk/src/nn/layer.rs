//! What the engine asks of a layer, and the layers that a description stands for.

use std::fmt::Debug;
use std::sync::Arc;

use super::activation::ActivationLayer;
use super::conv2d::Conv2d;
use super::linear::Linear;
use super::pool::Pool;
use super::{Error, LayerSpec, ModelSpec};
use crate::kernels::{Activation, Columns, Unfolding, Window};

/// One layer for one input shape. Slices hold whole examples one after the other;
/// `weights` is the layer's own part of the flat parameter vector.
pub(super) trait Layer: Debug + Send + Sync {
    /// Type, as in the description.
    fn name(&self) -> &'static str;

    /// Values of one example after the layer.
    fn output_len(&self) -> usize;

    /// Number of parameters.
    fn parameters(&self) -> usize {
        0
    }

    /// Inputs that each output sums over; bounds the first values of the parameters.
    fn fan_in(&self) -> usize {
        1
    }

    /// `[batch, input_len] -> [batch, output_len]`; writes all of `output`.
    fn forward(&self, weights: &[f32], input: &[f32], output: &mut [f32]);

    /// Gradient of the loss with respect to the input, `[batch, input_len]`; writes all
    /// of `result`.
    fn input_gradient(&self, weights: &[f32], at: Pass<'_>, result: &mut [f32]);

    /// Gradient of one example's loss with respect to the parameters; writes all of
    /// `result`. `input` and `gradient` (of the output) are those of one example;
    /// `columns` may hold anything.
    fn parameter_gradient(
        &self,
        _input: &[f32],
        _gradient: &[f32],
        _result: &mut [f32],
        _columns: &mut Columns,
    ) {
    }
}

/// What a layer saw forwards, and the gradient that comes back to it.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// Input, `[batch, input_len]`.
    pub(super) input: &'a [f32],
    /// Output, `[batch, output_len]`.
    pub(super) output: &'a [f32],
    /// Gradient of the loss with respect to the output.
    pub(super) gradient: &'a [f32],
}

/// The layers of a checked description. Flatten is nothing: examples are flat here.
pub(super) fn build(spec: &ModelSpec) -> Result<Vec<Arc<dyn Layer>>, Error> {
    let shapes = spec.shapes()?;
    let layers = spec.layers.iter().zip(shapes.windows(2));
    Ok(layers.filter_map(|(layer, around)| build_one(layer, &around[0], &around[1])).collect())
}

fn build_one(layer: &LayerSpec, input: &[usize], output: &[usize]) -> Option<Arc<dyn Layer>> {
    let len = output.iter().product();
    let activation = |function| -> Arc<dyn Layer> {
        Arc::new(ActivationLayer { name: layer.type_name(), function, len })
    };
    let pool = |average, kernel, stride: Option<usize>| -> Arc<dyn Layer> {
        let window = window(input, output, kernel, stride.unwrap_or(kernel), 0);
        Arc::new(Pool { name: layer.type_name(), average, window })
    };
    Some(match *layer {
        LayerSpec::Linear { inputs, outputs, bias } => {
            Arc::new(Linear { inputs, outputs, bias, positions: len / outputs })
        }
        LayerSpec::Conv2d { outputs, kernel, stride, padding, bias, .. } => {
            let window = window(input, output, kernel, stride, padding);
            Arc::new(Conv2d { unfolding: Unfolding::new(window), outputs, bias })
        }
        LayerSpec::Relu => activation(Activation::Relu),
        LayerSpec::Tanh => activation(Activation::Tanh),
        LayerSpec::Gelu => activation(Activation::Gelu),
        LayerSpec::Silu => activation(Activation::Silu),
        LayerSpec::Sigmoid => activation(Activation::Sigmoid),
        LayerSpec::MaxPool2d { kernel, stride } => pool(false, kernel, stride),
        LayerSpec::AvgPool2d { kernel, stride } => pool(true, kernel, stride),
        LayerSpec::Flatten => return None,
    })
}

/// Both shapes are `[channels, height, width]`, by the shape check.
fn window(
    input: &[usize],
    output: &[usize],
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Window {
    Window {
        channels: input[0],
        height: input[1],
        width: input[2],
        kernel,
        stride,
        padding,
        out_height: output[1],
        out_width: output[2],
    }
}
