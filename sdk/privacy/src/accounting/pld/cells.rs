//! One use's privacy loss on a grid, pessimistically.

use super::cumulants::Atoms;
use super::loss::Loss;

/// Most grid cells of one use's loss.
pub(super) const MOST_CELLS: usize = 1 << 19;

/// Masses at the losses `first * h`, `(first + 1) * h`, ...
#[derive(Clone, Debug)]
pub(super) struct Pmf {
    pub(super) first: i64,
    pub(super) atoms: Atoms,
}

impl Loss {
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
        let mut grid = Grid { first, h, mass: vec![0.0; cells as usize + 2] };
        for arc in &self.arcs {
            for cell in 0..grid.mass.len() - 1 {
                let (lower, upper) = (grid.at(cell), grid.at(cell + 1));
                arc.nodes(lower, upper).for_each(|node| grid.add(cell, node));
            }
        }
        for &atom in &self.atoms {
            let cell = ((atom.0 / h).floor() - first) as usize;
            grid.add(cell.min(grid.mass.len() - 2), atom);
        }
        if self.rest_at_zero {
            let rest = 1.0 - grid.mass.iter().sum::<f64>();
            grid.mass[(-first) as usize] += rest.max(0.0);
        }
        Some(grid.into_pmf())
    }
}

/// Masses at the losses `(first + k) h`.
struct Grid {
    first: f64,
    h: f64,
    mass: Vec<f64>,
}

impl Grid {
    fn at(&self, k: usize) -> f64 {
        (self.first + k as f64) * self.h
    }

    /// Splits a mass at a loss in `cell`: of what lies f above the lower end,
    /// (1 - e^-f) / (1 - e^-h) goes to the upper one.
    fn add(&mut self, cell: usize, (loss, log_mass): (f64, f64)) {
        let (mass, h) = (log_mass.exp(), self.h);
        let excess = (loss - self.at(cell)).clamp(0.0, h);
        let upwards = mass * (-excess).exp_m1() / (-h).exp_m1();
        self.mass[cell] += mass - upwards;
        self.mass[cell + 1] += upwards;
    }

    fn into_pmf(self) -> Pmf {
        let losses = (0..self.mass.len()).map(|k| self.at(k)).collect();
        let log_mass = self.mass.into_iter().map(f64::ln).collect();
        Pmf { first: self.first as i64, atoms: Atoms { losses, log_mass } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mixture::Mixture;
    use super::super::super::pair::Pair;
    use super::*;

    /// Quadrature and rounding.
    const EXACT: f64 = 1e-9;
    /// So far out that even the tilted losses are not cut.
    const RADIUS: f64 = 16.0;

    fn both(pair: Pair) -> Vec<Loss> {
        let (forward, backward) = Loss::both(pair, RADIUS).unwrap();
        [Some(forward), backward].into_iter().flatten().collect()
    }

    fn losses() -> Vec<Loss> {
        let steps = [(1.0, 1.0), (0.1, 0.5), (0.01, 1.0), (0.3, 4.0)];
        let sampled = steps.into_iter().flat_map(|(q, sigma)| {
            let mixture = Mixture { q, sigma };
            [Pair::AddRemove(mixture), Pair::Mirrored(mixture), Pair::FixedSize(mixture)]
        });
        let others = [
            Pair::Laplace { shift: 0.7 },
            Pair::DiscreteGaussian { std: 0.5, shift: 1.0, scalar: true },
            Pair::DiscreteGaussian { std: 40.0, shift: 10.0, scalar: true },
        ];
        sampled.chain(others).flat_map(both).collect()
    }

    #[test]
    fn connecting_the_dots_keeps_both_masses() {
        for loss in losses() {
            let (grid, exact) = (loss.on_grid(0.01).unwrap().atoms, loss.sketch());
            for tilt in [0.0, -1.0] {
                // All mass is there, and that of the other data set under e^-loss.
                assert!(exact.log_moment(tilt).abs() < EXACT, "{loss:?} {tilt}");
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
