//! Normalisation of groups of channels over all pixels of an image, channels last.

use super::block::{block, block_mut, by_block};
use super::norm::EPSILON;
use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::vectorised;

/// Each group of channels less its mean over its standard deviation, times the channel's
/// weight, plus its bias. Tensors weight `[channels]`, bias `[channels]`.
///
/// Keeps mean and inverse deviation of each channel's group, `[2, channels]`, and, once back,
/// the gradients of weight and bias: they are sums that the way back needs anyway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) groups: usize,
    pub(crate) channels: usize,
    /// Height times width.
    pub(crate) pixels: usize,
}

/// What happens to a channel on its way forwards or back, one value a channel.
struct Channels<'a> {
    means: &'a [f32],
    scales: &'a [f32],
    shifts: &'a [f32],
}

impl GroupNorm {
    fn image(&self) -> usize {
        self.channels * self.pixels
    }

    /// Replaces each channel's value by the mean over the group, of which the values are the
    /// channels' sums over pixels.
    fn spread(&self, sums: &mut [f32]) {
        let members = self.channels / self.groups;
        let share = 1.0 / (members * self.pixels) as f32;
        for group in sums.chunks_exact_mut(members) {
            let mean = group.iter().sum::<f32>() * share;
            group.fill(mean);
        }
    }

    /// Means and inverse deviations, for each channel those of its group.
    #[inline(always)]
    fn moments<const L: usize>(&self, image: &[f32], means: &mut [f32], inverses: &mut [f32]) {
        for c in (0..self.channels).step_by(L) {
            *block_mut(means, c) = self.sum::<L>(image, c);
        }
        self.spread(means);
        for c in (0..self.channels).step_by(L) {
            *block_mut(inverses, c) = self.square_sum::<L>(image, c, block(means, c));
        }
        self.spread(inverses);
        for inverse in inverses {
            *inverse = 1.0 / (*inverse + EPSILON).sqrt();
        }
    }

    /// Sum over pixels of the block of channels from `c`.
    #[inline(always)]
    fn sum<const L: usize>(&self, image: &[f32], c: usize) -> [f32; L] {
        let mut sum = [0.0; L];
        for pixel in image.chunks_exact(self.channels) {
            for (sum, x) in sum.iter_mut().zip(block::<L>(pixel, c)) {
                *sum += x;
            }
        }
        sum
    }

    /// `sum (x - mean)^2` over pixels of the block of channels from `c`.
    #[inline(always)]
    fn square_sum<const L: usize>(&self, image: &[f32], c: usize, means: [f32; L]) -> [f32; L] {
        let mut sum = [0.0; L];
        for pixel in image.chunks_exact(self.channels) {
            for ((sum, x), mean) in sum.iter_mut().zip(block::<L>(pixel, c)).zip(means) {
                *sum += (x - mean) * (x - mean);
            }
        }
        sum
    }

    /// `sum g (x - mean)` over pixels of the block of channels from `c`.
    #[inline(always)]
    fn dot<const L: usize>(
        &self,
        (gradient, image): (&[f32], &[f32]),
        c: usize,
        means: [f32; L],
    ) -> [f32; L] {
        let mut sum = [0.0; L];
        let pixels = gradient.chunks_exact(self.channels).zip(image.chunks_exact(self.channels));
        for (gradient, pixel) in pixels {
            let (gradient, pixel) = (block::<L>(gradient, c), block::<L>(pixel, c));
            for (((sum, g), x), mean) in sum.iter_mut().zip(gradient).zip(pixel).zip(means) {
                *sum += g * (x - mean);
            }
        }
        sum
    }

    /// `output = (x - mean) scale + shift`.
    #[inline(always)]
    fn apply<const L: usize>(&self, image: &[f32], by: &Channels<'_>, output: &mut [f32]) {
        for c in (0..self.channels).step_by(L) {
            let means = block::<L>(by.means, c);
            let (scales, shifts) = (block::<L>(by.scales, c), block::<L>(by.shifts, c));
            let pixels = image.chunks_exact(self.channels);
            for (pixel, output) in pixels.zip(output.chunks_exact_mut(self.channels)) {
                let mut values = block::<L>(pixel, c);
                for (lane, value) in values.iter_mut().enumerate() {
                    *value = (*value - means[lane]) * scales[lane] + shifts[lane];
                }
                *block_mut(output, c) = values;
            }
        }
    }

    /// `result += g scale`.
    #[inline(always)]
    fn add<const L: usize>(&self, gradient: &[f32], scales: &[f32], result: &mut [f32]) {
        for c in (0..self.channels).step_by(L) {
            let scales = block::<L>(scales, c);
            let pixels = gradient.chunks_exact(self.channels);
            for (gradient, result) in pixels.zip(result.chunks_exact_mut(self.channels)) {
                let into = block_mut::<L>(result, c);
                for ((into, g), scale) in into.iter_mut().zip(block::<L>(gradient, c)).zip(scales) {
                    *into += g * scale;
                }
            }
        }
    }

    /// Gradients of weight and bias, into `saved`.
    #[inline(always)]
    fn sums<const L: usize>(&self, image: &[f32], gradient: &[f32], saved: &mut [f32]) {
        let (moments, sums) = saved.split_at_mut(2 * self.channels);
        let (means, inverses) = moments.split_at(self.channels);
        let (weights, biases) = sums.split_at_mut(self.channels);
        for c in (0..self.channels).step_by(L) {
            let mut dots = self.dot::<L>((gradient, image), c, block(means, c));
            for (dot, inverse) in dots.iter_mut().zip(block::<L>(inverses, c)) {
                *dot *= inverse;
            }
            *block_mut(weights, c) = dots;
            *block_mut(biases, c) = self.sum::<L>(gradient, c);
        }
    }

    // With x^ = (x - m) s and h = g w: dx = s (h - mean(h) - x^ mean(h x^)), means over the
    // group. The sums over pixels of g and g x^ are the gradients of bias and weight.
    #[inline(always)]
    fn slopes(&self, weights: &[f32], saved: &[f32], scratch: &mut [f32]) {
        let (moments, sums) = saved.split_at(2 * self.channels);
        let inverses = &moments[self.channels..];
        let (slopes, rest) = scratch.split_at_mut(self.channels);
        let (shifts, scales) = rest.split_at_mut(self.channels);
        for c in 0..self.channels {
            slopes[c] = weights[c] * sums[c];
            shifts[c] = weights[c] * sums[self.channels + c];
            scales[c] = weights[c] * inverses[c];
        }
        self.spread(slopes);
        self.spread(shifts);
        for c in 0..self.channels {
            slopes[c] *= -inverses[c] * inverses[c];
            shifts[c] *= -inverses[c];
        }
    }
}

impl Op for GroupNorm {
    fn saved_len(&self) -> usize {
        4 * self.channels
    }

    fn scratch_len(&self, _batch: usize) -> usize {
        3 * self.channels
    }

    fn forward(&self, at: Forward<'_>) {
        let (weights, shifts) = at.weights.split_at(self.channels);
        let scales = &mut at.scratch[..self.channels];
        let images = at.inputs[0].chunks_exact(self.image());
        let outputs = at.output.chunks_exact_mut(self.image());
        let saved = at.saved.chunks_exact_mut(self.saved_len());
        vectorised!(for ((image, output), saved) in images.zip(outputs).zip(saved) {
            let (moments, sums) = saved.split_at_mut(2 * self.channels);
            let (means, inverses) = moments.split_at_mut(self.channels);
            sums.fill(0.0);
            by_block!(L divides self.channels => self.moments::<L>(image, means, inverses));
            for ((scale, weight), inverse) in scales.iter_mut().zip(weights).zip(inverses) {
                *scale = weight * *inverse;
            }
            let by = Channels { means, scales, shifts };
            by_block!(L divides self.channels => self.apply::<L>(image, &by, output));
        });
    }

    fn backward(&self, at: Backward<'_>) {
        let images = at.inputs[0].chunks_exact(self.image());
        let gradients = at.gradient.chunks_exact(self.image());
        let saved = at.saved.chunks_exact_mut(self.saved_len());
        let mut results =
            at.input_gradients[0].as_mut().map(|it| it.chunks_exact_mut(self.image()));
        let scratch = &mut at.scratch[..3 * self.channels];
        vectorised!(for ((image, gradient), saved) in images.zip(gradients).zip(saved) {
            by_block!(L divides self.channels => self.sums::<L>(image, gradient, saved));
            if let Some(result) = results.as_mut().and_then(Iterator::next) {
                self.slopes(&at.weights[..self.channels], saved, scratch);
                let (slopes, rest) = scratch.split_at(self.channels);
                let (shifts, scales) = rest.split_at(self.channels);
                let by = Channels { means: &saved[..self.channels], scales: slopes, shifts };
                by_block!(L divides self.channels => {
                    self.apply::<L>(image, &by, result);
                    self.add::<L>(gradient, scales, result);
                });
            }
        });
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        result.copy_from_slice(&at.saved[2 * self.channels..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    fn oracle(norm: &GroupNorm, input: &[f32], tensors: &[Vec<f32>]) -> Vec<f64> {
        let members = norm.channels / norm.groups;
        let mut output = vec![0.0; input.len()];
        let input = wide(input);
        for start in (0..input.len()).step_by(norm.image()) {
            for group in 0..norm.groups {
                let places: Vec<usize> = (0..norm.image())
                    .filter(|place| place % norm.channels / members == group)
                    .map(|place| start + place)
                    .collect();
                let n = places.len() as f64;
                let mean = places.iter().map(|&place| input[place]).sum::<f64>() / n;
                let square = |&place: &usize| (input[place] - mean).powi(2);
                let deviation = (places.iter().map(square).sum::<f64>() / n + 1e-5).sqrt();
                for place in places {
                    let [weight, bias] =
                        [0, 1].map(|tensor| f64::from(tensors[tensor][place % norm.channels]));
                    output[place] = (input[place] - mean) / deviation * weight + bias;
                }
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn groups_and_their_gradients_are_the_naive_ones(
            groups in 1_usize..5, members in 1_usize..9, pixels in 4_usize..10,
        ) {
            let norm = GroupNorm { groups, channels: groups * members, pixels };
            let case =
                Case::new(&norm, &[norm.image()], &[norm.channels; 2], norm.image());
            let output = case.forward().output;
            assert_values(&output, &oracle(&norm, &case.inputs[0], &case.tensors), 1e-5);
            case.check();
        }
    }
}
