//! Two-dimensional Fourier transforms of small planes, by portable code: it has the same bits on
//! every processor, and its vectorised forms would add a megabyte to an app.
//!
//! A spectrum is `[height, width]`, a signal is kept turned, `[width, height]`: then one
//! transposition serves each transform, between its two passes along contiguous rows.

use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};

/// Plans for planes of one size. Neither direction is normalised.
pub(super) struct Fft2 {
    width: usize,
    height: usize,
    /// Along the columns of a signal, which are rows once turned.
    forward_columns: Arc<dyn Fft<f64>>,
    forward_rows: Arc<dyn Fft<f64>>,
    inverse_columns: Arc<dyn Fft<f64>>,
    inverse_rows: Arc<dyn Fft<f64>>,
}

impl Fft2 {
    pub(super) fn new(planner: &mut FftPlannerScalar<f64>, height: usize, width: usize) -> Self {
        Self {
            width,
            height,
            forward_columns: planner.plan_fft_forward(height),
            forward_rows: planner.plan_fft_forward(width),
            inverse_columns: planner.plan_fft_inverse(height),
            inverse_rows: planner.plan_fft_inverse(width),
        }
    }

    /// Length of the `scratch` of the transforms.
    pub(super) fn scratch_len(&self) -> usize {
        [&self.forward_columns, &self.forward_rows, &self.inverse_columns, &self.inverse_rows]
            .map(|plan| plan.get_inplace_scratch_len())
            .into_iter()
            .fold(0, usize::max)
    }

    /// Signal to spectrum; leaves nothing of use in `signal`.
    pub(super) fn forward(
        &self,
        signal: &mut [Complex<f64>],
        spectrum: &mut [Complex<f64>],
        scratch: &mut [Complex<f64>],
    ) {
        self.forward_columns.process_with_scratch(signal, scratch);
        transpose(signal, spectrum, self.height);
        self.forward_rows.process_with_scratch(spectrum, scratch);
    }

    /// Spectrum to `width * height` times the signal; leaves nothing of use in `spectrum`.
    pub(super) fn inverse(
        &self,
        spectrum: &mut [Complex<f64>],
        signal: &mut [Complex<f64>],
        scratch: &mut [Complex<f64>],
    ) {
        self.inverse_rows.process_with_scratch(spectrum, scratch);
        transpose(spectrum, signal, self.width);
        self.inverse_columns.process_with_scratch(signal, scratch);
    }
}

/// `[rows, columns] -> [columns, rows]`.
pub(super) fn transpose<T: Copy>(from: &[T], to: &mut [T], columns: usize) {
    let rows = from.len() / columns;
    for (column, line) in to.chunks_exact_mut(rows).enumerate() {
        for (value, row) in line.iter_mut().zip(from.chunks_exact(columns)) {
            *value = row[column];
        }
    }
}
