//! How much noise a trimmed mean of Gaussian values keeps.

use std::f64::consts::SQRT_2;

/// Cells of the grid along the half-distance; half as many lie along the centre.
const CELLS: u32 = 128;

/// Standard deviations on either side that are integrated over.
const REACH: f64 = 10.0;

/// Variance of the mean of the n - 2g middle values of n independent standard Gaussians;
/// the median is g = (n - 1) / 2.
///
/// Numerical, not asymptotic: given A = X_(g) and B = X_(n-g+1), the m = n - 2g values
/// between are independent Gaussians truncated to (A, B), with mean mu and variance s^2, so
/// Var = E[s^2] / m + E[mu^2] (E[mu] = 0 by symmetry). (A, B) has a density proportional
/// to F(a)^(g-1) (F(b) - F(a))^m (1 - F(b))^(g-1) f(a) f(b) (David and Nagaraja, Order
/// Statistics, section 2.2), which is summed on a grid of centre and half-distance, where
/// it is smooth and vanishes at the ends. The relative error stays below 1e-3 (tests).
///
/// It is that of the noise alone: where devices differ in signal, the rule selects among
/// signals too.
pub(super) fn trimmed_mean_variance(n: usize, g: usize) -> f64 {
    if g == 0 {
        return 1.0 / n as f64;
    }
    let grid = Grid::new(n as f64, g as f64);
    let (mut total, mut sum) = (0.0, 0.0);
    let densities: Vec<f64> = grid.cells().map(|(c, h)| grid.log_density(c, h)).collect();
    let peak = densities.iter().copied().fold(f64::MIN, f64::max);
    for ((c, h), density) in grid.cells().zip(densities) {
        let weight = libm::exp(density - peak);
        let (mean, variance) = truncated(c - h, c + h);
        total += weight;
        sum += weight * (variance / grid.left + mean * mean);
    }
    sum / total
}

/// Where the trimming points lie: centre c = (a + b) / 2 and half-distance h = (b - a) / 2.
struct Grid {
    dropped: f64,
    /// m, the values between the trimming points.
    left: f64,
    /// Largest distance of the centre from 0.
    centre: f64,
    /// Range of the half-distance.
    half: (f64, f64),
}

impl Grid {
    /// F(b) - F(a) is Beta(m + 1, 2g), F(a) is Beta(g, n - g + 1): their standard deviations
    /// say how far to look.
    fn new(n: f64, g: f64) -> Self {
        let left = n - 2.0 * g;
        let mean = (left + 1.0) / (n + 1.0);
        let deviation = (mean * (1.0 - mean) / (n + 2.0)).sqrt();
        let half = |z: f64| quantile(0.5 + 0.5 * z.clamp(0.0, 1.0 - 1e-14));
        let half = (half(mean - REACH * deviation), half(mean + REACH * deviation));
        let p = g / (n + 1.0);
        let centre = REACH * (p * (1.0 - p) / (n + 2.0)).sqrt() / density(quantile(p));
        Self { dropped: g, left, centre, half }
    }

    /// Midpoints of the cells; those with c < 0 are mirror images and left out.
    fn cells(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let share = |i: u32| (f64::from(i) + 0.5) / f64::from(CELLS);
        let c = move |i| 2.0 * self.centre * share(i);
        let h = move |i| self.half.0 + (self.half.1 - self.half.0) * share(i);
        (0..CELLS / 2).flat_map(move |i| (0..CELLS).map(move |j| (c(i), h(j))))
    }

    fn log_density(&self, c: f64, h: f64) -> f64 {
        let (a, b) = (c - h, c + h);
        let tails = libm::log(cdf(a)) + libm::log(cdf(-b));
        let between = libm::log(mass(a, b));
        (self.dropped - 1.0) * tails + self.left * between - 0.5 * (a * a + b * b)
    }
}

/// Mean and variance of a standard Gaussian truncated to (a, b).
fn truncated(a: f64, b: f64) -> (f64, f64) {
    if b - a < 1e-3 {
        // The density is flat: the closed form would lose all digits.
        return (0.5 * (a + b), (b - a).powi(2) / 12.0);
    }
    let z = mass(a, b);
    let mean = (density(a) - density(b)) / z;
    let variance = 1.0 + (a * density(a) - b * density(b)) / z - mean * mean;
    (mean, variance.max(0.0))
}

/// F(b) - F(a), on the side where neither is near 1.
fn mass(a: f64, b: f64) -> f64 {
    let (a, b) = if a + b > 0.0 { (-b, -a) } else { (a, b) };
    if b - a < 1e-3 { density(0.5 * (a + b)) * (b - a) } else { cdf(b) - cdf(a) }
}

fn density(x: f64) -> f64 {
    libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt()
}

fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The x with F(x) = p, by bisection.
fn quantile(p: f64) -> f64 {
    let halve = |(low, high): (f64, f64), _| {
        let middle = 0.5 * (low + high);
        if cdf(middle) < p { (middle, high) } else { (low, middle) }
    };
    let (low, high) = (0..64).fold((-9.0, 9.0), halve);
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Box and Muller 1958.
    fn gaussian(rng: &mut ChaCha20Rng) -> f64 {
        let (u, angle): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
    }

    fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
        assert!((found / expected - 1.0).abs() < tolerance, "{what}: {found}, not {expected}");
    }

    #[test]
    fn variances_of_small_medians_are_those_of_the_tables() {
        // Closed form for 3: 1 - sqrt(3)/pi. The others are the variances of normal order
        // statistics for n = 4 and 5 (Sarhan and Greenberg 1956, table I).
        close(trimmed_mean_variance(3, 1), 1.0 - 3_f64.sqrt() / std::f64::consts::PI, 1e-3, "3");
        close(trimmed_mean_variance(4, 1), 0.298_2, 1e-3, "4");
        close(trimmed_mean_variance(5, 2), 0.286_8, 1e-3, "5");
    }

    #[test]
    fn variances_of_large_counts_are_asymptotic() {
        let n = 20_001.0;
        close(trimmed_mean_variance(20_001, 10_000) * n, std::f64::consts::FRAC_PI_2, 2e-3, "med");
        // Trimming a tenth a side: the variance of the Winsorised value over 0.8^2.
        let (q, p) = (quantile(0.9), 0.1);
        let winsorised = 0.8 - 2.0 * q * density(q) + 2.0 * p * q * q;
        close(trimmed_mean_variance(20_000, 2_000) * 20_000.0, winsorised / 0.64, 2e-3, "trim");
    }

    #[test]
    fn variances_are_those_of_drawn_values() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        for (n, g) in [(2, 0), (6, 2), (7, 3), (10, 1), (11, 4), (40, 19), (100, 1)] {
            let draws = 40_000;
            let mut squares = 0.0;
            for _ in 0..draws {
                let mut x: Vec<f64> = (0..n).map(|_| gaussian(&mut rng)).collect();
                x.sort_by(f64::total_cmp);
                let kept = &x[g..n - g];
                squares += (kept.iter().sum::<f64>() / kept.len() as f64).powi(2);
            }
            // A variance of `draws` values has relative standard error sqrt(2 / draws).
            let tolerance = 5.0 * (2.0 / f64::from(draws)).sqrt();
            close(trimmed_mean_variance(n, g), squares / f64::from(draws), tolerance, "drawn");
        }
    }
}
