//! Whole distributions: Pearson's chi-square, the divergence, Kolmogorov's distance.

use super::bounds;
use super::law::Law;

/// Up to this deviation every integer is a cell of its own.
const LARGEST_INTEGER_CELLS: f64 = 20.0;

/// Cells of equal probability of wider laws.
const CELLS: i32 = 200;

/// Least expected count of a cell.
const LEAST_EXPECTED: f64 = 25.0;

/// Cells observed and expected; the first and the last are tails.
struct Cells {
    observed: Vec<f64>,
    expected: Vec<f64>,
}

impl Cells {
    fn new(draws: &[i64], law: &Law) -> Self {
        let n = draws.len() as f64;
        let edges = edges(law, n);
        let mut observed = vec![0.0; edges.len() + 1];
        draws.iter().for_each(|d| observed[edges.partition_point(|e| e <= d)] += 1.0);
        let inner = edges.windows(2).map(|e| law.between(e[0], e[1]));
        let tail = |edge: i64| [law.below(edge)].into_iter();
        // P(X >= last) = P(X < 1 - last).
        let all = tail(edges[0]).chain(inner).chain(tail(1 - edges[edges.len() - 1]));
        Self { observed, expected: all.map(|p| p * n).collect() }
    }

    /// Sums `term` over the cells that expect enough: that is chi-square with one degree of
    /// freedom less than there are cells, but for the weight of the tails left out.
    /// Those are compared as Poisson counts.
    fn share(&self, term: impl Fn(f64, f64) -> f64) -> f64 {
        let (mut sum, mut cells, mut worst) = (0.0, 0.0, 0.0_f64);
        for (&observed, &expected) in self.observed.iter().zip(&self.expected) {
            if expected >= LEAST_EXPECTED {
                sum += term(observed, expected);
                cells += 1.0;
            } else {
                worst = worst.max(bounds::poisson(observed, expected));
            }
        }
        worst.max(bounds::chi_square(sum, cells - 1.0))
    }
}

/// Borders between cells, fixed by the law alone: single integers while one expects enough,
/// or equal shares.
fn edges(law: &Law, n: f64) -> Vec<i64> {
    if law.sigma > LARGEST_INTEGER_CELLS {
        let share = |i| law.quantile(f64::from(i) / f64::from(CELLS));
        let mut edges: Vec<i64> = (1..CELLS).map(share).collect();
        edges.dedup();
        return edges;
    }
    let enough = |k: &i64| n * law.between(*k, k + 1) >= LEAST_EXPECTED;
    let largest = (0..).take_while(enough).last().unwrap_or(0);
    (-largest..=largest + 1).collect()
}

/// sum (O - E)^2 / E.
pub(super) fn chi_square(draws: &[i64], law: &Law) -> f64 {
    Cells::new(draws, law).share(|observed, expected| (observed - expected).powi(2) / expected)
}

/// 2n KL(empirical, true) = 2 sum O ln(O/E), with the sum of E - O that is zero when no cell
/// is left out: asymptotically of the law of chi-square.
pub(super) fn divergence(draws: &[i64], law: &Law) -> f64 {
    Cells::new(draws, law).share(|observed, expected| {
        let log = if observed > 0.0 { observed * (observed / expected).ln() } else { 0.0 };
        2.0 * (log + expected - observed)
    })
}

/// The largest distance of the distribution functions; of laws wide enough for it to say
/// more than chi-square.
pub(super) fn kolmogorov(draws: &[i64], law: &Law) -> f64 {
    if law.sigma < 100.0 {
        return 0.0;
    }
    let mut sorted = draws.to_vec();
    sorted.sort_unstable();
    let (n, mut before, mut distance) = (sorted.len() as f64, 0, 0.0_f64);
    for equal in sorted.chunk_by(|a, b| a == b) {
        let value = equal[0];
        distance = distance.max((before as f64 / n - law.below(value)).abs());
        before += equal.len();
        distance = distance.max((before as f64 / n - law.below(value + 1)).abs());
    }
    bounds::kolmogorov(distance, n)
}
