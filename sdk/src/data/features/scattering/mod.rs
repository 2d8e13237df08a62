//! Wavelet scattering: moduli of wavelet transforms, averaged over squares of `2^J` pixels.
//!
//! ```text
//! S0 = x * phi,   S1 = |x * psi| * phi,   S2 = ||x * psi| * psi'| * phi
//! ```
//!
//! where `*` is convolution, `phi` a Gaussian and `psi`, `psi'` Morlet wavelets ([`filters`]),
//! `psi'` at a coarser scale than `psi` (Bruna and Mallat 2013, arXiv 1203.1513, section 2).
//! The average makes the features stable under small shifts, the orders keep what it would
//! lose. Linear models on them are the strong baseline of private image recognition (Tramer
//! and Boneh 2021, arXiv 2011.11660, section 2.2).
//!
//! Padding, filters, subsampling and order of the maps are those of kymatio 0.3 (Andreux and
//! others 2020), so that published settings carry over; the tests compare the values.

mod filters;
mod fourier;
mod level;
#[cfg(test)]
mod tests;

use std::fmt;

use rustfft::FftPlannerScalar;
use rustfft::num_complex::Complex;

use self::filters::Wavelet;
use self::level::{Level, Workspace};
use super::{ALWAYS, Features, MayGoOn};
use crate::data::Error;

/// The scattering transform of images, `[c, h, w] -> [c * maps, h / 2^J, w / 2^J]` (rounded
/// down), with `maps = 1 + L J + L^2 J (J - 1) / 2` for `J` scales and `L` angles.
///
/// Channels are transformed one by one. A channel's maps are order 0, then order 1 by scale and
/// angle, then order 2 by the first wavelet and the second one: as
/// `kymatio.numpy.Scattering2D(J, (h, w), L)` gives them for `[c, h, w]`, with the first two
/// dimensions of its answer made one.
///
/// # Edge cases
/// | image | features |
/// | --- | --- |
/// | constant | order 0 is the constant to 3 digits, the rest is 0 up to rounding |
/// | side not divisible by `2^J` | the output's side is rounded down |
/// | values near the largest `f32` | finite, unless a map passes it; [`with_features`] then refuses the example |
///
/// [`with_features`]: crate::data::Examples::with_features
pub struct Scattering {
    input_shape: [usize; 3],
    shape: [usize; 3],
    scales: usize,
    angles: usize,
    /// Source row of every padded row, source column of every padded column.
    reflected: [Vec<usize>; 2],
    /// Level `r` is the padded image subsampled by `2^r`.
    levels: Vec<Level>,
    /// By scale, then by angle.
    wavelets: Vec<Wavelet>,
}

impl Scattering {
    /// The transform of images `[channels, height, width]` over `scales` octaves (`J`) and
    /// `angles` directions (`L`, 8 in the literature). Filters are made here, once.
    ///
    /// # Errors
    /// [`Error::Scattering`] if `scales` or `angles` is 0 or a side is shorter than `2^scales`,
    /// [`Error::Shape`] if there is no channel or the features are too many to address.
    pub fn new(input_shape: [usize; 3], scales: usize, angles: usize) -> Result<Self, Error> {
        let made = Self::new_while(input_shape, scales, angles, ALWAYS)?;
        Ok(made.expect("nothing calls it off"))
    }

    /// As [`Scattering::new`]; none when called off.
    pub(super) fn new_while(
        input_shape: [usize; 3],
        scales: usize,
        angles: usize,
        may_go_on: MayGoOn<'_>,
    ) -> Result<Option<Self>, Error> {
        let shape = output_shape(input_shape, scales, angles)?;
        let [_, height, width] = input_shape;
        let (padded_height, padded_width) = (padded(height, scales), padded(width, scales));
        let wavelets = filters::wavelets([padded_height, padded_width], scales, angles, may_go_on);
        let Some(wavelets) = wavelets else { return Ok(None) };
        let mut planner = FftPlannerScalar::new();
        let levels = (0..scales)
            .map(|level| Level::new(&mut planner, [padded_height, padded_width], level, scales))
            .collect();
        Ok(Some(Self {
            input_shape,
            shape,
            scales,
            angles,
            reflected: [reflect(height, padded_height), reflect(width, padded_width)],
            levels,
            wavelets,
        }))
    }

    /// All maps of one channel.
    fn scatter(&self, image: &[f32], output: &mut [f32], room: &mut Workspace) {
        let area = self.shape[1] * self.shape[2];
        let (low, high) = output.split_at_mut((1 + self.wavelets.len()) * area);
        let (order_0, order_1) = low.split_at_mut(area);
        self.pad(image, &mut room.signal);
        self.levels[0].average(room, order_0);
        let mut image_spectrum = vec![Complex::ZERO; room.signal.len()];
        self.levels[0].spectrum(room, &mut image_spectrum);
        let mut envelope_spectrum = image_spectrum.clone();
        let mut order_2 = high.chunks_exact_mut(area);
        for (wavelet, map) in self.wavelets.iter().zip(order_1.chunks_exact_mut(area)) {
            self.envelope(wavelet, 0, &image_spectrum, room);
            self.levels[wavelet.scale].average(room, map);
            let coarser = &self.wavelets[(wavelet.scale + 1) * self.angles..];
            if coarser.is_empty() {
                continue;
            }
            self.levels[wavelet.scale].spectrum(room, &mut envelope_spectrum);
            for (next, map) in coarser.iter().zip(&mut order_2) {
                self.envelope(next, wavelet.scale, &envelope_spectrum, room);
                self.levels[next.scale].average(room, map);
            }
        }
    }

    /// `|x * psi|`, subsampled to the wavelet's own scale, from the `spectrum` of `x` at `level`.
    fn envelope(
        &self,
        wavelet: &Wavelet,
        level: usize,
        spectrum: &[Complex<f64>],
        room: &mut Workspace,
    ) {
        let (from, to) = (&self.levels[level], &self.levels[wavelet.scale]);
        from.filter(spectrum, &wavelet.levels[level], to, room);
        to.modulus(room);
    }

    /// Writes the padded image, turned to `[width, height]`.
    fn pad(&self, image: &[f32], turned: &mut Vec<f32>) {
        let [rows, columns] = &self.reflected;
        let width = self.input_shape[2];
        turned.clear();
        for column in columns {
            turned.extend(rows.iter().map(|row| image[row * width + column]));
        }
    }
}

impl Features for Scattering {
    fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let ([channels, height, width], [maps, rows, columns]) = (self.input_shape, self.shape);
        let mut room = Workspace::new(&self.levels);
        let images = inputs.chunks_exact(height * width);
        for (image, maps) in images.zip(outputs.chunks_exact_mut(maps / channels * rows * columns))
        {
            self.scatter(image, maps, &mut room);
        }
    }
}

impl fmt::Debug for Scattering {
    /// Without the filters, which are long and follow from these.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scattering")
            .field("input_shape", &self.input_shape)
            .field("shape", &self.shape)
            .field("scales", &self.scales)
            .field("angles", &self.angles)
            .finish_non_exhaustive()
    }
}

pub(super) fn output_shape(
    input: [usize; 3],
    scales: usize,
    angles: usize,
) -> Result<[usize; 3], Error> {
    let [channels, height, width] = input;
    let fits = |side: usize| scales < usize::BITS as usize && side >> scales > 0;
    if scales == 0 || angles == 0 || !fits(height) || !fits(width) {
        return Err(Error::Scattering { shape: input.to_vec(), scales, angles });
    }
    let features = maps(scales, angles)
        .and_then(|maps| maps.checked_mul(channels))
        .map(|maps| [maps, height >> scales, width >> scales])
        .filter(|&shape| addressable(shape, size_of::<f32>()));
    // Padding makes a side at most three times as long.
    let padded = addressable(input, 9 * size_of::<Complex<f64>>());
    features.filter(|_| padded).ok_or_else(|| Error::Shape { shape: input.to_vec() })
}

/// `1 + L J + L^2 J (J - 1) / 2`.
fn maps(scales: usize, angles: usize) -> Option<usize> {
    let order_1 = angles.checked_mul(scales)?;
    let order_2 = angles.checked_mul(angles)?.checked_mul(scales * (scales - 1) / 2)?;
    order_1.checked_add(order_2)?.checked_add(1)
}

/// Whether a buffer of this shape is neither empty nor longer than any can be.
fn addressable(shape: [usize; 3], bytes_each: usize) -> bool {
    let bytes = shape.iter().try_fold(bytes_each, |bytes, &side| bytes.checked_mul(side));
    bytes.is_some_and(|bytes| (1..=isize::MAX as usize).contains(&bytes))
}

/// A side with room for reflection: at least `2^J` more, and a multiple of that, so that a
/// whole output pixel lies before the image and another one behind it.
pub(super) fn padded(side: usize, scales: usize) -> usize {
    ((side >> scales) + 2) << scales
}

/// Where each position of a padded side comes from: reflection about the first and the last
/// pixel, neither repeated; an odd pixel of padding goes to the end.
fn reflect(side: usize, padded: usize) -> Vec<usize> {
    let (before, last) = ((padded - side) / 2, side - 1);
    (0..padded)
        .map(|position| {
            let distance = position.abs_diff(before) % (2 * last);
            distance.min(2 * last - distance)
        })
        .collect()
}
