//! Pooling without padding, one plane `[height, width]` after the other. A slice may
//! hold the planes of several examples: `[examples * channels, height, width]`.

use super::Window;

mod dense;

/// Largest value under each window position; NaN wins, so that it is not hidden.
pub(crate) fn max_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    check(window, input, output);
    if window.stride == 1 {
        return dense::max_pool(window, input, output);
    }
    for (input, output) in planes(window, input).zip(output.chunks_exact_mut(window.positions())) {
        for (start, largest) in starts(window).zip(output) {
            *largest = input[winner(window, input, start)];
        }
    }
}

/// Gradient of [`max_pool`] with respect to its input: each position's gradient goes to
/// the first of its largest values. `result` is overwritten.
pub(crate) fn max_pool_gradient(
    window: &Window,
    input: &[f32],
    gradient: &[f32],
    result: &mut [f32],
) {
    check(window, input, gradient);
    assert_eq!(result.len(), input.len(), "gradient of a pool");
    if window.stride == 1 {
        return dense::max_pool_gradient(window, input, gradient, result);
    }
    result.fill(0.0);
    let gradients = gradient.chunks_exact(window.positions());
    let results = result.chunks_exact_mut(window.height * window.width);
    for ((input, result), gradient) in planes(window, input).zip(results).zip(gradients) {
        for (start, gradient) in starts(window).zip(gradient) {
            result[winner(window, input, start)] += gradient;
        }
    }
}

/// Mean value under each window position.
pub(crate) fn average_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    check(window, input, output);
    let share = share(window);
    for (input, output) in planes(window, input).zip(output.chunks_exact_mut(window.positions())) {
        for (start, mean) in starts(window).zip(output) {
            let pixels = offsets(window).map(|offset| input[start + offset]);
            *mean = share * pixels.sum::<f32>();
        }
    }
}

/// Gradient of [`average_pool`] with respect to its input. `result` is overwritten.
pub(crate) fn average_pool_gradient(window: &Window, gradient: &[f32], result: &mut [f32]) {
    check(window, result, gradient);
    let share = share(window);
    result.fill(0.0);
    let results = result.chunks_exact_mut(window.height * window.width);
    for (result, gradient) in results.zip(gradient.chunks_exact(window.positions())) {
        for (start, gradient) in starts(window).zip(gradient) {
            offsets(window).for_each(|offset| result[start + offset] += share * gradient);
        }
    }
}

/// The larger of two values, NaN if there is one; `f32::max` would drop it.
#[inline(always)]
fn larger(value: f32, best: f32) -> f32 {
    if beats(value, best) { value } else { best }
}

/// Whether a value takes the place of the largest so far: the first NaN wins for good.
#[inline(always)]
fn beats(value: f32, best: f32) -> bool {
    (value > best) | (value.is_nan() & !best.is_nan())
}

/// Index of the first largest pixel of the window that begins at pixel `start`.
fn winner(window: &Window, plane: &[f32], start: usize) -> usize {
    let pixels = offsets(window).map(|offset| start + offset);
    let first = |best, index| if beats(plane[index], plane[best]) { index } else { best };
    pixels.reduce(first).unwrap_or(start)
}

/// First pixel of the window at each position.
fn starts(window: &Window) -> impl Iterator<Item = usize> + use<> {
    let Window { width, stride, out_height, out_width, .. } = *window;
    (0..out_height).flat_map(move |oy| (0..out_width).map(move |ox| (oy * width + ox) * stride))
}

/// Pixels of a window relative to its first one, row by row.
fn offsets(window: &Window) -> impl Iterator<Item = usize> + use<> {
    let Window { width, kernel, .. } = *window;
    (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| ky * width + kx))
}

fn planes<'a>(window: &Window, input: &'a [f32]) -> std::slice::ChunksExact<'a, f32> {
    input.chunks_exact(window.height * window.width)
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
                let corner = (c * window.height + oy * window.stride) * window.width;
                let start = corner + ox * window.stride;
                let rows = (0..window.kernel).map(|ky| start + ky * window.width);
                patches.push(rows.flat_map(|row| row..row + window.kernel).collect());
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
            max_pool_gradient(&window, &input, &gradient, &mut to_max);
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
