//! Standardisation of per-example gradients: centre, scale, THEN mask.

use crate::Error;
use crate::error::check_finite;
use crate::mask::Mask;

/// The public constants of one round's standardisation, dense over `d` coordinates, in
/// the f32 values that device and server share.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardisation {
    centre: Option<Vec<f32>>,
    scale: Option<Vec<f32>>,
}

impl Standardisation {
    /// a = 0, b = 1: plain DP-SGD clipping.
    #[must_use]
    pub const fn none() -> Self {
        Self { centre: None, scale: None }
    }

    /// Centre a and scale b, each `[d]` or absent (0 and 1).
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::NotFinite`], or [`Error::Setting`] for a scale that
    /// is not above 0.
    pub fn new(d: usize, centre: Option<Vec<f32>>, scale: Option<Vec<f32>>) -> Result<Self, Error> {
        centre.as_deref().map_or(Ok(()), |a| check_finite("centre", a, d))?;
        scale.as_deref().map_or(Ok(()), |b| check_finite("scale", b, d))?;
        if let Some(b) = scale.iter().flatten().find(|b| **b <= 0.0) {
            let (value, expected) = (b.to_string(), "a scale above 0 on every coordinate");
            return Err(Error::Setting { name: "scale", value, expected });
        }
        Ok(Self { centre, scale })
    }

    /// Centre a of coordinate `j`.
    #[must_use]
    pub fn centre(&self, j: usize) -> f64 {
        self.centre.as_ref().map_or(0.0, |a| f64::from(a[j]))
    }

    /// Scale b of coordinate `j`.
    #[must_use]
    pub fn scale(&self, j: usize) -> f64 {
        self.scale.as_ref().map_or(1.0, |b| f64::from(b[j]))
    }

    /// Centres, `[d]`; `None` is 0 everywhere.
    #[must_use]
    pub fn centres(&self) -> Option<&[f32]> {
        self.centre.as_deref()
    }

    /// Scales, `[d]`; `None` is 1 everywhere.
    #[must_use]
    pub fn scales(&self) -> Option<&[f32]> {
        self.scale.as_deref()
    }

    /// Prepares the pass over many gradients under one mask.
    #[must_use]
    pub fn masked(&self, mask: &Mask) -> MaskedStandardisation {
        let d = mask.len();
        let mut gain = vec![0.0; d];
        mask.indices().for_each(|j| gain[j] = (1.0 / self.scale(j)) as f32);
        let plain = self.scale.is_none() && mask.active_count() == d;
        MaskedStandardisation { centre: self.centre.clone(), gain: (!plain).then_some(gain) }
    }
}

/// w = (g - a) * (mask / b), ready to be applied in one pass.
#[derive(Clone, Debug)]
pub struct MaskedStandardisation {
    centre: Option<Vec<f32>>,
    gain: Option<Vec<f32>>,
}

impl MaskedStandardisation {
    /// What each coordinate is multiplied with, `[d]`: mask / b; `None` is 1 everywhere.
    #[must_use]
    pub fn gains(&self) -> Option<&[f32]> {
        self.gain.as_deref()
    }

    /// What is taken off each coordinate, `[d]`; `None` is 0 everywhere.
    #[must_use]
    pub fn centres(&self) -> Option<&[f32]> {
        self.centre.as_deref()
    }

    /// Standardises a gradient of `d` entries in place. Vectorised by the caller's
    /// dispatch; a NaN on a frozen coordinate stays a NaN, so that the broken example
    /// is dropped as a whole.
    #[inline(always)]
    pub fn apply(&self, gradient: &mut [f32]) {
        if let Some(a) = &self.centre {
            gradient.iter_mut().zip(a).for_each(|(g, a)| *g -= a);
        }
        if let Some(gain) = &self.gain {
            gradient.iter_mut().zip(gain).for_each(|(g, w)| *g *= w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Provenance;

    #[test]
    fn masking_comes_after_centring() {
        // Masking first would leave -a/b on frozen coordinates and waste the norm on it.
        let standardisation =
            Standardisation::new(2, Some(vec![5.0, 5.0]), Some(vec![2.0, 2.0])).unwrap();
        let mask = Mask::published(2, vec![0], Provenance::Released).unwrap();
        let mut gradient = [7.0, 3.0];
        standardisation.masked(&mask).apply(&mut gradient);
        assert_eq!(gradient, [1.0, 0.0]);
    }

    #[test]
    fn impossible_constants_are_refused() {
        assert!(Standardisation::new(2, Some(vec![0.0]), None).is_err());
        assert!(Standardisation::new(1, Some(vec![f32::NAN]), None).is_err());
        assert!(Standardisation::new(1, None, Some(vec![0.0])).is_err());
    }
}
