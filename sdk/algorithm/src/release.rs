//! Released gradients: noised sums on the lattice, taken back to gradient space.

use adafed_privacy::Released;

use crate::Error;
use crate::aggregation::ReleasedSum;
use crate::error::check_finite;
use crate::mask::Mask;
use crate::standardise::Standardisation;

/// The constants that take a sum on the lattice back to a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReleaseScale {
    /// Length of one grid step, in standardised gradient units.
    pub grid: f64,
    /// Standard deviation sigma*C of one step's noise, in standardised gradient units.
    pub noise_std: f64,
    /// Expected batch size L, the only divisor.
    pub expected_batch: f64,
}

/// What takes sums of releases back to gradients: g = b S grid / (uses L) + a.
struct Restorer<'a> {
    standardisation: &'a Standardisation,
    /// grid / (uses L)
    mean: f64,
}

impl<'a> Restorer<'a> {
    /// For `found` values that are sums of `uses` steps.
    fn new(
        found: usize,
        uses: f64,
        mask: &Mask,
        standardisation: &'a Standardisation,
        scale: ReleaseScale,
    ) -> Result<Self, Error> {
        let expected = mask.active_count();
        if found != expected {
            return Err(Error::Length { what: "sum of releases", found, expected });
        }
        if uses == 0.0 {
            let (value, expected) = ("0 devices or steps".to_owned(), "at least one of each");
            return Err(Error::Setting { name: "sum of releases", value, expected });
        }
        Ok(Self { standardisation, mean: scale.grid / (uses * scale.expected_batch) })
    }

    /// Calls `visit` with each active coordinate and its gradient.
    #[inline(always)]
    fn for_each(
        &self,
        active: &[u32],
        values: impl Iterator<Item = f64>,
        mut visit: impl FnMut(usize, f64),
    ) {
        let (scales, centres) = (self.standardisation.scales(), self.standardisation.centres());
        let each = active.iter().zip(values).map(|(&j, value)| (j as usize, value));
        let mean = self.mean;
        // Which of them there are is asked once, not for each coordinate.
        match (scales, centres) {
            (None, None) => each.for_each(|(j, value)| visit(j, value * mean)),
            (Some(b), None) => each.for_each(|(j, v)| visit(j, f64::from(b[j]) * (v * mean))),
            (None, Some(a)) => each.for_each(|(j, v)| visit(j, v * mean + f64::from(a[j]))),
            (Some(b), Some(a)) => each.for_each(|(j, value)| {
                visit(j, f64::from(b[j]) * (value * mean) + f64::from(a[j]));
            }),
        }
    }
}

/// FedProx's pull (Li et al. 2020, arXiv 1812.06127): the gradient of mu/2 |w - w0|^2.
#[derive(Clone, Copy, Debug)]
pub struct Proximal<'a> {
    /// mu.
    pub strength: f64,
    /// w0: the model that the round started from, `[d]`.
    pub start: &'a [f32],
}

/// A plain SGD step of `parameters` `[d]`, in place, along one device's own release:
/// w <- w - rate (g + mu (w - w0)) on active coordinates; on frozen ones w is w0.
/// Post-processing of a release.
///
/// # Errors
/// As [`ReleasedGradient::restore`], and [`Error::Length`] or [`Error::NotFinite`] for a w0
/// that does not fit.
pub fn descend(
    parameters: &mut [f32],
    released: &Released,
    mask: &Mask,
    standardisation: &Standardisation,
    scale: ReleaseScale,
    rate: f64,
    proximal: Option<Proximal<'_>>,
) -> Result<(), Error> {
    let values = released.values();
    let restorer = Restorer::new(values.len(), 1.0, mask, standardisation, scale)?;
    let active = mask.active();
    match proximal {
        None => {
            let step = |_, w: f64, gradient: f64| w - rate * gradient;
            descend_part(parameters, 0, active, values, &restorer, &step);
        }
        Some(Proximal { strength, start }) => {
            check_finite("start of the round", start, parameters.len())?;
            let pull = |j: usize, w: f64| strength * (w - f64::from(start[j]));
            let step = |j, w: f64, gradient: f64| w - rate * (gradient + pull(j, w));
            descend_part(parameters, 0, active, values, &restorer, &step);
        }
    }
    Ok(())
}

/// Coordinates that are moved by one thread at a time.
const PART: usize = 1 << 14;

/// Replaces each active coordinate w from `start` on by `step(j, w, gradient)`; cut in two
/// for as long as it pays.
fn descend_part(
    parameters: &mut [f32],
    start: usize,
    active: &[u32],
    values: &[i64],
    restorer: &Restorer<'_>,
    step: &(impl Fn(usize, f64, f64) -> f64 + Sync),
) {
    if active.len() <= PART {
        return restorer.for_each(active, values.iter().map(|&v| v as f64), |j, gradient| {
            let parameter = &mut parameters[j - start];
            *parameter = step(j, f64::from(*parameter), gradient) as f32;
        });
    }
    let half = active.len() / 2;
    let border = active[half] as usize;
    let (first, second) = parameters.split_at_mut(border - start);
    rayon::join(
        || descend_part(first, start, &active[..half], &values[..half], restorer, step),
        || descend_part(second, border, &active[half..], &values[half..], restorer, step),
    );
}

/// A gradient estimate that left a noise mechanism, dense over all `d` coordinates
/// (0 where frozen), with the standard deviation of its noise.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasedGradient {
    values: Vec<f64>,
    noise_std: Vec<f64>,
}

impl ReleasedGradient {
    /// Restores and averages a sum of releases: g = b S / (W E L) + a on active
    /// coordinates, with noise of standard deviation sigma C b / (L sqrt(K E)), where W is
    /// the sum's divisor and K its [`ReleasedSum::effective_devices`]; without weights both
    /// are the number of devices.
    ///
    /// `a` is added once: n/L is not used, because n is private.
    ///
    /// # Errors
    /// [`Error::Length`] when the sum and the mask disagree; [`Error::Setting`] for a
    /// sum of no device.
    pub fn restore(
        sum: &ReleasedSum,
        mask: &Mask,
        standardisation: &Standardisation,
        scale: ReleaseScale,
    ) -> Result<Self, Error> {
        let (found, steps) = (sum.values().len(), f64::from(sum.steps()));
        let uses = sum.divisor() as f64 * steps;
        let restorer = Restorer::new(found, uses, mask, standardisation, scale)?;
        let mut gradient = Self::zeros(mask.len());
        let noise_uses = sum.effective_devices() * steps;
        restorer.for_each(mask.active(), sum.values().iter().map(|&v| v as f64), |j, value| {
            let b_over_l = standardisation.scale(j) / scale.expected_batch;
            gradient.values[j] = value;
            gradient.noise_std[j] = scale.noise_std * b_over_l / noise_uses.sqrt();
        });
        Ok(gradient)
    }

    pub(crate) fn zeros(d: usize) -> Self {
        Self { values: vec![0.0; d], noise_std: vec![0.0; d] }
    }

    /// Sets one coordinate to a combination of releases.
    pub(crate) fn set(&mut self, j: usize, value: f64, noise_std: f64) {
        (self.values[j], self.noise_std[j]) = (value, noise_std);
    }

    /// A gradient from published values: for conformance with the reference, which
    /// works on real numbers instead of the lattice. For tests only: nothing says that the
    /// values left a mechanism.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn published(values: Vec<f64>, noise_std: Vec<f64>) -> Self {
        Self { values, noise_std }
    }

    /// The estimate, one value a coordinate.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Standard deviation of the noise, one value a coordinate.
    #[must_use]
    pub fn noise_std(&self) -> &[f64] {
        &self.noise_std
    }
}
