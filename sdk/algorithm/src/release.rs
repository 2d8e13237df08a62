//! Released gradients: noised sums on the lattice, taken back to gradient space.

use adafed_privacy::Released;

use crate::Error;
use crate::mask::Mask;
use crate::standardise::Standardisation;

/// Exact sum of the releases of `devices` devices over `steps` local steps each, one
/// entry an active coordinate, in grid steps.
///
/// Integers: the sum is the same whatever the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedSum {
    values: Vec<i64>,
    devices: u32,
    steps: u32,
}

impl ReleasedSum {
    /// An empty sum over `active` coordinates, of devices that take `steps` steps each.
    #[must_use]
    pub fn new(active: usize, steps: u32) -> Self {
        Self { values: vec![0; active], devices: 0, steps }
    }

    /// One device's releases, step by step.
    ///
    /// # Errors
    /// [`Error::Length`] when they do not cover the same coordinates.
    pub fn of_steps(releases: &[Released]) -> Result<Self, Error> {
        let active = releases.first().map_or(0, |r| r.values().len());
        let mut sum = Self::new(active, releases.len() as u32);
        releases.iter().try_for_each(|r| sum.add_values(r.values()))?;
        sum.devices = 1;
        Ok(sum)
    }

    /// Adds what one device sent: it left a noise mechanism, so it is public.
    ///
    /// # Errors
    /// [`Error::Length`] when it does not have one value an active coordinate.
    pub fn add_device(&mut self, values: &[i64]) -> Result<(), Error> {
        self.add_values(values)?;
        self.devices += 1;
        Ok(())
    }

    fn add_values(&mut self, values: &[i64]) -> Result<(), Error> {
        let (found, expected) = (values.len(), self.values.len());
        if found != expected {
            return Err(Error::Length { what: "release", found, expected });
        }
        // Saturation bounds what a hostile device can do to a limit of the number
        // format; an honest sum stays far below it.
        self.values.iter_mut().zip(values).for_each(|(s, &v)| *s = s.saturating_add(v));
        Ok(())
    }

    /// The sums, in grid steps.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Devices in the sum.
    #[must_use]
    pub const fn devices(&self) -> u32 {
        self.devices
    }

    /// Local steps of each device.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.steps
    }
}

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
    /// For `found` values that are summed over `devices` with `steps` steps each.
    fn new(
        found: usize,
        uses: (u32, u32),
        mask: &Mask,
        standardisation: &'a Standardisation,
        scale: ReleaseScale,
    ) -> Result<Self, Error> {
        let expected = mask.active_count();
        if found != expected {
            return Err(Error::Length { what: "sum of releases", found, expected });
        }
        let uses = f64::from(uses.0) * f64::from(uses.1);
        if uses == 0.0 {
            let (value, expected) = ("0 devices or steps".to_owned(), "at least one of each");
            return Err(Error::Setting { name: "sum of releases", value, expected });
        }
        Ok(Self { standardisation, mean: scale.grid / (uses * scale.expected_batch) })
    }

    /// Calls `visit` with each active coordinate and its gradient.
    #[inline(always)]
    fn for_each(&self, active: &[u32], values: &[i64], mut visit: impl FnMut(usize, f64)) {
        let (scales, centres) = (self.standardisation.scales(), self.standardisation.centres());
        let each = active.iter().zip(values).map(|(&j, &value)| (j as usize, value as f64));
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

/// A plain SGD step of `parameters` `[d]`, in place, along one device's own release.
///
/// # Errors
/// As [`ReleasedGradient::restore`].
pub fn descend(
    parameters: &mut [f32],
    released: &Released,
    mask: &Mask,
    standardisation: &Standardisation,
    scale: ReleaseScale,
    rate: f64,
) -> Result<(), Error> {
    let values = released.values();
    let restorer = Restorer::new(values.len(), (1, 1), mask, standardisation, scale)?;
    descend_part(parameters, 0, mask.active(), values, &restorer, rate);
    Ok(())
}

/// Coordinates that are moved by one thread at a time.
const PART: usize = 1 << 14;

/// As [`descend`], for the coordinates from `start` on, cut in two for as long as it pays.
fn descend_part(
    parameters: &mut [f32],
    start: usize,
    active: &[u32],
    values: &[i64],
    restorer: &Restorer<'_>,
    rate: f64,
) {
    if active.len() <= PART {
        return restorer.for_each(active, values, |j, gradient| {
            let parameter = &mut parameters[j - start];
            *parameter = (f64::from(*parameter) - rate * gradient) as f32;
        });
    }
    let half = active.len() / 2;
    let border = active[half] as usize;
    let (first, second) = parameters.split_at_mut(border - start);
    rayon::join(
        || descend_part(first, start, &active[..half], &values[..half], restorer, rate),
        || descend_part(second, border, &active[half..], &values[half..], restorer, rate),
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
    /// Restores and averages a sum of releases: g = b S / (K E L) + a on active
    /// coordinates, with noise of standard deviation sigma C b / (L sqrt(K E)).
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
        let (found, uses) = (sum.values.len(), (sum.devices, sum.steps));
        let restorer = Restorer::new(found, uses, mask, standardisation, scale)?;
        let mut gradient = Self::zeros(mask.len());
        let uses = f64::from(sum.devices) * f64::from(sum.steps);
        restorer.for_each(mask.active(), &sum.values, |j, value| {
            let b_over_l = standardisation.scale(j) / scale.expected_batch;
            gradient.values[j] = value;
            gradient.noise_std[j] = scale.noise_std * b_over_l / uses.sqrt();
        });
        Ok(gradient)
    }

    fn zeros(d: usize) -> Self {
        Self { values: vec![0.0; d], noise_std: vec![0.0; d] }
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
