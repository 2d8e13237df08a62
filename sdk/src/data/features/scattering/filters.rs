//! The wavelets and the averages, made in `f64`.
//!
//! With `J` scales and `L` angles, and `u` a pixel's offset from the origin (wrapped around,
//! since convolution in Fourier space is circular):
//!
//! ```text
//! g(u)   = exp(-u' C u / (2 s^2)) / (2 pi s^2 / slant),  C = R(t) diag(1, slant^2) R(-t)
//! psi(u) = g(u) (exp(i xi u.(cos t, sin t)) - K),  K such that psi sums to 0
//! s = 0.8 2^j,  xi = 3 pi / (4 2^j),  slant = 4 / L,  t = (L / 2 - 1 - l) pi / L
//! phi(u) = exp(-|u|^2 / (2 s^2)) / (2 pi s^2),  s = 0.8 2^(J - 1)
//! ```

use std::f64::consts::PI;

use rayon::prelude::*;
use rustfft::FftPlannerScalar;
use rustfft::num_complex::Complex;

use super::fourier::Fft2;
use crate::data::features::MayGoOn;

/// kymatio norms its filters with this.
#[expect(clippy::approx_constant, reason = "the missing digits show at the tests' tolerance")]
const PI_OF_NORMS: f64 = 3.1415;
/// Copies of a filter that wrap around, to either side.
const WRAPS: i32 = 2;

/// One Morlet wavelet.
pub(super) struct Wavelet {
    /// `j`: the output is subsampled by `2^j`.
    pub(super) scale: usize,
    /// Its spectrum (real) at each level that it is applied at, `[height, width]`, over the
    /// size of that level: the norm of the inverse transform behind it, and of the folding.
    pub(super) levels: Vec<Vec<f32>>,
}

/// All wavelets for planes `[height, width]`, by scale and then by angle; none when called off.
pub(super) fn wavelets(
    [height, width]: [usize; 2],
    scales: usize,
    angles: usize,
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<Wavelet>> {
    let fft = Fft2::new(&mut FftPlannerScalar::new(), height, width);
    (0..scales * angles)
        .into_par_iter()
        .map(|index| {
            if !may_go_on() {
                return None;
            }
            let (scale, angle) = (index / angles, index % angles);
            let mut signal = Morlet::new(scale, angle, angles).sample(height, width);
            let mut spectrum = signal.clone();
            fft.forward(&mut signal, &mut spectrum, &mut vec![Complex::ZERO; fft.scratch_len()]);
            // Order 1 applies it to the image, order 2 to envelopes of the finer scales.
            let levels = (0..scale.max(1)).map(|level| crop(&spectrum, [height, width], level));
            Some(Wavelet { scale, levels: levels.collect() })
        })
        .collect()
}

/// A Morlet wavelet as a function on the plane.
struct Morlet {
    /// `[rows^2, 2 rows columns, columns^2]` of the exponent of `g`.
    curvature: [f64; 3],
    /// Radians a pixel, along rows' and columns' numbers.
    frequency: [f64; 2],
    norm: f64,
}

impl Morlet {
    fn new(scale: usize, angle: usize, angles: usize) -> Self {
        let octave = (scale as f64).exp2();
        let (sigma, slant) = (0.8 * octave, 4.0 / angles as f64);
        // kymatio rounds L / 2 - 1 towards zero.
        let turns = (angles as f64 / 2.0 - 1.0).trunc() - angle as f64;
        let (sin, cos) = (turns * PI / angles as f64).sin_cos();
        let (along, across) = (0.5 / (sigma * sigma), 0.5 * (slant / sigma).powi(2));
        let xi = 0.75 * PI / octave;
        Self {
            curvature: [
                along * cos * cos + across * sin * sin,
                (along - across) * sin * cos,
                along * sin * sin + across * cos * cos,
            ],
            frequency: [xi * cos, xi * sin],
            norm: 2.0 * PI_OF_NORMS * sigma * sigma / slant,
        }
    }

    /// `psi` on a plane, turned to `[width, height]`.
    fn sample(&self, height: usize, width: usize) -> Vec<Complex<f64>> {
        let places = (0..width).flat_map(|column| (0..height).map(move |row| (row, column)));
        let (gabor, gauss): (Vec<_>, Vec<_>) =
            places.map(|(row, column)| self.wrapped([row, column], [height, width])).unzip();
        let total: Complex<f64> = gabor.iter().sum();
        let offset = total / gauss.iter().sum::<f64>();
        gabor.iter().zip(gauss).map(|(wave, envelope)| wave - offset * envelope).collect()
    }

    /// `g(u) exp(i xi u.(cos t, sin t))` and `g(u)`, summed over the copies of the plane.
    fn wrapped(&self, place: [usize; 2], sides: [usize; 2]) -> (Complex<f64>, f64) {
        let [xx, xy, yy] = self.curvature;
        let mut sums = (Complex::ZERO, 0.0);
        for x in copies(place[0], sides[0]) {
            for y in copies(place[1], sides[1]) {
                let envelope = (-(xx * x * x + 2.0 * xy * x * y + yy * y * y)).exp() / self.norm;
                let phase = self.frequency[0] * x + self.frequency[1] * y;
                sums.0 += Complex::from_polar(envelope, phase);
                sums.1 += envelope;
            }
        }
        sums
    }
}

/// Offsets of a position and of its copies in the neighbouring planes.
fn copies(position: usize, side: usize) -> impl Iterator<Item = f64> {
    (-WRAPS..=WRAPS).map(move |wrap| position as f64 + f64::from(wrap) * side as f64)
}

/// The low frequencies of a spectrum: that of the filter at `level`, over the level's size.
fn crop(spectrum: &[Complex<f64>], sides: [usize; 2], level: usize) -> Vec<f32> {
    let [height, width] = sides;
    let size = ((height >> level) * (width >> level)) as f64;
    let rows = low_frequencies(height, level);
    rows.flat_map(|row| low_frequencies(width, level).map(move |column| row * width + column))
        .map(|place| (spectrum[place].re / size) as f32)
        .collect()
}

/// Where the frequencies of `level` are in a spectrum of `side` of them; the negative ones are
/// at its end.
fn low_frequencies(side: usize, level: usize) -> impl Iterator<Item = usize> {
    let half = side >> level >> 1;
    (0..half).chain(side - half..side)
}

/// The average along one side, as a matrix `[outputs, side / 2^level]`. `phi` is a product of
/// a function of rows and one of columns, so two of these are the two-dimensional average,
/// its subsampling and the cut of the padding.
pub(super) fn average(side: usize, level: usize, scales: usize) -> Vec<f32> {
    let sigma = 0.8 * (scales as f64 - 1.0).exp2();
    let norm = (2.0 * PI_OF_NORMS).sqrt() * sigma;
    let gauss = |x: f64| (-0.5 * (x / sigma).powi(2)).exp() / norm;
    let mut planner = FftPlannerScalar::new();
    let mut filter: Vec<Complex<f64>> =
        (0..side).map(|x| Complex::from(copies(x, side).map(gauss).sum::<f64>())).collect();
    planner.plan_fft_forward(side).process(&mut filter);
    let mut filter: Vec<_> = low_frequencies(side, level).map(|place| filter[place]).collect();
    let short = filter.len();
    planner.plan_fft_inverse(short).process(&mut filter);
    // The first and the last output lie in the padding.
    (1..(side >> scales) - 1)
        .map(|output| output << (scales - level))
        .flat_map(|centre| (0..short).map(move |x| (centre + short - x) % short))
        .map(|offset| (filter[offset].re / short as f64) as f32)
        .collect()
}
