//! Self-composition of grid losses by FFT, under an exponential tilt.
//!
//! Without the tilt, round-off of about 1e-16 of the whole mass would sit in the tail
//! that delta is made of. Tilted by e^(a loss), the losses around epsilon are the bulk,
//! and round-off is relative to delta.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::cells::Pmf;
use super::cumulants::{Cumulants, Window};
use super::curve::Curve;

/// Most points of the composed grid.
pub(super) const MOST_POINTS: usize = 1 << 21;

/// Bound on the relative error of one FFT, in units of log2(size).
const FFT_ROUND_OFF: f64 = 8.0 * f64::EPSILON;

/// Relative error a step of the grid masses (quadrature, exp, ln); 10^4 times it covers
/// the rounding of the sums and products along the curve.
const MASS_ERROR: f64 = 1e-12;

/// Powers of the characteristic function below e^this are 0.
const NEGLIGIBLE: f64 = -100.0;

/// Grid indices below this are exact, also as floating point numbers.
const MOST_INDEX: f64 = 4_503_599_627_370_496.0;

/// Composes the losses on the grid of step `h` and returns the resulting curve, whose
/// infinite loss has mass `cut`. `None` when the window does not fit the memory bound, or
/// lies so far out, in grid steps, that indices would not be exact.
pub(super) fn compose(
    pmfs: &[(u64, Pmf)],
    tilt: f64,
    h: f64,
    window: Window,
    cut: f64,
) -> Option<Curve> {
    let points = (window.width() / h).ceil() as usize + 2;
    let size = points.next_power_of_two().max(64);
    if size > MOST_POINTS {
        return None;
    }
    let steps: f64 = pmfs.iter().map(|(n, _)| *n as f64).sum();
    let tilted: Vec<_> = pmfs.iter().map(|(n, p)| (*n, p, p.atoms.at(tilt))).collect();
    // The backward loss of hardly any noise is all but constant: its grid is finer than any
    // number of steps times its mean can count.
    let centres = tilted.iter().map(|(n, _, c)| *n as f64 * (c.mean / h).abs().ceil());
    let furthest = (window.least / h).abs().max((window.most / h).abs());
    let countable = centres.sum::<f64>() < MOST_INDEX && furthest < MOST_INDEX;
    if !countable {
        return None;
    }
    let (mut masses, round_off) = convolve(&tilted, tilt, h, size)?;
    // The array is circular: entry k holds the losses (offset + k + j size) h.
    let offset: i64 = tilted.iter().map(|(n, _, c)| *n as i64 * centre(c, h)).sum();
    let spare = (size - points) as i64 / 2;
    let first = (window.least / h).floor() as i64 - spare;
    masses.rotate_left((first - offset).rem_euclid(size as i64) as usize);
    let inflation = 1.0 + MASS_ERROR * (steps + 1e4);
    masses.iter_mut().for_each(|m| *m = (m.max(0.0) + round_off) * inflation);
    let log_moment: f64 = tilted.iter().map(|(n, _, c)| *n as f64 * c.log_moment).sum();
    let origin: f64 = tilted.iter().map(|(n, _, c)| *n as f64 * c.mean).sum();
    let outside = outside(pmfs, tilt, log_moment, window);
    (outside <= 1.0 && round_off.is_finite()).then_some(Curve {
        masses,
        first,
        h,
        tilt,
        origin,
        log_moment,
        outside,
        cut,
    })
}

/// Mean of a tilted step in whole cells; subtracting it keeps phases small.
fn centre(c: &Cumulants, h: f64) -> i64 {
    (c.mean / h).round() as i64
}

/// Chernoff bound on the tilted mass outside the window, from the grid losses themselves.
fn outside(pmfs: &[(u64, Pmf)], tilt: f64, here: f64, window: Window) -> f64 {
    let beyond = |s: f64, y: f64| {
        let log_moment: f64 =
            pmfs.iter().map(|(n, p)| *n as f64 * p.atoms.log_moment(tilt + s)).sum();
        (log_moment - here - s * y).exp()
    };
    beyond(window.tilt_above, window.most) + beyond(-window.tilt_below, window.least)
}

/// The tilted composed masses, circular and relative to the sum of the centres, and a
/// bound on the round-off of each.
fn convolve(
    tilted: &[(u64, &Pmf, Cumulants)],
    tilt: f64,
    h: f64,
    size: usize,
) -> Option<(Vec<f64>, f64)> {
    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(size);
    let mut log_product = vec![Complex::new(0.0, 0.0); size / 2 + 1];
    let mut line = vec![0.0; size];
    let mut spectrum = forward.make_output_vec();
    for (count, pmf, cumulants) in tilted {
        wrap(pmf, tilt, cumulants, h, &mut line);
        forward.process(&mut line, &mut spectrum).ok()?;
        log_product.iter_mut().zip(&spectrum).for_each(|(sum, v)| add_log(sum, *v, *count as f64));
    }
    let mean = exponentials(&log_product, &mut spectrum) / size as f64;
    planner.plan_fft_inverse(size).process(&mut spectrum, &mut line).ok()?;
    line.iter_mut().for_each(|m| *m /= size as f64);
    Some((line, round_off(tilted.iter().map(|t| t.0), size, mean)))
}

/// Fills `line` with the tilted one-step masses, index 0 at their centre, wrapped around.
fn wrap(pmf: &Pmf, tilt: f64, cumulants: &Cumulants, h: f64, line: &mut [f64]) {
    line.fill(0.0);
    let size = line.len();
    let start = (pmf.first - centre(cumulants, h)).rem_euclid(size as i64) as usize;
    for (k, (loss, log_mass)) in pmf.atoms.losses.iter().zip(&pmf.atoms.log_mass).enumerate() {
        line[(start + k) % size] += (tilt.mul_add(*loss, *log_mass) - cumulants.log_moment).exp();
    }
}

/// Adds n ln(value), or -infinity where the power is negligible.
fn add_log(sum: &mut Complex<f64>, value: Complex<f64>, n: f64) {
    let square = value.norm_sqr();
    if square <= (2.0 * NEGLIGIBLE / n).exp() {
        sum.re = f64::NEG_INFINITY;
    } else {
        sum.re += 0.5 * n * square.ln();
        sum.im += n * value.arg();
    }
}

/// Writes the exponentials, and returns the sum of their absolute values over all
/// `size` frequencies.
fn exponentials(logs: &[Complex<f64>], out: &mut [Complex<f64>]) -> f64 {
    let mut total = 0.0;
    for (value, log) in out.iter_mut().zip(logs) {
        *value = Complex::new(0.0, 0.0);
        if log.re > NEGLIGIBLE {
            *value = Complex::from_polar(log.re.exp(), log.im);
            total += 2.0 * log.re.exp();
        }
    }
    // A real signal: these two are real up to rounding, and are no pair.
    let last = out.len() - 1;
    for end in [0, last] {
        total -= out[end].re.abs();
        out[end].im = 0.0;
    }
    total
}

/// Bound on the round-off of one composed mass, with S the mean absolute value of the
/// product of characteristic functions phi_j^n_j.
///
/// An error d in phi becomes n |phi|^(n-1) d; with n |phi|^(n-1) <= 2 n |phi|^n + n 2^(1-n)
/// the mean over all frequencies is at most d (2 n S + n 2^(1-n)).
fn round_off(counts: impl Iterator<Item = u64>, size: usize, mean_product: f64) -> f64 {
    let unit = FFT_ROUND_OFF * (size as f64).log2();
    counts.fold(unit * mean_product, |sum, count| {
        let n = count as f64;
        sum + unit * (2.0 * n * mean_product + n * (1.0 - n).exp2())
    })
}

#[cfg(test)]
mod tests {
    use super::super::cumulants::Atoms;
    use super::*;

    const WHOLE: Window = Window { least: -3.0, most: 6.0, tilt_below: 9.0, tilt_above: 9.0 };

    /// Losses 0, 1 and 2 of grid step 1.
    fn pmf(masses: [f64; 3]) -> Pmf {
        let log_mass = masses.map(f64::ln).to_vec();
        Pmf { first: 0, atoms: Atoms { losses: vec![0.0, 1.0, 2.0], log_mass } }
    }

    #[test]
    fn composition_is_the_convolution_of_the_masses() {
        let (a, b) = (pmf([0.5, 0.3, 0.2]), pmf([0.9, 0.0, 0.1]));
        let curve = compose(&[(2, a), (1, b)], 0.7, 1.0, WHOLE, 0.0).unwrap();
        // (0.5 + 0.3 x + 0.2 x^2)^2 (0.9 + 0.1 x^2), coefficient of x^k.
        let exact = [0.225, 0.27, 0.286, 0.138, 0.065, 0.012, 0.004];
        for (k, mass) in exact.into_iter().enumerate() {
            let at = (k as i64 - curve.first) as usize;
            let untilted = curve.masses[at] * (curve.log_moment - 0.7 * k as f64).exp();
            assert!((untilted - mass).abs() < 1e-7 && untilted >= mass, "{k}: {untilted}");
        }
    }

    #[test]
    fn a_window_beyond_memory_is_refused() {
        let window = Window { most: 1e9, ..WHOLE };
        assert!(compose(&[(1, pmf([0.5, 0.3, 0.2]))], 0.1, 1.0, window, 0.0).is_none());
    }
}
