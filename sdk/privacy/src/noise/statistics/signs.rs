//! Signs, zero, and residues: what goes wrong in the low bits.

use super::bounds;
use super::law::Law;

/// Least number of draws in a pair of opposite cells.
const LEAST_PAIR: f64 = 50.0;

/// Opposite cells by |X|: draws above and below zero.
fn sides(draws: &[i64], cells: usize, cell: impl Fn(u64) -> usize) -> Vec<[f64; 2]> {
    let mut sides = vec![[0.0; 2]; cells];
    for &d in draws.iter().filter(|d| **d != 0) {
        sides[cell(d.unsigned_abs()).min(cells - 1)][usize::from(d < 0)] += 1.0;
    }
    sides
}

/// Of the right law, the positive among N draws of a pair are binomial(N, 1/2), so that
/// (above - below)^2 / (above + below) is chi-square with one degree of freedom.
fn fair(sides: &[[f64; 2]]) -> f64 {
    let enough = sides.iter().filter(|[above, below]| above + below >= LEAST_PAIR);
    let df = enough.clone().count() as f64;
    let sum = enough.map(|[a, b]| (a - b).powi(2) / (a + b)).sum();
    bounds::chi_square(sum, df)
}

/// As many at k as at -k, for every k; in wide laws for cells of 0.08 deviations.
pub(super) fn symmetry(draws: &[i64], law: &Law) -> f64 {
    let width = if law.sigma <= 100.0 { 1 } else { (0.08 * law.sigma) as u64 };
    fair(&sides(draws, 1024, |magnitude| (magnitude / width) as usize))
}

/// P(0), which is twice too large where both of its signs count.
pub(super) fn zero(draws: &[i64], law: &Law) -> f64 {
    let found = draws.iter().filter(|d| **d == 0).count() as f64;
    bounds::count(found, draws.len() as f64, law.between(0, 1))
}

/// Residues modulo 2, 3 and 16, and the signs within each residue of the magnitude; where
/// the law is wide enough to make residues uniform.
///
/// Residue r of a Gaussian lattice law is off by at most 2 e^(-2 pi^2 sigma^2 / m^2), below
/// e^-700 for m = 16 at a deviation of 100 (Poisson's summation formula).
pub(super) fn lattice(draws: &[i64], law: &Law) -> f64 {
    if law.sigma < 100.0 {
        return 0.0;
    }
    let uniform = |modulus: i64| residues(draws, modulus);
    let even_signs = fair(&sides(draws, 16, |magnitude| (magnitude % 16) as usize));
    [2, 3, 16].into_iter().map(uniform).fold(even_signs, f64::max)
}

pub(super) fn residues(draws: &[i64], modulus: i64) -> f64 {
    let mut counts = vec![0.0_f64; modulus as usize];
    draws.iter().for_each(|d| counts[d.rem_euclid(modulus) as usize] += 1.0);
    let expected = draws.len() as f64 / modulus as f64;
    let sum = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
    bounds::chi_square(sum, (modulus - 1) as f64)
}
