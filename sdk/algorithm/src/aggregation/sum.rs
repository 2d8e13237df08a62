//! Exact sums of releases.

use adafed_privacy::Released;

use crate::Error;

/// What a rule makes of the releases of several devices over `steps` local steps each: one
/// integer an active coordinate, in grid steps, over one divisor.
///
/// Integers: the same whatever the order of arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasedSum {
    values: Vec<i128>,
    devices: u32,
    steps: u32,
    /// Sum of the weights.
    divisor: u64,
    /// Sum of the squared weights.
    squares: u128,
    /// Variance of the outcome's noise in that of one device's, where it is not that of a
    /// weighted mean.
    variance: Option<f64>,
}

impl ReleasedSum {
    /// An empty sum over `active` coordinates, of devices that take `steps` steps each.
    #[must_use]
    pub fn new(active: usize, steps: u32) -> Self {
        let values = vec![0; active];
        Self { values, devices: 0, steps, divisor: 0, squares: 0, variance: None }
    }

    /// One device's releases, step by step.
    ///
    /// # Errors
    /// [`Error::Length`] when they do not cover the same coordinates.
    pub fn of_steps(releases: &[Released]) -> Result<Self, Error> {
        let active = releases.first().map_or(0, |r| r.values().len());
        let mut sum = Self::new(active, releases.len() as u32);
        releases.iter().try_for_each(|r| sum.add_values(r.values(), 1))?;
        sum.count(1);
        Ok(sum)
    }

    /// Adds what one device sent: it left a noise mechanism, so it is public.
    ///
    /// # Errors
    /// [`Error::Length`] when it does not have one value an active coordinate.
    pub fn add_device(&mut self, values: &[i64]) -> Result<(), Error> {
        self.add_weighted(values, 1)
    }

    /// As [`ReleasedSum::add_device`], `weight` times.
    ///
    /// # Errors
    /// As [`ReleasedSum::add_device`].
    pub fn add_weighted(&mut self, values: &[i64], weight: u32) -> Result<(), Error> {
        self.add_values(values, weight)?;
        self.count(weight);
        Ok(())
    }

    /// What a rule made of `devices` updates: `values` over `divisor`, with the given
    /// variance of its noise in that of one device's.
    pub(super) fn of_rule(&self, values: Vec<i128>, devices: u32, divisor: u64, var: f64) -> Self {
        let (steps, squares, variance) = (self.steps, 0, Some(var));
        Self { values, devices, steps, divisor, squares, variance }
    }

    /// As if `devices` devices had sent updates of which this is what was kept.
    pub(super) fn kept_of(self, devices: u32) -> Self {
        Self { devices, ..self }
    }

    fn count(&mut self, weight: u32) {
        self.devices += 1;
        self.divisor += u64::from(weight);
        self.squares += u128::from(weight) * u128::from(weight);
    }

    /// 2^32 devices of weight below 2^32 with values of at most 2^63 stay below 2^127, so
    /// the sum is exact whatever hostile devices send.
    fn add_values(&mut self, values: &[i64], weight: u32) -> Result<(), Error> {
        let (found, expected) = (values.len(), self.values.len());
        if found != expected {
            return Err(Error::Length { what: "release", found, expected });
        }
        let weight = i128::from(weight);
        self.values.iter_mut().zip(values).for_each(|(s, &v)| *s += weight * i128::from(v));
        Ok(())
    }

    /// The sums, in grid steps.
    #[must_use]
    pub fn values(&self) -> &[i128] {
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

    /// What the sums are divided by for a device's mean update: the sum of the weights.
    #[must_use]
    pub const fn divisor(&self) -> u64 {
        self.divisor
    }

    /// Devices of equal weight whose mean has as much noise as this: (sum w)^2 / sum w^2
    /// for weights w; 0 for a sum of no device.
    #[must_use]
    pub fn effective_devices(&self) -> f64 {
        match self.variance {
            Some(variance) => 1.0 / variance,
            None if self.divisor == 0 => 0.0,
            None => (self.divisor as f64).powi(2) / self.squares as f64,
        }
    }
}
