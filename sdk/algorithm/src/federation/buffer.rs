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

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::aggregation::Weights;
    use crate::{Aggregation, Collector, FederationPlan, Layout, TensorLayout, fixture};

    const D: usize = 24;
    const ROUND: u64 = 9;

    fn buffered(weights: Weights) -> FederationPlan {
        let buffer = Some(Buffer { most_staleness: 3, exponent: 0.5 });
        FederationPlan { buffer, weights, ..FederationPlan::DEFAULT }
    }

    fn with_plans<T>(federation: &FederationPlan, use_them: impl FnOnce(Plans<'_>) -> T) -> T {
        let (privacy, algorithm) = (fixture::privacy(2), fixture::algorithm());
        let layout = Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![D] }] };
        let (privacy, algorithm, layout) = (&privacy, &algorithm, &layout);
        use_them(Plans { layout, privacy, algorithm, federation })
    }

    fn mask(active: &[u32]) -> Mask {
        Mask::published(D, active.to_vec(), Provenance::Released).unwrap()
    }

    /// A base round of equal values, one a device.
    fn sum(active: usize, values: &[i64]) -> ReleasedSum {
        let mut sum = ReleasedSum::new(active, 2);
        values.iter().for_each(|&v| sum.add_device(&vec![v; active]).unwrap());
        sum
    }

    #[test]
    fn a_coordinate_is_averaged_over_the_rounds_in_which_it_was_active() {
        let (old, new) = (mask(&[0, 1, 2]), mask(&[2, 3]));
        let scales = |b: f32| Standardisation::new(D, None, Some(vec![b; D])).unwrap();
        let (old_scale, new_scale) = (scales(2.0), scales(1.0));
        let (old_sum, new_sum) = (sum(3, &[4_000, 6_000]), sum(2, &[900]));
        let late = BaseRound { round: 7, mask: &old, standardisation: &old_scale, sum: &old_sum };
        let fresh = BaseRound { round: 9, mask: &new, standardisation: &new_scale, sum: &new_sum };
        with_plans(&buffered(Weights::Uniform), |plans| {
            let (mask, gradient) = combine(plans, ROUND, &[late, fresh]).unwrap();
            assert_eq!(mask.active(), [0, 1, 2, 3]);
            let alone = |part| combine(plans, ROUND, &[part]).unwrap().1;
            let (old, new) = (alone(late), alone(fresh));
            // Two devices of age 2 against one of age 0.
            let (a, b) = (2.0 * 3_f64.powf(-0.5), 1.0);
            let mean = |j: usize, of: fn(&ReleasedGradient) -> &[f64]| {
                (a * of(&old)[j] + b * of(&new)[j]) / (a + b)
            };
            assert!((gradient.values()[2] - mean(2, ReleasedGradient::values)).abs() < 1e-15);
            assert!((gradient.values()[0] - old.values()[0]).abs() < 1e-15);
            assert!((gradient.values()[3] - new.values()[3]).abs() < 1e-15);
            let (p, q) = (a * old.noise_std()[2], b * new.noise_std()[2]);
            assert!((gradient.noise_std()[2] - p.hypot(q) / (a + b)).abs() < 1e-12);
            assert_eq!((gradient.values()[5], gradient.noise_std()[5]), (0.0, 0.0));
            let turned = combine(plans, ROUND, &[fresh, late]).unwrap();
            assert_eq!(turned, (mask, gradient), "the order of parts does not matter");
        });
    }

    #[test]
    fn warm_up_updates_stay_in_the_warm_up() {
        with_plans(&buffered(Weights::Uniform), |plans| {
            // Rounds 0 to 2 are the warm-up; three rounds of staleness are allowed.
            let admitted = |round| (0..9).filter(|b| plans.admits(*b, round)).collect::<Vec<_>>();
            assert_eq!(admitted(2), [0, 1, 2]);
            assert_eq!(admitted(3), [3]);
            assert_eq!(admitted(5), [3, 4, 5]);
            assert_eq!(admitted(8), [5, 6, 7, 8]);
        });
        with_plans(&FederationPlan::DEFAULT, |plans| {
            assert!(plans.admits(5, 5) && !plans.admits(4, 5) && !plans.admits(6, 5));
        });
    }

    #[test]
    fn base_rounds_without_updates_count_for_nothing() {
        let (full, none) = (Mask::full(D), Standardisation::none());
        let (empty, one) = (ReleasedSum::new(D, 2), sum(D, &[500]));
        let part = |round, sum| BaseRound { round, mask: &full, standardisation: &none, sum };
        with_plans(&buffered(Weights::Uniform), |plans| {
            let alone = combine(plans, ROUND, &[part(9, &one)]).unwrap();
            assert_eq!(combine(plans, ROUND, &[part(8, &empty), part(9, &one)]).unwrap(), alone);
            assert!(combine(plans, ROUND, &[part(9, &empty)]).is_err());
            assert!(combine(plans, ROUND, &[]).is_err());
            assert!(combine(plans, ROUND, &[part(9, &one), part(9, &one)]).is_err());
            assert!(combine(plans, ROUND, &[part(5, &one)]).is_err());
        });
    }

    /// A device's update: two steps of noise and nothing else. Box and Muller 1958.
    fn noise(rng: &mut ChaCha20Rng, std: f64, active: usize) -> Vec<i64> {
        let gaussian = |_| {
            let (u, angle): (f64, f64) = (rng.random(), rng.random());
            let radius = (-2.0 * (1.0 - u).ln()).sqrt() * std * 2_f64.sqrt();
            (radius * (2.0 * std::f64::consts::PI * angle).cos()).round() as i64
        };
        (0..active).map(gaussian).collect()
    }

    /// Stated and observed standard deviation of a coordinate of the pseudo-gradient.
    fn observed(federation: &FederationPlan, rounds: &[(u64, usize)]) -> (f64, f64) {
        let (full, none) = (Mask::full(D), Standardisation::none());
        let (mut rng, draws) = (ChaCha20Rng::seed_from_u64(11), 1_000);
        let (mut squares, mut stated) = (0.0, 0.0);
        with_plans(federation, |plans| {
            for _ in 0..draws {
                let collected = rounds.iter().map(|&(round, devices)| {
                    let mut collector = Collector::new(plans, round, D);
                    let std = plans.privacy.noise_std_steps(round);
                    for n in 0..devices {
                        collector.add(noise(&mut rng, std, D), 1 + n as u32 % 4).unwrap();
                    }
                    collector.finish().unwrap()
                });
                let sums: Vec<ReleasedSum> = collected.collect();
                let part = |(sum, round): (_, &(u64, usize))| BaseRound {
                    round: round.0,
                    mask: &full,
                    standardisation: &none,
                    sum,
                };
                let parts: Vec<BaseRound<'_>> = sums.iter().zip(rounds).map(part).collect();
                let (_, gradient) = combine(plans, ROUND, &parts).unwrap();
                squares += gradient.values().iter().map(|g| g * g).sum::<f64>();
                stated = gradient.noise_std()[0];
            }
        });
        (stated, (squares / f64::from(draws * D as u32)).sqrt())
    }

    #[test]
    fn the_stated_noise_is_that_of_what_comes_out() {
        let public = Weights::Public { cap: 3 };
        let plan = |aggregation| FederationPlan { aggregation, ..FederationPlan::DEFAULT };
        let cases: [(FederationPlan, &[(u64, usize)]); 6] = [
            (FederationPlan::DEFAULT, &[(9, 7)]),
            (FederationPlan { weights: public, ..FederationPlan::DEFAULT }, &[(9, 7)]),
            (plan(Aggregation::Median), &[(9, 7)]),
            (plan(Aggregation::Median), &[(9, 8)]),
            (plan(Aggregation::TrimmedMean { share: 0.2 }), &[(9, 10)]),
            (buffered(public), &[(9, 3), (8, 2), (6, 5)]),
        ];
        for (federation, rounds) in cases {
            let (stated, observed) = observed(&federation, rounds);
            // 24,000 draws: a standard deviation has relative standard error 1/sqrt(2n).
            let tolerance = 5.0 / (2.0 * 24_000_f64).sqrt();
            assert!(
                (observed / stated - 1.0).abs() < tolerance,
                "{federation:?}: {observed}, {stated}"
            );
        }
    }
}
