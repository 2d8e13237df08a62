//! Largest value of windows one pixel apart, a vector at a time. Planes are copied to
//! buffers with slack at the end, so that rows of any width are whole vectors.

use super::{give, larger};
use crate::kernels::{LANES, Window, lanes, lanes_mut, mask, vectorised};

/// As [`super::max_pool`], for stride 1.
pub(super) fn max_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    let (plane, positions) = (window.height * window.width, window.positions());
    let mut pixels = vec![0.0; plane + LANES];
    let mut largest = vec![0.0; positions + LANES];
    vectorised(
        #[inline(always)]
        || {
            for (input, output) in input.chunks_exact(plane).zip(output.chunks_exact_mut(positions))
            {
                pixels[..plane].copy_from_slice(input);
                for oy in 0..window.out_height {
                    for ox in (0..window.out_width).step_by(LANES) {
                        let best = largest_of(window, &pixels, oy * window.width + ox);
                        // What is written beyond the row is overwritten by the next one.
                        *lanes_mut(&mut largest, oy * window.out_width + ox) = best;
                    }
                }
                output.copy_from_slice(&largest[..positions]);
            }
        },
    );
}

/// As [`super::max_pool_gradient`], for stride 1; `positions` are output and gradient.
pub(super) fn max_pool_gradient(
    window: &Window,
    input: &[f32],
    positions: (&[f32], &[f32]),
    result: &mut [f32],
) {
    let (plane, count) = (window.height * window.width, window.positions());
    let [mut pixels, mut sums] = [plane; 2].map(|len| vec![0.0; len + LANES]);
    let [mut largest, mut gradients] = [count; 2].map(|len| vec![0.0; len + LANES]);
    vectorised(
        #[inline(always)]
        || {
            let positions = positions.0.chunks_exact(count).zip(positions.1.chunks_exact(count));
            let planes = input.chunks_exact(plane).zip(result.chunks_exact_mut(plane));
            for ((input, result), (output, gradient)) in planes.zip(positions) {
                pixels[..plane].copy_from_slice(input);
                largest[..count].copy_from_slice(output);
                gradients[..count].copy_from_slice(gradient);
                sums.fill(0.0);
                for oy in 0..window.out_height {
                    for ox in (0..window.out_width).step_by(LANES) {
                        let position = oy * window.out_width + ox;
                        let best = *lanes(&largest, position);
                        // Lanes beyond the row belong to the next one and have nothing to give.
                        let pending = first(window.out_width - ox, lanes(&gradients, position));
                        let start = oy * window.width + ox;
                        give_back(window, &pixels, start, best, pending, &mut sums);
                    }
                }
                result.copy_from_slice(&sums[..plane]);
            }
        },
    );
}

/// Largest values of the windows that begin at the [`LANES`] pixels from `start`.
#[inline(always)]
fn largest_of(window: &Window, pixels: &[f32], start: usize) -> [f32; LANES] {
    let mut best = [f32::NEG_INFINITY; LANES];
    for ky in 0..window.kernel {
        for kx in 0..window.kernel {
            let values = *lanes(pixels, start + ky * window.width + kx);
            for lane in 0..LANES {
                best[lane] = larger(values[lane], best[lane]);
            }
        }
    }
    best
}

/// Adds the pending gradients of the same windows to the pixels that are largest.
#[inline(always)]
fn give_back(
    window: &Window,
    pixels: &[f32],
    start: usize,
    best: [f32; LANES],
    mut pending: [f32; LANES],
    sums: &mut [f32],
) {
    for ky in 0..window.kernel {
        for kx in 0..window.kernel {
            let place = start + ky * window.width + kx;
            // Copies of the arrays: through references the compiler would not use vectors.
            let (values, mut sum) = (*lanes(pixels, place), *lanes(sums, place));
            for lane in 0..LANES {
                let (taken, left) = give(values[lane], best[lane], pending[lane]);
                sum[lane] += taken;
                pending[lane] = left;
            }
            *lanes_mut(sums, place) = sum;
        }
    }
}

/// The first `count` values, zeros after them.
#[inline(always)]
fn first(count: usize, values: &[f32; LANES]) -> [f32; LANES] {
    let mut kept = *values;
    for (value, mask) in kept.iter_mut().zip(mask(count)) {
        *value = f32::from_bits(value.to_bits() & mask);
    }
    kept
}
