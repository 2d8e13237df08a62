//! The split of one budget between warm-up and main phase.

use super::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use crate::{Error, NoiseMultiplier, SamplingRate};

/// Least and largest ratio of the multipliers that is tried, as natural logarithms: beyond a
/// factor of 16 one phase has hardly any part in the budget.
const RATIOS: (f64, f64) = (-2.772_588_722_239_781, 2.772_588_722_239_781);

/// Width of ln ratio at which the search ends; the cost is quadratic around its least.
const NARROW: f64 = 2e-3;

/// Inner point of a golden section.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Steps of one phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Sampling rate.
    pub rate: SamplingRate,
    /// Number of steps.
    pub steps: u64,
}

/// Noise multipliers of both phases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Of the warm-up, in which every coordinate is active.
    pub warmup: NoiseMultiplier,
    /// Of the main phase.
    pub main: NoiseMultiplier,
}

/// One multiplier for both phases.
///
/// # Errors
/// Those of [`noise_multiplier`].
pub fn equal_split(target: &Target, warmup: Span, main: Span) -> Result<Split, Error> {
    at(target, warmup, main, 0.0)
}

/// The multipliers sigma_w and sigma_m that meet the target with the least noise energy
/// in the model: T_w sigma_w^2 + r T_m sigma_m^2, with r the part of coordinates that stays
/// active in the main phase.
///
/// Noise falls on all coordinates during warm-up and on r of them afterwards, so that the
/// budget is better spent on the warm-up. Without sampling
/// T_w / sigma_w^2 + T_m / sigma_m^2 is what the budget fixes, and
/// sigma_w / sigma_m = r^(1/4) is best. A golden-section search over that ratio, by Renyi
/// divergences, whose optimum differs little; the multipliers themselves are calibrated to
/// the target's own account. Where a phase has no steps there is nothing to split.
///
/// # Guarantee
/// Both together meet the target: [`noise_multiplier`] returns its safe end.
///
/// # Errors
/// Those of [`noise_multiplier`]; [`Error::Parameter`] for `retained` outside (0, 1].
pub fn optimal_split(
    target: &Target,
    warmup: Span,
    main: Span,
    retained: f64,
) -> Result<Split, Error> {
    if !(retained > 0.0 && retained <= 1.0) {
        let expected = "a number in (0, 1]";
        return Err(Error::Parameter { name: "retained part", value: retained, expected });
    }
    if warmup.steps == 0 || main.steps == 0 {
        return equal_split(target, warmup, main);
    }
    let quick = Target { by: CalibrateBy::Rdp, ..*target };
    let cost = |log_ratio: f64| {
        let split = at(&quick, warmup, main, log_ratio)?;
        let energy = |span: Span, sigma: NoiseMultiplier| span.steps as f64 * sigma.value().powi(2);
        Ok(energy(warmup, split.warmup) + retained * energy(main, split.main))
    };
    at(target, warmup, main, least(cost)?)
}

fn at(target: &Target, warmup: Span, main: Span, log_ratio: f64) -> Result<Split, Error> {
    let shape = |span: Span, relative_noise| PhaseShape {
        rate: span.rate,
        steps: span.steps,
        relative_noise,
    };
    let ratio = log_ratio.exp();
    let base = noise_multiplier(target, &[shape(warmup, ratio), shape(main, 1.0)])?;
    Ok(Split { warmup: NoiseMultiplier::new(base.value() * ratio)?, main: base })
}

/// Golden-section search for the least value over [`RATIOS`].
fn least(cost: impl Fn(f64) -> Result<f64, Error>) -> Result<f64, Error> {
    let (mut low, mut high) = RATIOS;
    let inner = |low: f64, high: f64| (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut a, mut b) = inner(low, high);
    let (mut cost_a, mut cost_b) = (cost(a)?, cost(b)?);
    while high - low > NARROW {
        if cost_a <= cost_b {
            (high, b, cost_b) = (b, a, cost_a);
            a = inner(low, high).0;
            cost_a = cost(a)?;
        } else {
            (low, a, cost_a) = (a, b, cost_b);
            b = inner(low, high).1;
            cost_b = cost(b)?;
        }
    }
    Ok(0.5 * (low + high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Adjacency, Delta, Epsilon};

    fn target(by: CalibrateBy) -> Target {
        let (epsilon, delta) = (Epsilon::new(4.0).unwrap(), Delta::new(1e-5).unwrap());
        Target { epsilon, delta, adjacency: Adjacency::AddRemove, by }
    }

    fn span(rate: f64, steps: u64) -> Span {
        Span { rate: SamplingRate::new(rate).unwrap(), steps }
    }

    fn energy(split: Split, steps: (u64, u64), retained: f64) -> f64 {
        let square = |s: NoiseMultiplier| s.value().powi(2);
        steps.0 as f64 * square(split.warmup) + retained * steps.1 as f64 * square(split.main)
    }

    #[test]
    fn without_sampling_the_ratio_is_the_fourth_root_of_the_retained_part() {
        for retained in [1.0_f64, 0.6, 0.1] {
            let by = target(CalibrateBy::Rdp);
            let split = optimal_split(&by, span(1.0, 10), span(1.0, 90), retained).unwrap();
            let ratio = split.warmup.value() / split.main.value();
            // NARROW, and the tolerance of calibration under the square root of a flat least.
            assert!((ratio / retained.powf(0.25) - 1.0).abs() < 0.03, "{retained}: {ratio}");
        }
    }

    #[test]
    fn the_split_meets_the_target_with_less_noise_than_other_splits() {
        let (by, steps, retained) = (target(CalibrateBy::Tightest), (50, 450), 0.3);
        let (warmup, main) = (span(0.05, steps.0), span(0.05, steps.1));
        let best = optimal_split(&by, warmup, main, retained).unwrap();
        let event = |span: Span, sigma| {
            crate::Event::poisson_gaussian(by.adjacency, span.rate, sigma, span.steps)
        };
        let all = [event(warmup, best.warmup), event(main, best.main)].into_iter().collect();
        assert!(super::super::epsilon(&all, by.delta).epsilon <= 4.0);
        for log_ratio in [-1.0, 0.0, 1.0] {
            let other = at(&by, warmup, main, log_ratio).unwrap();
            assert!(energy(best, steps, retained) <= energy(other, steps, retained) * 1.001);
        }
    }

    #[test]
    fn a_part_that_is_no_part_is_refused() {
        for retained in [0.0, -1.0, 1.5, f64::NAN] {
            let by = target(CalibrateBy::Rdp);
            assert!(optimal_split(&by, span(0.1, 1), span(0.1, 9), retained).is_err());
        }
    }
}
