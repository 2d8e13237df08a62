//! Calibration: the least noise, or the most steps, that meet a target.
//!
//! All searches end on the safe side: the accountant itself is asked about the value
//! that is returned, and says at most the target.

use serde::{Deserialize, Serialize};

mod split;

pub use split::{Span, Split, equal_split, optimal_split};

use super::{epsilon, rdp_epsilon};
use crate::{Adjacency, Composition, Delta, Epsilon, Error, Event, NoiseMultiplier, SamplingRate};

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
    const fn tolerance(self) -> f64 {
        match self {
            Self::Rdp => RDP_TOLERANCE,
            Self::Tightest => TIGHTEST_TOLERANCE,
        }
    }
}

/// What is to be met, and by which account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Largest epsilon.
    pub epsilon: Epsilon,
    /// Delta at which it is stated.
    pub delta: Delta,
    /// Which data sets are neighbours.
    pub adjacency: Adjacency,
    /// Whose epsilon counts.
    pub by: CalibrateBy,
}

impl Target {
    /// Epsilon of `composition` by the chosen account, at the target's delta.
    #[must_use]
    pub fn epsilon_of(&self, composition: &Composition) -> f64 {
        match self.by {
            CalibrateBy::Rdp => rdp_epsilon(composition, self.delta),
            CalibrateBy::Tightest => epsilon(composition, self.delta).epsilon,
        }
    }

    /// How far `composition` is above the target, as a logarithm; at most 0 is safe.
    fn excess(&self, composition: &Composition) -> f64 {
        let ratio = self.epsilon_of(composition) / self.epsilon.value();
        if ratio <= 1.0 { ratio.ln().min(0.0) } else { ratio.ln().max(f64::MIN_POSITIVE) }
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

impl PhaseShape {
    fn event(&self, target: &Target, base: f64) -> Result<Event, Error> {
        let sigma = NoiseMultiplier::new(base * self.relative_noise)?;
        Ok(Event::poisson_gaussian(target.adjacency, self.rate, sigma, self.steps))
    }
}

/// The least base noise multiplier with which `phases` meet the target.
///
/// # Guarantee
/// Epsilon by the chosen account, at the returned multiplier, is at most the target; and
/// at least the target * (1 - 1e-3), unless epsilon jumps across it there.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | delta 0, or epsilon 0 | [`Error::Unreachable`] |
/// | target missed even at [`LARGEST_MULTIPLIER`] | [`Error::Unreachable`] |
/// | delta 1, or no phase with rate and steps > 0 | [`Error::Parameter`]: any noise would do |
/// | `relative_noise` not finite or <= 0 | [`Error::Parameter`] |
///
/// # Errors
/// As listed.
pub fn noise_multiplier(target: &Target, phases: &[PhaseShape]) -> Result<NoiseMultiplier, Error> {
    check(target.delta, phases)?;
    let steps = phases.iter().fold(0_u64, |sum, p| sum.saturating_add(p.steps));
    let unreachable = Error::Unreachable {
        epsilon: target.epsilon.value(),
        delta: target.delta.value(),
        steps,
        largest: LARGEST_MULTIPLIER,
    };
    if target.delta.value() == 0.0 || target.epsilon.value() == 0.0 {
        return Err(unreachable);
    }
    let search = |target| Search { target, phases };
    let sigma = match target.by {
        CalibrateBy::Rdp => search(*target).least(1.0, 2.0)?,
        CalibrateBy::Tightest => {
            let quick = Target { by: CalibrateBy::Rdp, ..*target };
            let start = search(quick).least(1.0, 2.0)?.unwrap_or(LARGEST_MULTIPLIER);
            search(*target).least(start, 1.1)?
        }
    };
    NoiseMultiplier::new(sigma.ok_or(unreachable)?)
}

/// The most steps of one mechanism that meet the target.
///
/// # Guarantee
/// Epsilon of the returned number of steps, by the chosen account, is at most the target,
/// and that of one step more is above it.
///
/// # Edge cases
/// | input | answer |
/// | --- | --- |
/// | not even one step (delta 0, multiplier 0) | 0 |
/// | no limit (rate 0, delta 1) | `u64::MAX` |
#[must_use]
pub fn most_steps(target: &Target, rate: SamplingRate, multiplier: NoiseMultiplier) -> u64 {
    let excess_by = |by: CalibrateBy, steps: u64| {
        let event = Event::poisson_gaussian(target.adjacency, rate, multiplier, steps);
        Target { by, ..*target }.excess(&[event].into_iter().collect())
    };
    let by_rdp = last_safe(0, 1.0, |steps| excess_by(CalibrateBy::Rdp, steps));
    match target.by {
        CalibrateBy::Rdp => by_rdp,
        CalibrateBy::Tightest => last_safe(by_rdp, 0.2, |steps| excess_by(target.by, steps)),
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
    target: Target,
    phases: &'a [PhaseShape],
}

impl Search<'_> {
    fn probe(&self, sigma: f64) -> Result<Probe, Error> {
        let events: Result<Composition, Error> =
            self.phases.iter().map(|p| p.event(&self.target, sigma)).collect();
        Ok(Probe { x: sigma.ln(), excess: self.target.excess(&events?) })
    }

    /// The least multiplier that meets the target, bracketed from `start` by `factor`;
    /// `None` when there is none.
    fn least(&self, start: f64, factor: f64) -> Result<Option<f64>, Error> {
        let Some(mut bracket) = self.bracket(start, factor)? else { return Ok(None) };
        let (mut round, tolerance) = (0, self.target.by.tolerance());
        while bracket.safe.excess < -tolerance && bracket.safe.x - bracket.over.x > JUMP {
            let sigma = bracket.guess(-0.5 * tolerance, round).exp();
            bracket.narrow(self.probe(sigma)?);
            round += 1;
        }
        Ok(Some(bracket.safe.x.exp()))
    }

    fn bracket(&self, start: f64, factor: f64) -> Result<Option<Bracket>, Error> {
        let mut here = self.probe(start)?;
        let down = here.excess <= 0.0;
        loop {
            let next = here.x.exp() * if down { 1.0 / factor } else { factor };
            if next > LARGEST_MULTIPLIER * factor {
                return Ok(None);
            }
            let there = self.probe(next.min(LARGEST_MULTIPLIER))?;
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

    fn target(epsilon: f64, delta: f64, by: CalibrateBy) -> Target {
        let (epsilon, delta) = (epsilon_of(epsilon), delta_of(delta));
        Target { epsilon, delta, adjacency: Adjacency::AddRemove, by }
    }

    #[test]
    fn the_multiplier_meets_the_target_and_hardly_more() {
        let two_phases = [shape(0.05, 50, 4.0), shape(0.05, 500, 1.0)];
        for by in BOTH {
            for adjacency in [Adjacency::AddRemove, Adjacency::ReplaceOne] {
                let target = Target { adjacency, ..target(4.0, 1e-5, by) };
                let sigma = noise_multiplier(&target, &two_phases).unwrap().value();
                let events = two_phases.iter().map(|p| p.event(&target, sigma).unwrap());
                let own = target.epsilon_of(&events.collect());
                assert!((4.0 * (1.0 - 1e-3)..=4.0).contains(&own), "{by:?}: {own}");
            }
        }
    }

    #[test]
    fn multipliers_agree_with_frozen_ones() {
        // (q, steps, delta, target, tight sigma): references independent of this crate.
        for (q, steps, delta, epsilon, tight) in [
            (0.01, 1000, 1e-5, 1.0, 1.41461941),
            (0.1, 500, 1e-5, 4.0, 2.57271932),
            (1.0, 1, 1e-9, 4.0, 1.48780368),
            (0.3, 1, 1e-6, 1.0, 2.20300616),
        ] {
            let target = target(epsilon, delta, CalibrateBy::Tightest);
            let sigma = noise_multiplier(&target, &[shape(q, steps, 1.0)]).unwrap();
            let ratio = sigma.value() / tight;
            assert!((1.0 - 1e-6..1.0 + 1e-3).contains(&ratio), "{q} {steps}: {ratio}");
        }
    }

    #[test]
    fn the_last_step_is_the_last() {
        let sigma = NoiseMultiplier::new(1.0).unwrap();
        for (by, steps) in BOTH.into_iter().zip([881, 1202]) {
            assert_eq!(most_steps(&target(2.0, 1e-5, by), rate(0.01), sigma), steps);
        }
    }

    #[test]
    fn what_cannot_be_met_is_unreachable() {
        let phases = [shape(0.1, 100, 1.0)];
        for (epsilon, delta) in [(0.0, 1e-5), (1.0, 0.0), (1e-9, 1e-12)] {
            for by in BOTH {
                let error = noise_multiplier(&target(epsilon, delta, by), &phases);
                assert!(matches!(error, Err(Error::Unreachable { steps: 100, .. })), "{epsilon}");
            }
        }
    }

    #[test]
    fn phases_that_mean_nothing_are_refused() {
        let target = |delta| target(1.0, delta, CalibrateBy::Rdp);
        let bad = [vec![], vec![shape(0.0, 9, 1.0)], vec![shape(0.1, 0, 1.0)]];
        let noise = [0.0, -1.0, f64::NAN, f64::INFINITY];
        for phases in bad.into_iter().chain(noise.map(|x| vec![shape(0.1, 9, x)])) {
            let error = noise_multiplier(&target(1e-5), &phases);
            assert!(matches!(error, Err(Error::Parameter { .. })), "{phases:?}");
        }
        assert!(noise_multiplier(&target(1.0), &[shape(0.1, 9, 1.0)]).is_err());
    }

    #[test]
    fn steps_without_limit_and_without_any_are_both_answers() {
        let sigma = |x| NoiseMultiplier::new(x).unwrap();
        for by in BOTH {
            let target = |delta| target(1.0, delta, by);
            assert_eq!(most_steps(&target(1e-5), rate(0.0), sigma(1.0)), u64::MAX);
            assert_eq!(most_steps(&target(1.0), rate(0.1), sigma(1.0)), u64::MAX);
            assert_eq!(most_steps(&target(1e-5), rate(0.1), sigma(0.0)), 0);
            assert_eq!(most_steps(&target(0.0), rate(0.1), sigma(1.0)), 0);
        }
    }
}
