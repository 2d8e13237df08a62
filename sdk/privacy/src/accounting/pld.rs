//! Privacy loss distributions: the tight accountant for compositions fixed beforehand.
//!
//! For each direction of a mechanism's dominating pair the privacy loss of one use (`loss`)
//! is put on a grid by "connect the dots" (`cells`), composed by FFT under an exponential tilt (`compose`)
//! and read off as a hockey-stick curve (`curve`). Tilt, grid and window come from the
//! cumulants of the exact loss (`cumulants`). Every approximation errs upwards: the
//! grid by construction, cut tails and round-off by being charged to delta.
//!
//! Bounds: at most 2^21 grid points (some 100 MiB, for 10^9 steps; below 10^5 steps it is
//! a tenth of that) and 2^19 cells a step. Where that is too few, the grid gets coarser
//! and epsilon looser, never unsound.

mod cells;
mod compose;
mod cumulants;
mod curve;
mod loss;

use cells::MOST_CELLS;
use compose::{MOST_POINTS, compose};
use cumulants::{Cumulants, Sum, log_peak};
use curve::Curve;
use loss::Loss;

use super::RdpAccountant;
use super::pair::Pair;
use crate::{Composition, Delta, Epsilon};

/// Relative error of epsilon allowed to the grid.
const GRID_ERROR: f64 = 4e-5;

/// The same when first finding out where epsilon is.
const SCOUTING_ERROR: f64 = 64.0 * GRID_ERROR;

/// Where epsilon is far below the standard deviation of the composed loss, this part of
/// the latter is what the grid error is relative to.
const LEAST_SCALE: f64 = 0.1;

/// Above this many grid points the grid may become twice as coarse, which costs
/// four times [`GRID_ERROR`].
const COMFORTABLE_POINTS: f64 = 262_144.0;

/// Tightness is sought again around the epsilon found, where that is further than this
/// part below the one aimed at.
const FAR_OFF: f64 = 0.7;

/// Such attempts.
const MOST_ATTEMPTS: u32 = 3;

/// Error a step of the log moments of the exact loss (spectral quadrature, rounding).
const LOG_MOMENT_ERROR: f64 = 1e-13;

/// Widest grid step: beyond, connect-the-dots stops being second order in it.
const WIDEST_STEP: f64 = 0.25;

/// Part of delta given to the tails of the one-step noise that are cut off.
const CUT: f64 = 1e-7;

/// Smallest delta handled, so that cut tails stay representable.
const LEAST_DELTA: f64 = 1e-250;

/// Most steps handled, so that grid offsets stay exact integers.
const MOST_STEPS: u64 = 1 << 40;

/// Smallest noise multiplier handled; below, losses are in the thousands anyway.
const LEAST_SIGMA: f64 = 0.01;

/// Largest noise multiplier handled, so that variances do not underflow.
const MOST_SIGMA: f64 = 1e60;

/// Epsilon at `delta`, possibly +infinity.
///
/// # Guarantee
/// A composition whose parameters were fixed before its first release is
/// (epsilon, delta)-DP under the adjacency of its events, in both directions.
///
/// # Edge cases
/// | composition | answer |
/// | --- | --- |
/// | nothing, or only sampling rate 0 | 0 |
/// | vectors with discrete Gaussian noise; fixed-size batches under add/remove | +infinity |
/// | delta 1 | 0 |
/// | delta below 1e-250, otherwise | +infinity |
/// | a noise multiplier below 0.01 or above 1e60 | +infinity |
/// | more than 2^40 steps | +infinity |
#[must_use]
pub fn epsilon(composition: &Composition, delta: Delta) -> f64 {
    let delta = delta.value();
    let terms = terms(composition);
    if terms.is_empty() || delta >= 1.0 {
        return 0.0;
    }
    if delta < LEAST_DELTA || !supported(&terms) {
        return f64::INFINITY;
    }
    let Some((forward, backward)) = Plan::both(&terms, CUT * delta) else {
        return f64::INFINITY;
    };
    let epsilon = forward.epsilon(delta);
    // Mostly one direction decides, and a glance at the other is enough.
    let other = backward.filter(|b| b.chernoff_epsilon(delta) > epsilon);
    other.map_or(epsilon, |b| epsilon.max(b.epsilon(delta)))
}

/// Delta at `epsilon`, in [0, 1].
///
/// # Guarantee
/// As [`epsilon`]. Where that does not handle the composition this answers 1.
#[must_use]
pub fn delta(composition: &Composition, epsilon: Epsilon) -> f64 {
    let epsilon = epsilon.value();
    let terms = terms(composition);
    if terms.is_empty() {
        return 0.0;
    }
    if !supported(&terms) {
        return 1.0;
    }
    let cut = CUT * scale_of_delta(composition, epsilon);
    let Some((forward, backward)) = Plan::both(&terms, cut) else { return 1.0 };
    let delta = forward.delta(epsilon);
    backward.map_or(delta, |b| delta.max(b.delta(epsilon)))
}

/// An upper estimate of delta: it only says how much of the tails may be cut.
fn scale_of_delta(composition: &Composition, epsilon: f64) -> f64 {
    let mut rdp = RdpAccountant::new();
    rdp.compose_all(composition);
    Epsilon::new(epsilon).map_or(1.0, |e| rdp.delta(e)).max(LEAST_DELTA)
}

/// `count` uses of one mechanism that depends on data.
#[derive(Clone, Copy, Debug)]
struct Term {
    pair: Pair,
    count: u64,
}

fn terms(composition: &Composition) -> Vec<Term> {
    let term = |e: crate::Event| Some(Term { pair: Pair::of(&e)?, count: e.count });
    composition.unified().filter_map(term).collect()
}

fn supported(terms: &[Term]) -> bool {
    let steps = terms.iter().fold(0_u64, |sum, t| sum.saturating_add(t.count));
    let in_range = |t: &Term| match t.pair {
        Pair::AddRemove(step) | Pair::Mirrored(step) | Pair::FixedSize(step) => {
            (LEAST_SIGMA..=MOST_SIGMA).contains(&step.sigma)
        }
        Pair::Laplace { shift } => (LEAST_SIGMA..=MOST_SIGMA).contains(&shift.recip()),
        Pair::DiscreteGaussian { std, shift, scalar } => scalar && std / shift >= LEAST_SIGMA,
        Pair::Unbounded => false,
    };
    steps <= MOST_STEPS && terms.iter().all(in_range)
}

/// One direction of a composition: exact losses, their cumulants, and the mass cut off.
struct Plan {
    losses: Vec<(u64, Loss)>,
    sketch: Sum,
    steps: f64,
    cut: f64,
}

impl Plan {
    /// Forwards and, where that has a law of its own, backwards.
    fn both(terms: &[Term], cut: f64) -> Option<(Self, Option<Self>)> {
        let steps = terms.iter().map(|t| t.count as f64).sum::<f64>();
        // Two normal tails beyond r hold at most exp(-r^2/2), in each of the steps.
        let radius = (2.0 * (steps / cut).ln()).sqrt();
        let (mut forward, mut backward, mut differs) = (Vec::new(), Vec::new(), false);
        for t in terms {
            let (there, back) = Loss::both(t.pair, radius)?;
            differs |= back.is_some();
            backward.push((t.count, back.unwrap_or_else(|| there.clone())));
            forward.push((t.count, there));
        }
        let forward = Self::new(forward, steps, cut)?;
        let backward = if differs { Some(Self::new(backward, steps, cut)?) } else { None };
        Some((forward, backward))
    }

    fn new(losses: Vec<(u64, Loss)>, steps: f64, cut: f64) -> Option<Self> {
        let sketch = Sum::new(losses.iter().map(|(n, loss)| (*n, loss.sketch())).collect());
        let sane = sketch.at(0.0).variance > 0.0;
        sane.then_some(Self { losses, sketch, steps, cut })
    }

    /// Least epsilon found at `delta`: on a coarse grid around the tilt that Chernoff's
    /// bound suggests, then finely around the result.
    fn epsilon(&self, delta: f64) -> f64 {
        let mut best = self.chernoff_epsilon(delta);
        let mut tilt = self.sketch.tilt_for_delta(delta);
        let mut error = SCOUTING_ERROR;
        for _ in 0..MOST_ATTEMPTS {
            let aim = self.sketch.at(tilt).mean.min(best);
            // f64::min passes over a NaN, which is no bound.
            best = self.curve(tilt, aim, error).map_or(best, |c| c.epsilon(delta).min(best));
            if best == 0.0 || (error == GRID_ERROR && best > FAR_OFF * aim) {
                break;
            }
            (tilt, error) = (self.sketch.tilt_for_view(best), GRID_ERROR);
        }
        if best.is_nan() { f64::INFINITY } else { best }
    }

    /// Delta at `epsilon`.
    fn delta(&self, epsilon: f64) -> f64 {
        if epsilon >= self.sketch.most() {
            return self.cut;
        }
        let tilt = self.sketch.tilt_for_view(epsilon);
        let at = self.sketch.at(tilt);
        let log_chernoff = tilt.mul_add(-epsilon, self.log_moment_above(at)) + log_peak(tilt);
        let chernoff = log_chernoff.exp() + self.cut;
        self.curve(tilt, epsilon, GRID_ERROR)
            .map_or(1.0, |c| c.delta(epsilon))
            .min(chernoff)
            .min(1.0)
    }

    /// An epsilon that Chernoff's bound proves at `delta`.
    fn chernoff_epsilon(&self, delta: f64) -> f64 {
        let tilt = self.sketch.tilt_for_delta(delta);
        let log_moment = self.log_moment_above(self.sketch.at(tilt));
        ((log_moment + log_peak(tilt) - (delta - self.cut).ln()) / tilt).max(0.0)
    }

    fn log_moment_above(&self, at: Cumulants) -> f64 {
        at.log_moment + LOG_MOMENT_ERROR * (self.steps + at.log_moment.abs())
    }

    /// The hockey-stick curve, accurate at losses `near` a value that is not far from
    /// the mean of the loss tilted by `tilt`, up to a relative grid error of `error`.
    fn curve(&self, tilt: f64, near: f64, error: f64) -> Option<Curve> {
        let window = self.sketch.window(tilt);
        if !window.width().is_finite() {
            return None;
        }
        let h = self.grid_step(tilt, near, error, window.width())?;
        let pmfs: Option<Vec<_>> =
            self.losses.iter().map(|(n, loss)| Some((*n, loss.on_grid(h)?))).collect();
        compose(&pmfs?, tilt, h, window, self.cut)
    }

    /// Connect-the-dots raises the cumulant generating function at tilt a by
    /// a (a+1) h^2 / 12 a step, hence epsilon by steps * (a+1) h^2 / 12. Where the loss
    /// is a bell with a far tail, the slope of ln delta around epsilon is that of the
    /// bell: then h^2 / 12 against the variance of a step decides. A power of two where
    /// memory allows, so that nearby queries use the same grid.
    fn grid_step(&self, tilt: f64, near: f64, error: f64, width: f64) -> Option<f64> {
        let deviation = self.sketch.at(tilt).variance.sqrt();
        let scale = near.max(LEAST_SCALE * deviation);
        let bell = self.sketch.at(0.0).variance / self.steps;
        let accurate = (12.0 * error * bell.min(scale / (self.steps * (tilt + 1.0)))).sqrt();
        let fine = accurate.min(WIDEST_STEP).log2().floor().exp2();
        let comfortable = (width / COMFORTABLE_POINTS).log2().ceil().exp2().min(2.0 * fine);
        let widest_loss = self.losses.iter().map(|(_, l)| l.width()).fold(0.0, f64::max);
        let composed = width / (0.999 * MOST_POINTS as f64);
        let affordable = composed.max(widest_loss / (0.999 * MOST_CELLS as f64));
        let h = fine.max(comfortable).max(affordable);
        (h.is_finite() && h > 0.0).then_some(h)
    }
}
