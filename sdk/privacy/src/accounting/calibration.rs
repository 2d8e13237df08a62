//! Calibration: the least noise, or the most steps, that meet a target.
//!
//! All searches end on the safe side: the accountant itself is asked about the value
//! that is returned, and says at most the target.

use serde::{Deserialize, Serialize};

use super::{epsilon, rdp_epsilon};
use crate::{Composition, Delta, Epsilon, Error, Event, NoiseMultiplier, SamplingRate};

/// Largest noise multiplier tried.
pub const LARGEST_MULTIPLIER: f64 = 1e4;

/// Smallest noise multiplier tried; its epsilon is above 1e15.
const SMALLEST_MULTIPLIER: f64 = 1e-9;

/// ln of the relative distance from the target at which the search stops.
const RDP_TOLERANCE: f64 = 1e-5;
/// The same for losses on a grid, whose own error is of that size.
const TIGHTEST_TOLERANCE: f64 = 1e-4;

/// Relative width at which a bracket is a jump of epsilon, and its safe end the answer.
const JUMP: f64 = 1e-12;

/// By which account to calibrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CalibrateBy {
    /// Renyi divergences alone: valid also where later phases depend on releases.
    Rdp,
    /// The tighter of both accountants.
    Tightest,
}

impl CalibrateBy {
    fn epsilon(self, composition: &Composition, delta: Delta) -> f64 {
        match self {
            Self::Rdp => rdp_epsilon(composition, delta),
            Self::Tightest => epsilon(composition, delta).epsilon,
        }
    }

    const fn tolerance(self) -> f64 {
        match self {
            Self::Rdp => RDP_TOLERANCE,
            Self::Tightest => TIGHTEST_TOLERANCE,
        }
    }
}

/// A phase of training whose noise is a multiple of a common base.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseShape {
    /// Sampling rate of its steps.
    pub rate: SamplingRate,
    /// Number of steps.
    pub steps: u64,
    /// Its noise multiplier over the base multiplier, > 0.
    pub relative_noise: f64,
}

/// The least base noise multiplier with which `phases` meet (`target`, `delta`).
///
/// # Guarantee
/// Epsilon by the chosen account, at the returned multiplier, is at most `target`; and
/// at least `target` * (1 - 1e-3), unless epsilon jumps across the target there.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | delta 0, or target 0 | [`Error::Unreachable`] |
/// | target missed even at [`LARGEST_MULTIPLIER`] | [`Error::Unreachable`] |
/// | delta 1, or no phase with rate and steps > 0 | [`Error::Parameter`]: any noise would do |
/// | `relative_noise` not finite or <= 0 | [`Error::Parameter`] |
///
/// # Errors
/// As listed.
pub fn noise_multiplier(
    target: Epsilon,
    delta: Delta,
    phases: &[PhaseShape],
    how: CalibrateBy,
) -> Result<NoiseMultiplier, Error> {
    check(delta, phases)?;
    let steps = phases.iter().fold(0_u64, |sum, p| sum.saturating_add(p.steps));
    let unreachable = Error::Unreachable {
        epsilon: target.value(),
        delta: delta.value(),
        steps,
        largest: LARGEST_MULTIPLIER,
    };
    if delta.value() == 0.0 || target.value() == 0.0 {
        return Err(unreachable);
    }
    let search = Search { target, delta, phases };
    let start = match how {
        CalibrateBy::Rdp => Some(1.0),
        CalibrateBy::Tightest => search.least(1.0, 2.0, CalibrateBy::Rdp)?,
    };
    let factor = if how == CalibrateBy::Rdp { 2.0 } else { 1.1 };
    let sigma = search.least(start.unwrap_or(LARGEST_MULTIPLIER), factor, how)?;
    NoiseMultiplier::new(sigma.ok_or(unreachable)?)
}

/// The most steps at `rate` and `multiplier` that meet (`target`, `delta`).
///
/// # Guarantee
/// Epsilon of the returned number of steps, by the chosen account, is at most `target`,
/// and that of one step more is above it.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | not even one step (delta 0, multiplier 0) | 0 |
/// | no limit (rate 0, delta 1) | `u64::MAX` |
#[must_use]
pub fn most_steps(
    target: Epsilon,
    delta: Delta,
    rate: SamplingRate,
    multiplier: NoiseMultiplier,
    how: CalibrateBy,
) -> u64 {
    let excess_by = |how: CalibrateBy, steps: u64| {
        let event = Event::poisson_gaussian(rate, multiplier, steps);
        excess(how.epsilon(&[event].into_iter().collect(), delta), target)
    };
    let by_rdp = last_safe(0, 1.0, |steps| excess_by(CalibrateBy::Rdp, steps));
    match how {
        CalibrateBy::Rdp => by_rdp,
        CalibrateBy::Tightest => last_safe(by_rdp, 0.2, |steps| excess_by(how, steps)),
    }
}

fn check(delta: Delta, phases: &[PhaseShape]) -> Result<(), Error> {
    let refuse = |name, value, expected| Err(Error::Parameter { name, value, expected });
    if delta.value() >= 1.0 {
        return refuse("delta", delta.value(), "a number below 1");
    }
    if let Some(p) =
        phases.iter().find(|p| !(p.relative_noise.is_finite() && p.relative_noise > 0.0))
    {
        return refuse("relative noise of a phase", p.relative_noise, "a finite number > 0");
    }
    let releases = |p: &&PhaseShape| p.steps > 0 && p.rate.value() > 0.0;
    match phases.iter().filter(releases).count() {
        0 => refuse("phases with steps and rate above 0", 0.0, "at least 1"),
        _ => Ok(()),
    }
}

/// How far epsilon is above the target, as a logarithm; at most 0 is safe.
fn excess(epsilon: f64, target: Epsilon) -> f64 {
    if epsilon <= target.value() {
        (epsilon / target.value()).ln().min(0.0)
    } else {
        (epsilon / target.value()).ln().max(f64::MIN_POSITIVE)
    }
}

/// A point with its excess.
#[derive(Clone, Copy, Debug)]
struct Probe {
    x: f64,
    excess: f64,
}

/// Two probes with the target between them; `x` is a logarithm.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    safe: Probe,
    over: Probe,
}

impl Bracket {
    /// Where a straight line reaches `aim`; every third time, and where an excess is
    /// infinite, the middle.
    fn guess(&self, aim: f64, round: u32) -> f64 {
        let part = (aim - self.safe.excess) / (self.over.excess - self.safe.excess);
        let part = if part.is_finite() && round % 3 != 2 { part.clamp(0.01, 0.99) } else { 0.5 };
        part.mul_add(self.over.x - self.safe.x, self.safe.x)
    }

    const fn narrow(&mut self, probe: Probe) {
        if probe.excess <= 0.0 {
            self.safe = probe;
        } else {
            self.over = probe;
        }
    }
}

/// Search for the base noise multiplier.
struct Search<'a> {
    target: Epsilon,
    delta: Delta,
    phases: &'a [PhaseShape],
}

impl Search<'_> {
    fn probe(&self, sigma: f64, how: CalibrateBy) -> Result<Probe, Error> {
        let event = |p: &PhaseShape| {
            let noise = NoiseMultiplier::new(sigma * p.relative_noise)?;
            Ok(Event::poisson_gaussian(p.rate, noise, p.steps))
        };
        let composition: Composition =
            self.phases.iter().map(event).collect::<Result<Vec<_>, Error>>()?.into_iter().collect();
        let excess = excess(how.epsilon(&composition, self.delta), self.target);
        Ok(Probe { x: sigma.ln(), excess })
    }

    /// The least multiplier that meets the target, bracketed from `start` by `factor`;
    /// `None` when there is none.
    fn least(&self, start: f64, factor: f64, how: CalibrateBy) -> Result<Option<f64>, Error> {
        let Some(mut bracket) = self.bracket(start, factor, how)? else { return Ok(None) };
        let mut round = 0;
        while bracket.safe.excess < -how.tolerance() && bracket.safe.x - bracket.over.x > JUMP {
            let sigma = bracket.guess(-0.5 * how.tolerance(), round).exp();
            bracket.narrow(self.probe(sigma, how)?);
            round += 1;
        }
        Ok(Some(bracket.safe.x.exp()))
    }

    fn bracket(&self, start: f64, factor: f64, how: CalibrateBy) -> Result<Option<Bracket>, Error> {
        let mut here = self.probe(start, how)?;
        let down = here.excess <= 0.0;
        loop {
            let next = here.x.exp() * if down { 1.0 / factor } else { factor };
            if next > LARGEST_MULTIPLIER * factor {
                return Ok(None);
            }
            let there = self.probe(next.min(LARGEST_MULTIPLIER), how)?;
            match (down, there.excess <= 0.0) {
                (true, false) => return Ok(Some(Bracket { safe: here, over: there })),
                (false, true) => return Ok(Some(Bracket { safe: there, over: here })),
                _ if next < SMALLEST_MULTIPLIER => {
                    return Ok(Some(Bracket { safe: there, over: there }));
                }
                _ => here = there,
            }
        }
    }
}

/// The largest k with excess(k) <= 0, given that `safe` is one (0 always is). `growth` is
/// the relative distance of the first probe.
fn last_safe(mut safe: u64, mut growth: f64, excess: impl Fn(u64) -> f64) -> u64 {
    let probe = |k: u64| Probe { x: (k as f64).ln(), excess: excess(k) };
    let mut low = probe(safe);
    loop {
        if safe == u64::MAX {
            return safe;
        }
        let over = safe.saturating_add(((safe as f64 * growth) as u64).max(1));
        let high = probe(over);
        if high.excess > 0.0 {
            return between(safe, over, Bracket { safe: low, over: high }, probe);
        }
        (safe, low) = (over, high);
        growth *= 2.0;
    }
}

/// The last safe k in [safe, over), where `over` is not safe.
fn between(
    mut safe: u64,
    mut over: u64,
    mut bracket: Bracket,
    probe: impl Fn(u64) -> Probe,
) -> u64 {
    let mut round = 0;
    while over - safe > 1 {
        let k = (bracket.guess(0.0, round).exp() as u64).clamp(safe + 1, over - 1);
        let there = probe(k);
        *(if there.excess <= 0.0 { &mut safe } else { &mut over }) = k;
        bracket.narrow(there);
        round += 1;
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon_of(x: f64) -> Epsilon {
        Epsilon::new(x).unwrap()
    }

    fn delta_of(x: f64) -> Delta {
        Delta::new(x).unwrap()
    }

    fn rate(x: f64) -> SamplingRate {
        SamplingRate::new(x).unwrap()
    }

    fn shape(q: f64, steps: u64, relative_noise: f64) -> PhaseShape {
        PhaseShape { rate: rate(q), steps, relative_noise }
    }

    const BOTH: [CalibrateBy; 2] = [CalibrateBy::Rdp, CalibrateBy::Tightest];

    #[test]
    fn the_multiplier_meets_the_target_and_hardly_more() {
        let two_phases = [shape(0.05, 50, 4.0), shape(0.05, 500, 1.0)];
        for how in BOTH {
            let target = epsilon_of(4.0);
            let sigma = noise_multiplier(target, delta_of(1e-5), &two_phases, how).unwrap().value();
            let event = |p: &PhaseShape| {
                let noise = NoiseMultiplier::new(sigma * p.relative_noise).unwrap();
                Event::poisson_gaussian(p.rate, noise, p.steps)
            };
            let own = how.epsilon(&two_phases.iter().map(event).collect(), delta_of(1e-5));
            assert!((4.0 * (1.0 - 1e-3)..=4.0).contains(&own), "{how:?}: {own}");
        }
    }

    #[test]
    fn multipliers_agree_with_frozen_ones() {
        // (q, steps, delta, target, tight sigma): references independent of this crate.
        for (q, steps, delta, target, tight) in [
            (0.01, 1000, 1e-5, 1.0, 1.41461941),
            (0.1, 500, 1e-5, 4.0, 2.57271932),
            (1.0, 1, 1e-9, 4.0, 1.48780368),
            (0.3, 1, 1e-6, 1.0, 2.20300616),
        ] {
            let how = CalibrateBy::Tightest;
            let (target, delta) = (epsilon_of(target), delta_of(delta));
            let sigma = noise_multiplier(target, delta, &[shape(q, steps, 1.0)], how).unwrap();
            let ratio = sigma.value() / tight;
            assert!((1.0 - 1e-6..1.0 + 1e-3).contains(&ratio), "{q} {steps}: {ratio}");
        }
    }

    #[test]
    fn the_last_step_is_the_last() {
        let (target, delta) = (epsilon_of(2.0), delta_of(1e-5));
        let sigma = NoiseMultiplier::new(1.0).unwrap();
        for (how, steps) in BOTH.into_iter().zip([881, 1202]) {
            assert_eq!(most_steps(target, delta, rate(0.01), sigma, how), steps);
        }
    }

    #[test]
    fn what_cannot_be_met_is_unreachable() {
        let phases = [shape(0.1, 100, 1.0)];
        for (target, delta) in [(0.0, 1e-5), (1.0, 0.0), (1e-9, 1e-12)] {
            for how in BOTH {
                let error = noise_multiplier(epsilon_of(target), delta_of(delta), &phases, how);
                assert!(matches!(error, Err(Error::Unreachable { steps: 100, .. })), "{target}");
            }
        }
    }

    #[test]
    fn phases_that_mean_nothing_are_refused() {
        let (target, delta) = (epsilon_of(1.0), delta_of(1e-5));
        let bad = [vec![], vec![shape(0.0, 9, 1.0)], vec![shape(0.1, 0, 1.0)]];
        let noise = [0.0, -1.0, f64::NAN, f64::INFINITY];
        for phases in bad.into_iter().chain(noise.map(|x| vec![shape(0.1, 9, x)])) {
            let error = noise_multiplier(target, delta, &phases, CalibrateBy::Rdp);
            assert!(matches!(error, Err(Error::Parameter { .. })), "{phases:?}");
        }
        let phases = [shape(0.1, 9, 1.0)];
        assert!(noise_multiplier(target, delta_of(1.0), &phases, CalibrateBy::Rdp).is_err());
    }

    #[test]
    fn steps_without_limit_and_without_any_are_both_answers() {
        let (target, delta) = (epsilon_of(1.0), delta_of(1e-5));
        let sigma = |x| NoiseMultiplier::new(x).unwrap();
        for how in BOTH {
            assert_eq!(most_steps(target, delta, rate(0.0), sigma(1.0), how), u64::MAX);
            assert_eq!(most_steps(target, delta_of(1.0), rate(0.1), sigma(1.0), how), u64::MAX);
            assert_eq!(most_steps(target, delta, rate(0.1), sigma(0.0), how), 0);
            assert_eq!(most_steps(target, delta_of(0.0), rate(0.1), sigma(1.0), how), 0);
        }
    }
}
