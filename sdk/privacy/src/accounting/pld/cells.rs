//! One step's privacy loss, exactly as moments and pessimistically on a grid.

use super::super::mixture::Mixture;
use super::cumulants::Atoms;

/// Most grid cells of one step's loss.
pub(super) const MOST_CELLS: usize = 1 << 19;

/// Widest interval of t (in units of min(1, sigma)) for one Gauss-Legendre rule: with
/// three nodes the relative error is 4e-16 t^6, below 1e-11 up to five deviations.
const WIDEST_PIECE: f64 = 0.03;

/// Nodes and weights of the three-point Gauss-Legendre rule on [0, 1].
const GAUSS_LEGENDRE: [(f64, f64); 3] = [
    (0.112_701_665_379_258_3, 5.0 / 18.0),
    (0.5, 8.0 / 18.0),
    (0.887_298_334_620_741_7, 5.0 / 18.0),
];

/// Which of the two neighbouring data sets holds the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The data set with the example against the one without: loss ln(mixture/noise)
    /// under the mixture.
    Remove,
    /// The reverse: loss ln(noise/mixture) under the noise.
    Add,
}

/// The privacy loss of one step in one direction, cut to an interval of t = z/sigma.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    step: Mixture,
    direction: Direction,
    from: f64,
    to: f64,
}

/// Masses at the losses `first * h`, `(first + 1) * h`, ...
#[derive(Clone, Debug)]
pub(super) struct Pmf {
    pub(super) first: i64,
    pub(super) atoms: Atoms,
}

impl Loss {
    /// Leaves out what is further than `radius` standard deviations from every mode.
    pub(super) fn new(step: Mixture, direction: Direction, radius: f64) -> Self {
        let modes = match direction {
            Direction::Remove => 1.0 / step.sigma,
            Direction::Add => 0.0,
        };
        Self { step, direction, from: -radius, to: modes + radius }
    }

    fn sign(&self) -> f64 {
        match self.direction {
            Direction::Remove => 1.0,
            Direction::Add => -1.0,
        }
    }

    /// Loss and log density at t.
    fn at(&self, t: f64) -> (f64, f64) {
        let l = self.step.log_ratio(self.step.exponent(t));
        let log_normal = -0.5 * t.mul_add(t, std::f64::consts::TAU.ln());
        match self.direction {
            Direction::Remove => (l, log_normal + l),
            Direction::Add => (-l, log_normal),
        }
    }

    /// Least and largest loss.
    fn range(&self) -> (f64, f64) {
        let (a, b) = (self.at(self.from).0, self.at(self.to).0);
        (a.min(b), a.max(b))
    }

    /// Length of the interval of losses.
    pub(super) fn width(&self) -> f64 {
        let (least, most) = self.range();
        most - least
    }

    /// A trapezoidal rule whose moments are those of the exact loss.
    ///
    /// Negative powers of the likelihood ratio are tame only half as far from the real
    /// axis as positive ones, hence half the step.
    pub(super) fn sketch(&self) -> Atoms {
        let intervals = (2.0 * (self.to - self.from) / self.step.quadrature_step()).ceil();
        let h = (self.to - self.from) / intervals;
        let node = |k: u32| {
            let (loss, log_density) = self.at(f64::from(k).mul_add(h, self.from));
            (loss, log_density + h.ln())
        };
        let (losses, log_mass) = (0..=intervals as u32).map(node).unzip();
        Atoms { losses, log_mass }
    }

    /// Connect-the-dots discretisation with grid step `h` (Doroshenko, Ghazi, Kamath,
    /// Kumar, Manurangsi, arXiv 2207.04380, section 4).
    ///
    /// # Guarantee
    /// The hockey-stick divergence of the result is at least that of the loss at every
    /// epsilon, also after composition: each mass m at loss l = i h + f goes to the
    /// neighbours i h and (i+1) h so that m and m e^-l are both kept.
    ///
    /// `None` when the grid would exceed [`MOST_CELLS`].
    pub(super) fn on_grid(&self, h: f64) -> Option<Pmf> {
        let (least, most) = self.range();
        let (first, last) = ((least / h).floor(), (most / h).floor());
        let cells = last - first;
        if !cells.is_finite() || cells >= (MOST_CELLS - 2) as f64 {
            return None;
        }
        let mut mass = vec![0.0; cells as usize + 2];
        for cell in 0..mass.len() - 1 {
            let grid = |k: usize| (first + k as f64) * h;
            let (all, upwards) = self.cell(grid(cell), grid(cell + 1));
            mass[cell] += all - upwards;
            mass[cell + 1] += upwards;
        }
        let losses = (0..mass.len()).map(|k| (first + k as f64) * h).collect();
        let log_mass = mass.into_iter().map(f64::ln).collect();
        Some(Pmf { first: first as i64, atoms: Atoms { losses, log_mass } })
    }

    /// Mass of the losses in [lower, upper), and the part of it that goes to `upper`:
    /// (1 - e^-f) / (1 - e^-h) of the mass at lower + f, with h = upper - lower.
    fn cell(&self, lower: f64, upper: f64) -> (f64, f64) {
        let h = upper - lower;
        let end = |loss| self.step.position(self.sign() * loss).clamp(self.from, self.to);
        let (a, b) = (end(lower), end(upper));
        let (a, b) = (a.min(b), a.max(b));
        let pieces = ((b - a) / (WIDEST_PIECE * self.step.scale())).ceil();
        let width = (b - a) / pieces;
        let (mut all, mut upwards) = (0.0, 0.0);
        for piece in 0..pieces as u32 {
            let start = f64::from(piece).mul_add(width, a);
            for (x, weight) in GAUSS_LEGENDRE {
                let (loss, log_density) = self.at(x.mul_add(width, start));
                let mass = weight * width * log_density.exp();
                let excess = (loss - lower).clamp(0.0, h);
                all += mass;
                upwards += mass * (-excess).exp_m1() / (-h).exp_m1();
            }
        }
        (all, upwards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quadrature and rounding.
    const EXACT: f64 = 1e-9;
    /// So far out that even the tilted losses are not cut.
    const RADIUS: f64 = 16.0;

    fn losses() -> Vec<Loss> {
        let steps = [(1.0, 1.0), (0.1, 0.5), (0.01, 1.0), (0.3, 4.0)];
        let both = [Direction::Remove, Direction::Add];
        let all = steps.iter().flat_map(|&(q, sigma)| both.map(|d| (Mixture { q, sigma }, d)));
        all.map(|(step, direction)| Loss::new(step, direction, RADIUS)).collect()
    }

    #[test]
    fn connecting_the_dots_keeps_both_masses() {
        for loss in losses() {
            let (grid, exact) = (loss.on_grid(0.01).unwrap().atoms, loss.sketch());
            for tilt in [0.0, -1.0] {
                let difference = grid.log_moment(tilt) - exact.log_moment(tilt);
                assert!(difference.abs() < EXACT, "{loss:?} {tilt}: {difference}");
            }
        }
    }

    #[test]
    fn the_grid_raises_every_positive_moment_a_little() {
        for loss in losses() {
            let (grid, exact) = (loss.on_grid(0.01).unwrap().atoms, loss.sketch());
            for tilt in [0.5, 1.0, 3.0] {
                let raised = grid.log_moment(tilt) - exact.log_moment(tilt);
                // At most a (a+1) h^2 / 8, where all mass sits in the middle of cells.
                let most = tilt * (tilt + 1.0) * 0.01_f64.powi(2) / 8.0;
                assert!((-EXACT..=1.1 * most).contains(&raised), "{loss:?} {tilt}: {raised}");
            }
        }
    }

    #[test]
    fn a_grid_that_would_be_too_fine_is_refused() {
        assert!(losses()[0].on_grid(1e-9).is_none());
    }
}
