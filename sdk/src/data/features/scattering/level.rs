//! One resolution of the cascade: the padded plane subsampled by `2^level`.

use rustfft::FftPlannerScalar;
use rustfft::num_complex::Complex;

use super::filters;
use super::fourier::{Fft2, transpose};

/// Transforms and averages of signals at one resolution.
pub(super) struct Level {
    height: usize,
    width: usize,
    fft: Fft2,
    /// `[height, output height]`.
    average_rows: Vec<f32>,
    /// `[output width, width]`.
    average_columns: Vec<f32>,
}

/// Buffers of one computation, long enough for the first level; later ones use their starts.
pub(super) struct Workspace {
    /// The real signal at hand, turned to `[width, height]`.
    pub(super) signal: Vec<f32>,
    planes: [Vec<Complex<f64>>; 2],
    fft: Vec<Complex<f64>>,
    strip: Vec<f32>,
    corner: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(levels: &[Level]) -> Self {
        let size = levels.iter().map(Level::size).fold(0, usize::max);
        let scratch = levels.iter().map(|level| level.fft.scratch_len()).fold(0, usize::max);
        Self {
            signal: vec![0.0; size],
            planes: [vec![Complex::ZERO; size], vec![Complex::ZERO; size]],
            fft: vec![Complex::ZERO; scratch],
            strip: Vec::new(),
            corner: Vec::new(),
        }
    }
}

impl Level {
    /// Level `level` below planes of `sides`.
    pub(super) fn new(
        planner: &mut FftPlannerScalar<f64>,
        sides: [usize; 2],
        level: usize,
        scales: usize,
    ) -> Self {
        let [height, width] = sides.map(|side| side >> level);
        let by_output = filters::average(sides[0], level, scales);
        let mut average_rows = vec![0.0; by_output.len()];
        transpose(&by_output, &mut average_rows, height);
        Self {
            height,
            width,
            fft: Fft2::new(planner, height, width),
            average_rows,
            average_columns: filters::average(sides[1], level, scales),
        }
    }

    fn size(&self) -> usize {
        self.height * self.width
    }

    /// Spectrum of the workspace's signal, which stays.
    pub(super) fn spectrum(&self, room: &mut Workspace, spectrum: &mut [Complex<f64>]) {
        let plane = &mut room.planes[0][..self.size()];
        plane
            .iter_mut()
            .zip(&room.signal)
            .for_each(|(to, &from)| *to = Complex::from(f64::from(from)));
        self.fft.forward(plane, &mut spectrum[..self.size()], &mut room.fft);
    }

    /// Multiplies a spectrum of this level by `filter` and folds it to the size of `coarser`:
    /// subsampling a signal adds the frequencies that become the same.
    pub(super) fn filter(
        &self,
        spectrum: &[Complex<f64>],
        filter: &[f32],
        coarser: &Self,
        room: &mut Workspace,
    ) {
        let folded = &mut room.planes[0][..coarser.size()];
        folded.fill(Complex::ZERO);
        let rows = spectrum.chunks_exact(self.width).zip(filter.chunks_exact(self.width));
        for (row, (values, gains)) in rows.enumerate() {
            let start = row % coarser.height * coarser.width;
            let to = &mut folded[start..start + coarser.width];
            let parts = values.chunks_exact(coarser.width).zip(gains.chunks_exact(coarser.width));
            for (values, gains) in parts {
                for ((sum, value), gain) in to.iter_mut().zip(values).zip(gains) {
                    *sum += value * f64::from(*gain);
                }
            }
        }
    }

    /// The modulus of the filtered signal becomes the signal.
    pub(super) fn modulus(&self, room: &mut Workspace) {
        let [spectrum, plane] = room.planes.each_mut().map(|plane| &mut plane[..self.size()]);
        self.fft.inverse(spectrum, plane, &mut room.fft);
        let values = room.signal.iter_mut().zip(plane.iter());
        values.for_each(|(to, from)| *to = from.norm_sqr().sqrt() as f32);
    }

    /// Averages the workspace's signal into one output map, `[output height, output width]`.
    pub(super) fn average(&self, room: &mut Workspace, map: &mut [f32]) {
        let width = self.average_columns.len() / self.width;
        let signal = &room.signal[..self.size()];
        multiply(&self.average_columns, signal, self.width, &mut room.strip);
        multiply(&room.strip, &self.average_rows, self.height, &mut room.corner);
        transpose(&room.corner, map, map.len() / width);
    }
}

/// Matrix product `[rows, inner] [inner, columns] -> [rows, columns]`, row by row, so that the
/// innermost loop is over independent sums.
fn multiply(left: &[f32], right: &[f32], inner: usize, product: &mut Vec<f32>) {
    let columns = right.len() / inner;
    product.clear();
    product.resize(left.len() / inner * columns, 0.0);
    let rows = left.chunks_exact(inner).zip(product.chunks_exact_mut(columns));
    for (weights, sums) in rows {
        for (weight, values) in weights.iter().zip(right.chunks_exact(columns)) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}
