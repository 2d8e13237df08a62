//! Features whitened by statistics of public images, cut to their main directions, and made
//! of unit length.
//!
//! A gradient of a linear head is an outer product with the features: once they have unit
//! length, no example's is larger than another's for the features' sake, and noise, which is
//! the same in all directions, meets a signal that is about the same in all of them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Features;
use super::linear_algebra::{Cholesky, cross, positive_part, product};
use crate::kernels::Matrix;

/// Subspace iterations: each takes the ratio of two directions' variances to the next power.
const ITERATIONS: usize = 3;
/// Keeps a Gram matrix positive definite under rounding.
const SHIFT: f64 = 1e-4;

/// How features are whitened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhiteningSettings {
    /// Main directions that are kept.
    pub directions: usize,
    /// Added to every direction's variance, as a share of their mean: directions of less are
    /// hardly enlarged.
    pub ridge: f64,
    /// A last feature that is the same for all examples: what a head learns biases from.
    pub constant: f32,
}

/// Whitened features of another map, `[directions + 1]`.
pub struct Whitened {
    base: Box<dyn Features>,
    base_len: usize,
    mean: Vec<f32>,
    /// `[base features, directions]`
    matrix: Vec<f32>,
    directions: usize,
    constant: f32,
    shape: [usize; 1],
}

impl Whitened {
    /// Learns the statistics from `images`, which must be public: inputs of `base`, one after
    /// the other. At most as many directions are kept as there are images or base features.
    #[must_use]
    pub fn learn(base: Box<dyn Features>, images: &[f32], settings: &WhiteningSettings) -> Self {
        let (mut values, base_len) = super::computed(&*base, images);
        let rows = values.len() / base_len;
        let directions = settings.directions.min(rows).min(base_len).max(1);
        let mean = centre(&mut values, base_len);
        let basis = main_directions(&values, base_len, directions);
        let seen =
            product(&values, Matrix::new(&basis, base_len, directions), base_len, directions);
        let gram: Vec<f64> = cross(&seen, directions, &seen, directions)
            .into_iter()
            .map(|x| f64::from(x) / rows as f64)
            .collect();
        let total: f64 = gram.iter().step_by(directions + 1).sum();
        let matrix =
            orthogonal(&basis, gram, directions, settings.ridge * total / directions as f64);
        let (constant, shape) = (settings.constant, [directions + 1]);
        Self { base, base_len, mean, matrix, directions, constant, shape }
    }
}

impl Features for Whitened {
    fn input_shape(&self) -> &[usize] {
        self.base.input_shape()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let count = outputs.len() / self.shape[0];
        let mut values = vec![0.0; count * self.base_len];
        self.base.compute(inputs, &mut values);
        for row in values.chunks_exact_mut(self.base_len) {
            row.iter_mut().zip(&self.mean).for_each(|(x, m)| *x -= m);
        }
        let matrix = Matrix::new(&self.matrix, self.base_len, self.directions);
        let seen = product(&values, matrix, self.base_len, self.directions);
        for (output, seen) in
            outputs.chunks_exact_mut(self.shape[0]).zip(seen.chunks_exact(self.directions))
        {
            output[..self.directions].copy_from_slice(seen);
            make_unit(&mut output[..self.directions]);
            output[self.directions] = self.constant;
        }
    }
}

/// Vectors whitened by a second moment that is given, and made of unit length, `[n] -> [n]`.
pub struct Rotated {
    /// `[n, n]`
    matrix: Vec<f32>,
    shape: [usize; 1],
}

impl Rotated {
    /// By L^-1, with M + ridge = L L^T. The moment M `[n, n]` must be public or released; of a
    /// noisy one the symmetric part is taken, and eigenvalues that noise made negative are taken
    /// for 0. `ridge` is a share of M's trace.
    #[must_use]
    pub fn by(moment: &[f64], n: usize, ridge: f64) -> Self {
        let trace: f64 = moment.iter().step_by(n + 1).sum();
        let symmetric = |at: usize| ((moment[at] + moment[at % n * n + at / n]) / 2.0) as f32;
        let symmetric: Vec<f32> = (0..n * n).map(symmetric).collect();
        let mut positive: Vec<f64> =
            positive_part(&symmetric, n).into_iter().map(f64::from).collect();
        positive.iter_mut().step_by(n + 1).for_each(|x| *x += ridge * trace);
        let inverse = Cholesky::new(positive, n).inverse();
        let matrix = (0..n * n).map(|at| inverse[at % n * n + at / n]).collect();
        Self { matrix, shape: [n] }
    }
}

impl Features for Rotated {
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let n = self.shape[0];
        outputs.copy_from_slice(&product(inputs, Matrix::new(&self.matrix, n, n), n, n));
        outputs.chunks_exact_mut(n).for_each(make_unit);
    }
}

fn make_unit(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// Takes the mean of the rows off them.
fn centre(values: &mut [f32], width: usize) -> Vec<f32> {
    let rows = (values.len() / width) as f64;
    let mut mean = vec![0.0; width];
    for row in values.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / rows);
    }
    let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
    for row in values.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(x, m)| *x -= m);
    }
    mean
}

/// An orthonormal basis `[width, directions]` of about the directions in which rows vary most
/// (subspace iteration: Halko, Martinsson and Tropp 2011, arXiv 0909.4061, Algorithm 4.4).
fn main_directions(values: &[f32], width: usize, directions: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<f32> =
        (0..width * directions).map(|_| rng.random::<f32>() - rng.random::<f32>()).collect();
    for _ in 0..ITERATIONS {
        // Made orthonormal after each half: rounding would drown small directions in the
        // square of what large ones vary by.
        let seen = product(values, Matrix::new(&basis, width, directions), width, directions);
        basis = cross(values, width, &orthonormal(&seen, directions), directions);
        basis = orthonormal(&basis, directions);
    }
    // Each pass leaves less of what shift and rounding did to small directions (Fukaya and
    // others 2020, arXiv 1809.11085, shifted CholeskyQR3).
    (0..2).for_each(|_| basis = orthonormal(&basis, directions));
    basis
}

/// About an orthonormal basis of what the columns `[rows, n]` span.
fn orthonormal(columns: &[f32], n: usize) -> Vec<f32> {
    let gram: Vec<f64> = cross(columns, n, columns, n).into_iter().map(f64::from).collect();
    let largest = gram.iter().step_by(n + 1).fold(0.0, |a: f64, b| a.max(*b));
    orthogonal(columns, gram, n, SHIFT * largest)
}

/// `basis L^-T` for `gram + shift = L L^T`: of unit variance where `gram` is what the basis
/// varies by.
fn orthogonal(basis: &[f32], mut gram: Vec<f64>, n: usize, shift: f64) -> Vec<f32> {
    gram.iter_mut().step_by(n + 1).for_each(|x| *x += shift);
    let inverse = Cholesky::new(gram, n).inverse();
    product(basis, Matrix::new(&inverse, n, n).transposed(), n, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight numbers as they are.
    struct Same;

    impl Features for Same {
        fn input_shape(&self) -> &[usize] {
            &[8]
        }

        fn shape(&self) -> &[usize] {
            &[8]
        }

        fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
            outputs.copy_from_slice(inputs);
        }
    }

    /// Rows whose coordinate j varies by 2^-j, about 1.
    fn rows(count: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut value =
            |at: usize| 1.0 + (rng.random::<f32>() - 0.5) * 0.5_f32.powi((at % 8) as i32);
        (0..count * 8).map(&mut value).collect()
    }

    #[test]
    fn directions_of_public_images_come_out_alike_and_of_unit_length() {
        let images = rows(4000);
        let settings = WhiteningSettings { directions: 3, ridge: 1e-6, constant: 0.3 };
        let whitened = Whitened::learn(Box::new(Same), &images, &settings);
        let mut outputs = vec![0.0; 4000 * 4];
        whitened.compute(&images, &mut outputs);
        let mut powers = [0.0; 3];
        for row in outputs.chunks_exact(4) {
            assert!((row[..3].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
            assert_eq!(row[3], 0.3);
            powers.iter_mut().zip(row).for_each(|(p, x)| *p += x * x / 4000.0);
        }
        powers.iter().for_each(|p| assert!((p - 1.0 / 3.0).abs() < 0.03, "{powers:?}"));
    }

    #[test]
    fn variances_that_differ_much_leave_a_basis_of_finite_numbers() {
        const WIDTH: usize = 96;
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut value = |at: usize| (rng.random::<f32>() - 0.5) * 0.8_f32.powi((at % WIDTH) as i32);
        let values: Vec<f32> = (0..200 * WIDTH).map(&mut value).collect();
        let basis = main_directions(&values, WIDTH, 90);
        assert!(basis.iter().all(|x| x.is_finite()));
        let gram = cross(&basis, 90, &basis, 90);
        (0..90).for_each(|i| assert!(gram[i * 91] < 1.01, "{i}: {}", gram[i * 91]));
        (0..20).for_each(|i| assert!(gram[i * 91] > 0.9, "{i}: {}", gram[i * 91]));
    }

    #[test]
    fn a_moment_makes_its_own_directions_alike() {
        let mut values = rows(3000);
        centre(&mut values, 8);
        let moment: Vec<f64> = cross(&values, 8, &values, 8).into_iter().map(f64::from).collect();
        let rotated = Rotated::by(&moment, 8, 1e-9);
        let mut outputs = vec![0.0; values.len()];
        rotated.compute(&values, &mut outputs);
        let after = cross(&outputs, 8, &outputs, 8);
        for (at, value) in after.iter().enumerate() {
            let expected = if at % 9 == 0 { 3000.0 / 8.0 } else { 0.0 };
            assert!((value - expected).abs() < 25.0, "{at}: {value}");
        }
    }

    #[test]
    fn the_kept_directions_are_those_that_vary_most() {
        let images = rows(2000);
        let mut values = images.clone();
        centre(&mut values, 8);
        let basis = main_directions(&values, 8, 2);
        let kept: f32 = basis[..2 * 2].iter().map(|x| x * x).sum();
        assert!((kept - 2.0).abs() < 0.02, "the first two coordinates: {kept}");
    }
}
