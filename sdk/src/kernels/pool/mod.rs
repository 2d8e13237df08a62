//! Pooling without padding, one plane `[height, width]` after the other. A slice may
//! hold the planes of several examples: `[examples * channels, height, width]`.

use super::{Window, vectorised};

mod dense;

/// Largest value under each window position; NaN wins, so that it is not hidden.
pub(crate) fn max_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    check(window, input, output);
    if window.stride == 1 {
        return dense::max_pool(window, input, output);
    }
    vectorised(
        #[inline(always)]
        || {
            for (input, output) in planes(window, input, output) {
                for (oy, output) in output.chunks_exact_mut(window.out_width).enumerate() {
                    output.fill(f32::NEG_INFINITY);
                    for (ky, kx) in offsets(window) {
                        let row = &input[row_start(window, oy, ky, kx)..];
                        let row = row.iter().step_by(window.stride);
                        row.zip(output.iter_mut())
                            .for_each(|(value, best)| *best = larger(*value, *best));
                    }
                }
            }
        },
    );
}

/// Gradient of [`max_pool`] with respect to its input: each position's gradient goes to
/// the first of its largest values. `result` is overwritten.
pub(crate) fn max_pool_gradient(
    window: &Window,
    input: &[f32],
    output: &[f32],
    gradient: &[f32],
    result: &mut [f32],
) {
    check(window, input, output);
    assert!(gradient.len() == output.len() && result.len() == input.len(), "gradient of a pool");
    if window.stride == 1 {
        return dense::max_pool_gradient(window, input, (output, gradient), result);
    }
    let mut pending = vec![0.0_f32; window.out_width];
    result.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            let positions = output.chunks_exact(window.positions());
            let positions = positions.zip(gradient.chunks_exact(window.positions()));
            for ((input, result), (output, gradient)) in
                planes_of(window, input, result).zip(positions)
            {
                let rows = output.chunks_exact(window.out_width);
                let rows = rows.zip(gradient.chunks_exact(window.out_width));
                for (oy, (output, gradient)) in rows.enumerate() {
                    pending.copy_from_slice(gradient);
                    for (ky, kx) in offsets(window) {
                        let start = row_start(window, oy, ky, kx);
                        let input = input[start..].iter().step_by(window.stride);
                        let result = result[start..].iter_mut().step_by(window.stride);
                        let pixels = input.zip(result);
                        for ((value, result), (best, pending)) in
                            pixels.zip(output.iter().zip(&mut pending))
                        {
                            let (taken, left) = give(*value, *best, *pending);
                            *result += taken;
                            *pending = left;
                        }
                    }
                }
            }
        },
    );
}

/// Mean value under each window position.
pub(crate) fn average_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    check(window, input, output);
    let share = share(window);
    vectorised(
        #[inline(always)]
        || {
            for (input, output) in planes(window, input, output) {
                for (oy, output) in output.chunks_exact_mut(window.out_width).enumerate() {
                    output.fill(0.0);
                    for (ky, kx) in offsets(window) {
                        let row = &input[row_start(window, oy, ky, kx)..];
                        let row = row.iter().step_by(window.stride);
                        row.zip(output.iter_mut()).for_each(|(value, sum)| *sum += value);
                    }
                    output.iter_mut().for_each(|sum| *sum *= share);
                }
            }
        },
    );
}

/// Gradient of [`average_pool`] with respect to its input. `result` is overwritten.
pub(crate) fn average_pool_gradient(window: &Window, gradient: &[f32], result: &mut [f32]) {
    check(window, result, gradient);
    let share = share(window);
    result.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            let planes = result.chunks_exact_mut(window.height * window.width);
            for (result, gradient) in planes.zip(gradient.chunks_exact(window.positions())) {
                for (oy, gradient) in gradient.chunks_exact(window.out_width).enumerate() {
                    for (ky, kx) in offsets(window) {
                        let row = &mut result[row_start(window, oy, ky, kx)..];
                        for (to, value) in row.iter_mut().step_by(window.stride).zip(gradient) {
                            *to += share * value;
                        }
                    }
                }
            }
        },
    );
}

/// The larger of two values, NaN if there is one; `f32::max` would drop it.
#[inline(always)]
fn larger(value: f32, best: f32) -> f32 {
    if (value > best) | value.is_nan() { value } else { best }
}

/// Splits a pending gradient into what a pixel takes, all of it where the pixel holds the
/// largest value, and what is left. By bit masks: a choice would become a branch.
#[inline(always)]
fn give(value: f32, best: f32, pending: f32) -> (f32, f32) {
    let wins = 0_u32.wrapping_sub(u32::from((value == best) | value.is_nan()));
    let bits = pending.to_bits();
    (f32::from_bits(bits & wins), f32::from_bits(bits & !wins))
}

#[inline(always)]
fn row_start(window: &Window, oy: usize, ky: usize, kx: usize) -> usize {
    (oy * window.stride + ky) * window.width + kx
}

#[inline(always)]
fn offsets(window: &Window) -> impl Iterator<Item = (usize, usize)> + use<> {
    let kernel = window.kernel;
    (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| (ky, kx)))
}

#[inline(always)]
fn planes<'a>(
    window: &Window,
    input: &'a [f32],
    output: &'a mut [f32],
) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    let input = input.chunks_exact(window.height * window.width);
    input.zip(output.chunks_exact_mut(window.positions()))
}

/// The planes of an input and of its gradient.
#[inline(always)]
fn planes_of<'a>(
    window: &Window,
    input: &'a [f32],
    result: &'a mut [f32],
) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    let plane = window.height * window.width;
    input.chunks_exact(plane).zip(result.chunks_exact_mut(plane))
}

fn share(window: &Window) -> f32 {
    1.0 / (window.kernel * window.kernel) as f32
}

fn check(window: &Window, input: &[f32], output: &[f32]) {
    let plane = window.height * window.width;
    assert_eq!(window.padding, 0, "pooling has no padding");
    assert_eq!(input.len() % plane, 0, "planes of a pool");
    assert_eq!(output.len(), input.len() / plane * window.positions(), "output of a pool");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::window::any_window;
    use crate::nn::test_values;

    fn unpadded() -> impl Strategy<Value = Window> {
        any_window().prop_filter("pools have no padding", |window| window.padding == 0)
    }

    /// Pixels under each position, in the order of the window.
    fn naive_patches(window: &Window) -> Vec<Vec<usize>> {
        let mut patches = Vec::new();
        for c in 0..window.channels {
            for (oy, ox) in (0..window.positions())
                .map(|position| (position / window.out_width, position % window.out_width))
            {
                patches.push(
                    offsets(window)
                        .map(|(ky, kx)| {
                            let y = oy * window.stride + ky;
                            (c * window.height + y) * window.width + ox * window.stride + kx
                        })
                        .collect(),
                );
            }
        }
        patches
    }

    proptest! {
        #[test]
        fn pools_and_their_gradients_are_the_naive_ones(window in unpadded(), ties: bool) {
            let mut input = test_values(window.image_len(), 6);
            if ties {
                input.iter_mut().for_each(|value| *value = (*value * 2.0).round());
            }
            let patches = naive_patches(&window);
            let gradient = test_values(patches.len(), 7);
            let share = share(&window);
            let (mut max, mut mean) = (vec![0.0; patches.len()], vec![0.0; patches.len()]);
            max_pool(&window, &input, &mut max);
            average_pool(&window, &input, &mut mean);
            let (mut to_max, mut to_mean) = (vec![1.0; input.len()], vec![1.0; input.len()]);
            max_pool_gradient(&window, &input, &max, &gradient, &mut to_max);
            average_pool_gradient(&window, &gradient, &mut to_mean);
            let (mut naive_max, mut naive_mean) = (vec![0.0; input.len()], vec![0.0; input.len()]);
            for (position, patch) in patches.iter().enumerate() {
                let first_largest = patch.iter().copied().reduce(|best, index| {
                    if input[index] > input[best] { index } else { best }
                });
                let first_largest = first_largest.expect("a window holds a pixel");
                prop_assert_eq!(max[position], input[first_largest]);
                naive_max[first_largest] += gradient[position];
                let sum: f32 = patch.iter().map(|&index| input[index]).sum();
                prop_assert!((mean[position] - sum * share).abs() < 1e-6);
                patch.iter().for_each(|&index| naive_mean[index] += gradient[position] * share);
            }
            for (found, naive) in to_max.iter().chain(&to_mean).zip(naive_max.iter().chain(&naive_mean)) {
                prop_assert!((found - naive).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn max_pool_does_not_hide_nan() {
        let window = Window {
            channels: 1,
            height: 2,
            width: 2,
            kernel: 2,
            stride: 2,
            padding: 0,
            out_height: 1,
            out_width: 1,
        };
        for position in 0..4 {
            let mut input = [1.0, 2.0, 3.0, 4.0];
            input[position] = f32::NAN;
            let mut output = [0.0];
            max_pool(&window, &input, &mut output);
            assert!(output[0].is_nan());
        }
    }
}
