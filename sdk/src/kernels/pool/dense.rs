//! Largest value of windows one pixel apart, a vector at a time. Planes are copied to
//! buffers with slack at the end, so that rows of any width are whole vectors.

use super::{give, larger, offsets};
use crate::kernels::{LANES, Window, lanes, lanes_mut, vectorised};

/// As [`super::max_pool`], for stride 1.
pub(super) fn max_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    let (plane, positions) = (window.height * window.width, window.positions());
    let mut pixels = vec![0.0; plane + LANES];
    let mut largest = vec![0.0; positions + LANES];
    vectorised(#[inline(always)] || {
        for (input, output) in input.chunks_exact(plane).zip(output.chunks_exact_mut(positions)) {
            pixels[..plane].copy_from_slice(input);
            for (start, position, _) in vectors(window) {
                let mut best = [f32::NEG_INFINITY; LANES];
                for (ky, kx) in offsets(window) {
                    let values = lanes(&pixels, start + ky * window.width + kx);
                    best = std::array::from_fn(|lane| larger(values[lane], best[lane]));
                }
                // What is written beyond the row is overwritten by the next one.
                *lanes_mut(&mut largest, position) = best;
            }
            output.copy_from_slice(&largest[..positions]);
        }
    });
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
    vectorised(#[inline(always)] || {
        let positions = positions.0.chunks_exact(count).zip(positions.1.chunks_exact(count));
        let planes = input.chunks_exact(plane).zip(result.chunks_exact_mut(plane));
        for ((input, result), (output, gradient)) in planes.zip(positions) {
            pixels[..plane].copy_from_slice(input);
            largest[..count].copy_from_slice(output);
            gradients[..count].copy_from_slice(gradient);
            sums.fill(0.0);
            for (start, position, width) in vectors(window) {
                let best = *lanes(&largest, position);
                let gradient = lanes(&gradients, position);
                // Lanes beyond the row belong to the next one and have nothing to give.
                let mut pending: [f32; LANES] =
                    std::array::from_fn(|lane| if lane < width { gradient[lane] } else { 0.0 });
                for (ky, kx) in offsets(window) {
                    let place = start + ky * window.width + kx;
                    let (values, sums) = (lanes(&pixels, place), lanes_mut(&mut sums, place));
                    for lane in 0..LANES {
                        give(values[lane], best[lane], &mut pending[lane], &mut sums[lane]);
                    }
                }
            }
            result.copy_from_slice(&sums[..plane]);
        }
    });
}

/// First pixel, first position and positions left in the row of each vector of one plane.
#[inline(always)]
fn vectors(window: &Window) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let Window { width, out_height, out_width, .. } = *window;
    (0..out_height).flat_map(move |oy| {
        (0..out_width).step_by(LANES).map(move |ox| {
            (oy * width + ox, oy * out_width + ox, out_width - ox)
        })
    })
}
