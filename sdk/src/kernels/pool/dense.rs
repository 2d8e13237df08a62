//! Largest value of windows one pixel apart, a vector at a time. Planes are copied to
//! buffers with slack at the end, so that rows of any width are whole vectors.

use super::{beats, larger};
use crate::kernels::{LANES, Window, lanes, lanes_mut, masked, vectorised};

/// As [`super::max_pool`], for stride 1.
pub(super) fn max_pool(window: &Window, input: &[f32], output: &mut [f32]) {
    let (plane, positions) = (window.height * window.width, window.positions());
    let mut pixels = vec![0.0; plane + LANES];
    let mut largest = vec![0.0; positions + LANES];
    for (input, output) in input.chunks_exact(plane).zip(output.chunks_exact_mut(positions)) {
        pixels[..plane].copy_from_slice(input);
        // The usual kernel as a constant, so that its loops are unrolled.
        vectorised!(match window.kernel {
            2 => fill_largest(window, 2, &pixels, &mut largest),
            kernel => fill_largest(window, kernel, &pixels, &mut largest),
        });
        output.copy_from_slice(&largest[..positions]);
    }
}

/// As [`super::max_pool_gradient`], for stride 1. First every window names its winner,
/// then every pixel collects from the windows that named it: nothing is added in place,
/// where a load would wait for the store before it.
pub(super) fn max_pool_gradient(
    window: &Window,
    input: &[f32],
    gradient: &[f32],
    result: &mut [f32],
) {
    let mut buffers = Buffers::new(window);
    let plane = window.height * window.width;
    let planes = input.chunks_exact(plane).zip(result.chunks_exact_mut(plane));
    for ((input, result), gradient) in planes.zip(gradient.chunks_exact(window.positions())) {
        buffers.pixels[..plane].copy_from_slice(input);
        vectorised!(match window.kernel {
            2 => plane_gradient(window, 2, &mut buffers, gradient, result),
            kernel => plane_gradient(window, kernel, &mut buffers, gradient, result),
        });
    }
}

/// One plane, with slack for vectors that run over its end.
struct Buffers {
    pixels: Vec<f32>,
    /// Windows lie in rows as long as those of the image, after `margin` and with zeros
    /// between rows, so that a pixel's windows are at the same distances everywhere.
    gradients: Vec<f32>,
    winners: Vec<u32>,
    margin: usize,
}

impl Buffers {
    fn new(window: &Window) -> Self {
        let margin = (window.kernel - 1) * (window.width + 1);
        let len = window.height * window.width + margin + LANES;
        let (pixels, gradients) = (vec![0.0; len], vec![0.0; len]);
        Self { pixels, gradients, winners: vec![0; len], margin }
    }
}

#[inline(always)]
fn fill_largest(window: &Window, kernel: usize, pixels: &[f32], largest: &mut [f32]) {
    for oy in 0..window.out_height {
        for ox in (0..window.out_width).step_by(LANES) {
            let best = largest_of(window.width, kernel, &pixels[oy * window.width + ox..]);
            // What is written beyond the row is overwritten by the next one.
            *lanes_mut(largest, oy * window.out_width + ox) = best;
        }
    }
}

#[inline(always)]
fn plane_gradient(
    window: &Window,
    kernel: usize,
    buffers: &mut Buffers,
    gradient: &[f32],
    result: &mut [f32],
) {
    let Buffers { pixels, gradients, winners, margin } = buffers;
    let Window { width, out_width, .. } = *window;
    for (oy, row) in gradient.chunks_exact(out_width).enumerate() {
        gradients[*margin + oy * width..][..out_width].copy_from_slice(row);
    }
    for start in (0..window.out_height * width).step_by(LANES) {
        let named = winners_of(width, kernel, &pixels[start..]);
        winners[*margin + start..][..LANES].copy_from_slice(&named);
    }
    for (index, result) in result.chunks_mut(LANES).enumerate() {
        let start = index * LANES;
        let sum = collected(width, kernel, &winners[start..], &gradients[start..]);
        match result.first_chunk_mut() {
            Some(whole) => *whole = sum,
            None => result.copy_from_slice(&sum[..result.len()]),
        }
    }
}

/// Largest values of the windows that begin at the first [`LANES`] pixels.
#[inline(always)]
fn largest_of(width: usize, kernel: usize, pixels: &[f32]) -> [f32; LANES] {
    let mut best = [f32::NEG_INFINITY; LANES];
    for ky in 0..kernel {
        for kx in 0..kernel {
            let values = *lanes(pixels, ky * width + kx);
            for (best, value) in best.iter_mut().zip(values) {
                *best = larger(value, *best);
            }
        }
    }
    best
}

/// Offset, counted row by row, of the first largest pixel of the same windows.
#[inline(always)]
fn winners_of(width: usize, kernel: usize, pixels: &[f32]) -> [u32; LANES] {
    let mut best = *lanes(pixels, 0);
    let mut winners = [0_u32; LANES];
    let mut offset = 0;
    for ky in 0..kernel {
        for kx in 0..kernel {
            let values = *lanes(pixels, ky * width + kx);
            for ((winner, best), value) in winners.iter_mut().zip(&mut best).zip(values) {
                let wins = beats(value, *best);
                *best = if wins { value } else { *best };
                *winner = if wins { offset } else { *winner };
            }
            offset += 1;
        }
    }
    winners
}

/// Sum of the gradients of the windows that named each of the first [`LANES`] pixels.
#[inline(always)]
fn collected(width: usize, kernel: usize, winners: &[u32], gradients: &[f32]) -> [f32; LANES] {
    let mut sum = [0.0; LANES];
    let mut offset = 0;
    // The window that has the pixel at its first place is the furthest on.
    for back_y in (0..kernel).rev() {
        for back_x in (0..kernel).rev() {
            let place = back_y * width + back_x;
            let mut named = *winners[place..].first_chunk().expect("buffers end with slack");
            for winner in &mut named {
                *winner = 0_u32.wrapping_sub(u32::from(*winner == offset));
            }
            let given = masked(*lanes(gradients, place), named);
            for (sum, given) in sum.iter_mut().zip(given) {
                *sum += given;
            }
            offset += 1;
        }
    }
    sum
}
