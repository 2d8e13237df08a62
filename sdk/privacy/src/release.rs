//! The only way from private sums to values that may leave: noise, under a permit.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::lattice::{ClippedSum, Places, add_totals};
use crate::ledger::Permit;
use crate::noise::{NoiseMemory, NoiseSeed};
use crate::plan::PrivacyPlan;
use crate::{Error, Event};

/// Noise of one whole release, drawn before the aggregate is known, so that the
/// sampler's running time tells nothing about it.
///
/// It is drawn under a [`Permit`], which only a durable charge gives:
///
/// ```
/// use adafed_privacy::{Error, Noise, NoiseSeed, Permit, PrivacyPlan};
///
/// fn noise(plan: &PrivacyPlan, permit: &Permit, seed: &NoiseSeed) -> Result<Noise, Error> {
///     Noise::draw(plan, permit, seed, 0, 100)
/// }
/// ```
///
/// The event that would be charged is not enough, and a permit cannot be made up:
///
/// ```compile_fail,E0308
/// use adafed_privacy::{Error, Event, Noise, NoiseSeed, PrivacyPlan};
///
/// fn noise(plan: &PrivacyPlan, permit: &Event, seed: &NoiseSeed) -> Result<Noise, Error> {
///     Noise::draw(plan, permit, seed, 0, 100)
/// }
/// ```
///
/// ```compile_fail,E0451
/// use adafed_privacy::{Event, Permit};
///
/// fn permit(event: Event) -> Permit {
///     Permit { task: "mine".into(), round: 0, event }
/// }
/// ```
pub struct Noise {
    values: Vec<i64>,
    event: Event,
}

/// Who sees the noise sees through the release.
impl std::fmt::Debug for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Noise(secret)")
    }
}

impl Noise {
    /// Draws the noise of local step `step` for `active` coordinates.
    ///
    /// # Errors
    /// [`Error::NotCharged`] when the permit does not cover that step of this very plan;
    /// [`Error::Parameter`] for more than [`MOST_COORDINATES`](crate::MOST_COORDINATES), or
    /// a standard deviation above 2^34 grid steps.
    pub fn draw(
        plan: &PrivacyPlan,
        permit: &Permit,
        seed: &NoiseSeed,
        step: u32,
        active: usize,
    ) -> Result<Self, Error> {
        Self::draw_with(&mut NoiseMemory::default(), plan, permit, seed, step, active)
    }

    /// As [`Noise::draw`], with what earlier steps left.
    ///
    /// # Errors
    /// As [`Noise::draw`].
    pub fn draw_with(
        memory: &mut NoiseMemory,
        plan: &PrivacyPlan,
        permit: &Permit,
        seed: &NoiseSeed,
        step: u32,
        active: usize,
    ) -> Result<Self, Error> {
        let event = permit.covers(plan, step)?;
        let std_steps = plan.noise_std_steps(permit.round());
        let values = seed.gaussian(u64::from(step), std_steps, active, memory)?;
        Ok(Self { values, event })
    }

    /// Adds the noise to the exact sum of one step, which may lie in several parts, and
    /// empties them; frozen coordinates are dropped, not noised.
    ///
    /// `places` are those of the sums' own layout.
    ///
    /// # Errors
    /// [`Error::Length`] when the noise was drawn for another number of coordinates, or the
    /// places are those of another sum.
    pub fn release(self, sums: &mut [&mut ClippedSum], places: &Places) -> Result<Released, Error> {
        let (found, expected) = (places.len(), self.values.len());
        if found != expected {
            return Err(Error::Length { what: "active coordinates", found, expected });
        }
        let (found, expected) = (sums.iter().filter(|sum| sum.has(places)).count(), sums.len());
        let (Some(first), true) = (sums.first(), found == expected) else {
            let expected = expected.max(1);
            return Err(Error::Length {
                what: "parts of the sum of these places",
                found,
                expected,
            });
        };
        let (grid, mut values) = (first.lattice().grid(), self.values);
        add_totals(sums, places, &mut values)?;
        sums.par_iter_mut().for_each(|sum| sum.clear());
        Ok(Released { values, grid, event: self.event })
    }
}

/// A noised sum on the lattice, one entry an active coordinate. Anything computed from
/// it is free.
///
/// Only [`Noise::release`] makes one; values without noise cannot be dressed up as one:
///
/// ```compile_fail,E0451
/// use adafed_privacy::{Event, Released};
///
/// fn dressed(values: Vec<i64>, event: Event) -> Released {
///     Released { values, grid: 1.0, event }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    values: Vec<i64>,
    grid: f64,
    event: Event,
}

impl NoiseMemory {
    /// Takes back the memory of a release that nobody needs any more.
    pub fn reuse(&mut self, released: Released) {
        self.take_back(released.values);
    }
}

impl Released {
    /// The noised sums, in grid steps.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Length of a grid step.
    #[must_use]
    pub const fn grid(&self) -> f64 {
        self.grid
    }

    /// The charge under which it was made.
    #[must_use]
    pub const fn event(&self) -> Event {
        self.event
    }
}

/// Sum of the releases of one device's round so far: what is uploaded, and the only thing
/// that the encoder takes.
///
/// It is serialisable because a round in progress is saved; what it is read from is as
/// trusted as the device's own store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoundRelease {
    values: Vec<i64>,
}

impl RoundRelease {
    /// No release yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Adds the release of one step.
    ///
    /// # Errors
    /// [`Error::Length`] when it has another number of coordinates than those before.
    pub fn add(&mut self, released: &Released) -> Result<(), Error> {
        let (found, expected) = (released.values.len(), self.values.len());
        if self.values.is_empty() {
            self.values.resize(found, 0);
        } else if found != expected {
            return Err(Error::Length { what: "a step's release", found, expected });
        }
        self.values.iter_mut().zip(&released.values).for_each(|(s, v)| *s += v);
        Ok(())
    }

    /// In units of 2^`shift` grid steps, to the nearest, halves upwards: post-processing.
    #[must_use]
    pub fn coarsened(&self, shift: u32) -> Self {
        let half = if shift == 0 { 0 } else { 1_i64 << (shift - 1) };
        Self { values: self.values.iter().map(|s| (s + half) >> shift).collect() }
    }

    /// The integers, one an active coordinate.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[i64]) -> RoundRelease {
        RoundRelease { values: values.to_vec() }
    }

    #[test]
    fn coarsening_rounds_to_the_nearest_halves_upwards() {
        assert_eq!(sum(&[7, 8, -8, -9, 24]).coarsened(4).values(), [0, 1, 0, -1, 2]);
        assert_eq!(sum(&[7, -9]).coarsened(0).values(), [7, -9]);
    }
}
