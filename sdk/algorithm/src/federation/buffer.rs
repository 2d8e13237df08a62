//! Buffered asynchronous rounds: late updates, each under its own round's constants.

use serde::{Deserialize, Serialize};

use super::refuse;
use crate::mask::Provenance;
use crate::{Error, Mask, Plans, ReleasedGradient, ReleasedSum, Standardisation};

/// Late updates are taken and weighted by their age (FedBuff, Nguyen et al. 2022,
/// arXiv 2106.06639, Algorithm 1; the weight is its section 5's polynomial).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Rounds that may have passed since an update's own, at least 1.
    pub most_staleness: u32,
    /// An update that is s rounds old weighs (1 + s)^-exponent; at least 0.
    pub exponent: f64,
}

impl Buffer {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        if self.most_staleness == 0 {
            return refuse("most staleness", 0, "at least 1 round");
        }
        if !(0.0..=64.0).contains(&self.exponent) {
            return refuse("staleness exponent", self.exponent, "a number from 0 to 64");
        }
        Ok(())
    }

    /// Weight of an update that is `staleness` rounds old: (1 + s)^-exponent.
    #[must_use]
    pub fn weight(&self, staleness: u64) -> f64 {
        libm::pow(1.0 + staleness as f64, -self.exponent)
    }
}

impl Plans<'_> {
    /// Whether round `round` takes updates that were computed in round `base`: its own, and
    /// under a buffer those that are not too old. The warm-up's gradients are neither
    /// masked nor scaled like those of the main phase and teach importance: they are never
    /// taken into a main round.
    #[must_use]
    pub fn admits(&self, base: u64, round: u64) -> bool {
        let most = self.federation.buffer.map_or(0, |buffer| u64::from(buffer.most_staleness));
        let recent = round.checked_sub(base).is_some_and(|staleness| staleness <= most);
        recent && self.privacy.is_warmup(base) == self.privacy.is_warmup(round)
    }
}

/// The updates of one base round, and what its devices computed them under.
#[derive(Clone, Copy, Debug)]
pub struct BaseRound<'a> {
    /// The round whose model, mask and scale its devices had.
    pub round: u64,
    /// Its mask.
    pub mask: &'a Mask,
    /// Its standardisation.
    pub standardisation: &'a Standardisation,
    /// Its updates.
    pub sum: &'a ReleasedSum,
}

/// One pseudo-gradient of round `round` of the updates of several base rounds, and the mask
/// of the coordinates it covers: those that were active in any of them.
///
/// Each base round's integers are restored under its own noise multiplier and constants;
/// then, at each coordinate, over the base rounds p in which it was active, with
/// w_p = (1 + staleness)^-exponent times the weights of its devices,
/// g = sum w_p g_p / sum w_p and std^2 = sum w_p^2 std_p^2 / (sum w_p)^2,
/// summed in order of staleness. Base rounds without updates count for nothing.
///
/// # Errors
/// [`Error::Setting`] for a base round that is not admitted or comes twice, or where there
/// is no update at all; those of [`ReleasedGradient::restore`].
pub(crate) fn combine(
    plans: Plans<'_>,
    round: u64,
    parts: &[BaseRound<'_>],
) -> Result<(Mask, ReleasedGradient), Error> {
    let mut parts: Vec<&BaseRound<'_>> = parts.iter().filter(|p| p.sum.divisor() > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.round));
    check_rounds(plans, round, &parts)?;
    if let [only] = parts[..] {
        return Ok((only.mask.clone(), restored(plans, only)?));
    }
    let mut sum = Combined::new(plans.layout.len());
    for part in &parts {
        let staleness = plans.federation.buffer.map_or(1.0, |b| b.weight(round - part.round));
        sum.add(part.mask, &restored(plans, part)?, staleness * part.sum.divisor() as f64)?;
    }
    sum.finish(&parts)
}

fn check_rounds(plans: Plans<'_>, round: u64, parts: &[&BaseRound<'_>]) -> Result<(), Error> {
    let twice = parts.windows(2).find(|pair| pair[0].round == pair[1].round).map(|pair| pair[0]);
    let strange = parts.iter().find(|part| !plans.admits(part.round, round)).copied();
    if let Some(part) = twice.or(strange) {
        return refuse("base round", part.round, "each round that the plan admits, once");
    }
    if parts.is_empty() {
        return refuse("sum of releases", "0 devices", "at least one");
    }
    Ok(())
}

fn restored(plans: Plans<'_>, part: &BaseRound<'_>) -> Result<ReleasedGradient, Error> {
    let scale = plans.release_scale(part.round);
    ReleasedGradient::restore(part.sum, part.mask, part.standardisation, scale)
}

/// Weighted sums, `[d]` each.
struct Combined {
    weights: Vec<f64>,
    values: Vec<f64>,
    variances: Vec<f64>,
}

impl Combined {
    fn new(d: usize) -> Self {
        Self { weights: vec![0.0; d], values: vec![0.0; d], variances: vec![0.0; d] }
    }

    fn add(&mut self, mask: &Mask, gradient: &ReleasedGradient, weight: f64) -> Result<(), Error> {
        let (found, expected) = (mask.len(), self.weights.len());
        if found != expected {
            return Err(Error::Length { what: "mask", found, expected });
        }
        for j in mask.indices() {
            self.weights[j] += weight;
            self.values[j] += weight * gradient.values()[j];
            self.variances[j] += (weight * gradient.noise_std()[j]).powi(2);
        }
        Ok(())
    }

    fn finish(self, parts: &[&BaseRound<'_>]) -> Result<(Mask, ReleasedGradient), Error> {
        let d = self.weights.len();
        let active = (0..d as u32).filter(|&j| self.weights[j as usize] > 0.0).collect();
        let released = parts.iter().any(|p| p.mask.provenance() == Provenance::Released);
        let provenance = if released { Provenance::Released } else { Provenance::Public };
        let mask = Mask::published(d, active, provenance)?;
        let mut gradient = ReleasedGradient::zeros(d);
        for j in mask.indices() {
            let weight = self.weights[j];
            gradient.set(j, self.values[j] / weight, self.variances[j].sqrt() / weight);
        }
        Ok((mask, gradient))
    }
}
