//! Depthwise convolution: every channel has a kernel of its own. Channels lie last, so that
//! each kernel entry is a product of two runs of channels, without any matrix.

use std::ops::Range;

use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::{column_sums, vectorised};
use crate::nn::graph::Convolution;

/// One depthwise convolution, with one output a channel, for one input shape.
#[derive(Debug)]
pub(crate) struct Depthwise {
    pub(crate) shape: Convolution,
    pub(crate) bias: bool,
    /// Height and width.
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
}

impl Depthwise {
    fn channels(&self) -> usize {
        self.shape.inputs
    }

    fn taps(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// Outputs along an axis under which kernel entry `tap` meets an input.
    fn outputs(&self, axis: usize, tap: usize) -> Range<usize> {
        let Convolution { stride, padding, dilation, .. } = self.shape;
        let (reach, stride) = (tap * dilation[axis], stride[axis]);
        let first = padding[axis].saturating_sub(reach).div_ceil(stride);
        // Inputs that lie at or after the kernel entry, were it at the first output.
        let inputs = (self.input[axis] + padding[axis]).saturating_sub(reach);
        first..self.output[axis].min(inputs.div_ceil(stride)).max(first)
    }

    /// The input that kernel entry `tap` meets under `output`.
    fn met(&self, axis: usize, tap: usize, output: usize) -> usize {
        output * self.shape.stride[axis] + tap * self.shape.dilation[axis]
            - self.shape.padding[axis]
    }

    /// Calls `visit` with a kernel entry and where its channels begin in input and output, for
    /// every pair of pixels that it joins.
    #[inline(always)]
    fn for_each_pair(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [height, width] = self.shape.kernel;
        let channels = self.channels();
        for y in 0..height {
            for row in self.outputs(0, y) {
                let from = self.met(0, y, row) * self.input[1];
                for x in 0..width {
                    for col in self.outputs(1, x) {
                        let input = from + self.met(1, x, col);
                        let output = row * self.output[1] + col;
                        visit(y * width + x, input * channels, output * channels);
                    }
                }
            }
        }
    }

    fn lens(&self) -> (usize, usize) {
        let of = |size: [usize; 2]| size[0] * size[1] * self.channels();
        (of(self.input), of(self.output))
    }
}

/// `sums += left right`.
#[inline(always)]
fn add_products(sums: &mut [f32], left: &[f32], right: &[f32]) {
    for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
        *sum += left * right;
    }
}

impl Op for Depthwise {
    // The weight `[channels, 1, kernel...]` as `[kernel entry, channel]`, then the bias.
    fn pack(&self, tensors: &[&[f32]], _back: bool, packed: &mut Vec<f32>) {
        packed.clear();
        for tap in 0..self.taps() {
            packed.extend(tensors[0].iter().skip(tap).step_by(self.taps()));
        }
        packed.extend_from_slice(if self.bias { tensors[1] } else { &[] });
    }

    fn forward(&self, at: Forward<'_>) {
        let (channels, (input_len, output_len)) = (self.channels(), self.lens());
        let (weights, bias) = at.weights.split_at(self.taps() * channels);
        let examples =
            at.inputs[0].chunks_exact(input_len).zip(at.output.chunks_exact_mut(output_len));
        vectorised!(for (input, output) in examples {
            match self.bias {
                true => output.chunks_exact_mut(channels).for_each(|o| o.copy_from_slice(bias)),
                false => output.fill(0.0),
            }
            self.for_each_pair(|tap, from, to| {
                let weights = &weights[tap * channels..][..channels];
                add_products(
                    &mut output[to..to + channels],
                    &input[from..from + channels],
                    weights,
                );
            });
        });
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let (channels, (input_len, output_len)) = (self.channels(), self.lens());
        let gradients = at.gradient.chunks_exact(output_len);
        vectorised!(for (gradient, result) in gradients.zip(result.chunks_exact_mut(input_len)) {
            result.fill(0.0);
            self.for_each_pair(|tap, to, from| {
                let weights = &at.weights[tap * channels..][..channels];
                let gradient = &gradient[from..from + channels];
                add_products(&mut result[to..to + channels], gradient, weights);
            });
        });
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        let channels = self.channels();
        let (weight, bias) = result.split_at_mut(self.taps() * channels);
        weight.fill(0.0);
        vectorised!(self.for_each_pair(|tap, input, output| {
            let sums = &mut weight[tap * channels..][..channels];
            let (input, gradient) = (&at.input[input..], &at.gradient[output..]);
            add_products(sums, &input[..channels], &gradient[..channels]);
        }));
        if self.bias {
            column_sums(at.gradient, bias);
        }
    }

    // [kernel entry][channel], as the weight is packed.
    fn order(&self) -> Option<Vec<u32>> {
        let (taps, channels) = (self.taps() as u32, self.channels() as u32);
        let weight = (0..taps).flat_map(|tap| (0..channels).map(move |c| c * taps + tap));
        let bias = if self.bias { channels } else { 0 };
        Some(weight.chain((taps * channels..).take(bias as usize)).collect())
    }
}
