//! Convolution with patches as filters, a threshold, and a mean over a grid.
//!
//! ```text
//! y_k = w_k . (p - m)             p: a patch, its contrast made one
//! f   = sqrt(mean over a cell of max(0, +-y_k - threshold))
//! ```
//!
//! The filters are patches of procedural images seen through the inverse of their covariance,
//! which is what whitening both a patch and a filter comes to (Coates, Ng and Lee 2011, An
//! Analysis of Single-Layer Networks in Unsupervised Feature Learning: random whitened patches
//! do nearly as well as learned ones). Each comes with its mirror image, and both halves are
//! averaged crosswise, so that an image and its mirror image have the same features.

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::linear_algebra::{Cholesky, cross};
use super::{ALWAYS, Features, MayGoOn, leaves};
use crate::data::Error;
use crate::kernels::{Matrix, multiply};

/// Patches of one image that the statistics of patches are taken from.
const PER_IMAGE: usize = 60;
/// The same with their mirror images.
pub(super) const SEEN: usize = 2 * PER_IMAGE;
/// Added to a patch's variance, in squared grey levels: flat patches stay flat.
const FLAT: f32 = 10.0;
/// Patches tried for a filter: the faintest tenth is left out.
const TRIED: f64 = 1.2;

/// What filters are made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchSettings {
    /// Public seed of images and choice.
    pub seed: u64,
    /// Procedural images that patches are taken from.
    pub images: usize,
    /// Sides of the patches; each has filters of its own.
    pub sizes: Vec<usize>,
    /// Filters of a size, without their mirror images.
    pub pairs: usize,
    /// Added to the patches' variances, which are at most about 1 a pixel.
    pub ridge: f64,
    /// What a response must exceed.
    pub threshold: f32,
    /// Cells of the grid in each direction.
    pub grid: usize,
}

/// Patch features of images, `[c, h, w] -> [sizes * 2 * pairs, grid, grid]`.
pub struct Patches {
    input_shape: [usize; 3],
    shape: [usize; 3],
    banks: Vec<Bank>,
    threshold: f32,
}

/// The filters of one size.
struct Bank {
    size: usize,
    /// Positions of a patch in a row of the image, and in a column.
    across: usize,
    down: usize,
    /// `[c * size^2 + 1, count]`; the last row takes the mean off.
    filters: Vec<f32>,
    /// Filters, mirror images included.
    count: usize,
    /// First row and row after the last one of every row of cells; the same of columns.
    rows: Vec<(usize, usize)>,
    columns: Vec<(usize, usize)>,
}

impl Patches {
    /// Learns filters from procedural images: a function of settings and shape.
    ///
    /// # Errors
    /// [`Error::Patches`] where a size or the grid does not fit the images, or a number is 0.
    pub fn new(input_shape: [usize; 3], settings: &PatchSettings) -> Result<Self, Error> {
        let patches = Self::new_while(input_shape, settings, ALWAYS)?;
        Ok(patches.expect("nothing calls it off"))
    }

    /// As [`Patches::new`]; none when called off.
    pub(super) fn new_while(
        input_shape: [usize; 3],
        settings: &PatchSettings,
        may_go_on: MayGoOn<'_>,
    ) -> Result<Option<Self>, Error> {
        let shape = settings.shape(input_shape)?;
        let (seed, count) = (settings.seed, settings.images);
        let Some(images) = leaves(seed, count, input_shape, may_go_on)? else { return Ok(None) };
        let bank = |size: &usize| Bank::new(&images, input_shape, *size, settings, may_go_on);
        let banks: Option<Vec<Bank>> = settings.sizes.iter().map(bank).collect();
        let threshold = settings.threshold;
        Ok(banks.map(|banks| Self { input_shape, shape, banks, threshold }))
    }
}

impl PatchSettings {
    /// Shape of the features of images `[c, h, w]`.
    ///
    /// # Errors
    /// As [`Patches::new`].
    pub(super) fn shape(&self, input_shape: [usize; 3]) -> Result<[usize; 3], Error> {
        let Self { sizes, pairs, grid, images, ridge, threshold, .. } = self;
        let [channels, height, width] = input_shape;
        let side = height.min(width);
        let fits = |size: &usize| (1..=side).contains(size) && *grid <= side - size + 1;
        let numbers = ridge.is_finite() && *ridge > 0.0 && threshold.is_finite();
        let positive = [channels, *pairs, *grid, *images, sizes.len()];
        let channels = sizes.len().checked_mul(2).and_then(|twice| twice.checked_mul(*pairs));
        match channels {
            Some(channels) if sizes.iter().all(fits) && !positive.contains(&0) && numbers => {
                Ok([channels, *grid, *grid])
            }
            _ => Err(Error::Patches { shape: input_shape.to_vec() }),
        }
    }
}

impl Features for Patches {
    fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let [input, output] = [&self.input_shape, &self.shape].map(|s| s.iter().product());
        let mut room = Room::default();
        for (image, features) in inputs.chunks_exact(input).zip(outputs.chunks_exact_mut(output)) {
            let each = output / self.banks.len();
            for (bank, features) in self.banks.iter().zip(features.chunks_exact_mut(each)) {
                bank.pool(image, self.input_shape, self.threshold, &mut room);
                bank.fold(&room.cells, features);
            }
        }
    }
}

/// Scratch of one image.
#[derive(Default)]
struct Room {
    patches: Vec<f32>,
    responses: Vec<f32>,
    /// `[cells, 2 sides, 2 * pairs]`
    cells: Vec<f32>,
}

impl Bank {
    /// None when called off.
    fn new(
        images: &[f32],
        shape: [usize; 3],
        size: usize,
        settings: &PatchSettings,
        may_go_on: MayGoOn<'_>,
    ) -> Option<Self> {
        let [channels, height, width] = shape;
        let (across, down) = (width - size + 1, height - size + 1);
        let dims = channels * size * size;
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed ^ size as u64);
        let mut patches = sampled(images, shape, size, &mut rng, may_go_on)?;
        let straight = patches.len() / dims;
        add_mirrored(&mut patches, size, PER_IMAGE * dims, may_go_on)?;
        let (mean, factor) = statistics(&patches, dims, settings.ridge, may_go_on)?;
        let tried = tried(settings.pairs).min(straight);
        let picked = index::sample(&mut rng, straight, tried).into_iter();
        let found = picked.map(|i| {
            let patch = &patches[i * dims..][..dims];
            may_go_on().then(|| filter(patch, &mean, &factor))
        });
        let mut found: Vec<(f64, Vec<f64>)> = found.collect::<Option<_>>()?;
        // Faint patches are mostly noise: the loudest are kept.
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut filters: Vec<Vec<f32>> = found
            .into_iter()
            .take(settings.pairs)
            .map(|(_, filter)| filter.iter().map(|x| *x as f32).collect())
            .collect();
        let mirrored: Vec<Vec<f32>> = filters.iter().map(|filter| mirror(filter, size)).collect();
        filters.extend(mirrored);
        let count = filters.len();
        let filters = arranged(&filters, &mean);
        let (rows, columns) = (cells(down, settings.grid), cells(across, settings.grid));
        Some(Self { size, across, down, filters, count, rows, columns })
    }

    /// Sums of what exceeds the threshold, cell by cell.
    fn pool(&self, image: &[f32], shape: [usize; 3], threshold: f32, room: &mut Room) {
        let Room { patches, responses, cells } = room;
        let (dims, count) = (self.filters.len() / self.count, self.count);
        let columns = self.columns.len();
        cells.clear();
        cells.resize(self.rows.len() * columns * 2 * count, 0.0);
        responses.resize(self.across * count, 0.0);
        for y in 0..self.down {
            patches.clear();
            for x in 0..self.across {
                read(image, shape, (y, x), self.size, patches);
                patches.push(1.0);
            }
            let left = Matrix::new(patches, self.across, dims);
            multiply(responses, left, Matrix::new(&self.filters, dims, count), false);
            for (row, _) in self.rows.iter().enumerate().filter(|(_, r)| (r.0..r.1).contains(&y)) {
                for (x, response) in responses.chunks_exact(count).enumerate() {
                    let here = self.columns.iter().enumerate();
                    for (column, _) in here.filter(|(_, c)| (c.0..c.1).contains(&x)) {
                        let cell = &mut cells[(row * columns + column) * 2 * count..][..2 * count];
                        exceed(cell, response, threshold);
                    }
                }
            }
        }
    }

    /// Means over cells, averaged with the mirror image's, and their square roots:
    /// `[2 sides, pairs, grid, grid]`.
    fn fold(&self, cells: &[f32], features: &mut [f32]) {
        let (rows, columns, count) = (self.rows.len(), self.columns.len(), self.count);
        let at = |row: usize, column: usize, side: usize, filter: usize| {
            cells[((row * columns + column) * 2 + side) * count + filter]
        };
        let length = |(from, to): (usize, usize)| (to - from) as f32;
        let pairs = count / 2;
        for (index, feature) in features.iter_mut().enumerate() {
            let (column, row) = (index % columns, index / columns % rows);
            let (pair, side) = (index / (rows * columns) % pairs, index / (rows * columns * pairs));
            let area = length(self.rows[row]) * length(self.columns[column]);
            let there = at(row, columns - 1 - column, side, pairs + pair);
            *feature = ((at(row, column, side, pair) + there) / (2.0 * area)).sqrt();
        }
    }
}

/// Adds `max(0, y - threshold)` to the first half of a cell, `max(0, -y - threshold)` to the
/// second one.
fn exceed(cell: &mut [f32], response: &[f32], threshold: f32) {
    let (above, below) = cell.split_at_mut(response.len());
    for ((above, below), y) in above.iter_mut().zip(below).zip(response) {
        *above += (y - threshold).max(0.0);
        *below += (-y - threshold).max(0.0);
    }
}

/// The patch with its corner at `(y, x)`, all channels, at the end of `patches`: less its mean,
/// over its deviation.
fn read(
    image: &[f32],
    [channels, height, width]: [usize; 3],
    (y, x): (usize, usize),
    size: usize,
    patches: &mut Vec<f32>,
) {
    let start = patches.len();
    for row in
        (0..channels).flat_map(|c| (0..size).map(move |row| (c * height + y + row) * width + x))
    {
        patches.extend_from_slice(&image[row..row + size]);
    }
    let patch = &mut patches[start..];
    let len = patch.len() as f32;
    let mean = patch.iter().sum::<f32>() / len;
    patch.iter_mut().for_each(|v| *v -= mean);
    let variance = patch.iter().map(|v| v * v).sum::<f32>() / len;
    let flat = FLAT * super::grey_level(channels).powi(2);
    let gain = 1.0 / (variance + flat).sqrt();
    patch.iter_mut().for_each(|v| *v *= gain);
}

/// Patches that filters are made from, of which the loudest are kept.
pub(super) fn tried(pairs: usize) -> usize {
    (pairs as f64 * TRIED) as usize + 1
}

/// Patches of all images at random places, one after the other; none when called off.
fn sampled(
    images: &[f32],
    shape: [usize; 3],
    size: usize,
    rng: &mut ChaCha8Rng,
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<f32>> {
    let [channels, height, width] = shape;
    let mut patches = Vec::new();
    for image in images.chunks_exact(channels * height * width) {
        if !may_go_on() {
            return None;
        }
        for _ in 0..PER_IMAGE {
            let place = (rng.random_range(0..=height - size), rng.random_range(0..=width - size));
            read(image, shape, place, size, &mut patches);
        }
    }
    Some(patches)
}

/// Adds the mirror images of all patches, `piece` values between two looks at whether to go on.
fn add_mirrored(
    patches: &mut Vec<f32>,
    size: usize,
    piece: usize,
    may_go_on: MayGoOn<'_>,
) -> Option<()> {
    let straight = patches.len();
    patches.reserve_exact(straight);
    for start in (0..straight).step_by(piece) {
        if !may_go_on() {
            return None;
        }
        let mirrored = mirror(&patches[start..straight.min(start + piece)], size);
        patches.extend(mirrored);
    }
    Some(())
}

/// Patches seen in a mirror, channel by channel.
fn mirror(patches: &[f32], size: usize) -> Vec<f32> {
    patches.chunks_exact(size).flat_map(|row| row.iter().rev().copied()).collect()
}

/// Mean of the patches, and the factor of their covariance with `ridge` on its diagonal; none
/// when called off.
fn statistics(
    patches: &[f32],
    dims: usize,
    ridge: f64,
    may_go_on: MayGoOn<'_>,
) -> Option<(Vec<f64>, Cholesky)> {
    let count = (patches.len() / dims) as f64;
    let mut mean = vec![0.0; dims];
    for some in patches.chunks(PER_IMAGE * dims) {
        if !may_go_on() {
            return None;
        }
        for patch in some.chunks_exact(dims) {
            mean.iter_mut().zip(patch).for_each(|(m, x)| *m += f64::from(*x) / count);
        }
    }
    let squares = cross(patches, dims, patches, dims, may_go_on)?;
    let covariance = |at: usize| {
        let (i, j) = (at / dims, at % dims);
        let own = if i == j { ridge } else { 0.0 };
        f64::from(squares[at]) / count - mean[i] * mean[j] + own
    };
    let covariance = (0..dims * dims).into_par_iter().map(covariance).collect();
    Some((mean, Cholesky::new(covariance, dims, may_go_on)?))
}

/// C^-1 (p - m) over the whitened patch's norm, and that norm.
fn filter(patch: &[f32], mean: &[f64], factor: &Cholesky) -> (f64, Vec<f64>) {
    let mut filter: Vec<f64> = patch.iter().zip(mean).map(|(x, m)| f64::from(*x) - m).collect();
    factor.solve_lower(&mut filter);
    let norm = filter.iter().map(|x| x * x).sum::<f64>().sqrt();
    factor.solve_upper(&mut filter);
    let gain = 1.0 / norm.max(f64::MIN_POSITIVE);
    filter.iter_mut().for_each(|x| *x *= gain);
    (norm, filter)
}

/// Filters as the columns of a matrix, with what takes the mean off in a last row.
fn arranged(filters: &[Vec<f32>], mean: &[f64]) -> Vec<f32> {
    let mut matrix = Vec::with_capacity((mean.len() + 1) * filters.len());
    for dim in 0..mean.len() {
        matrix.extend(filters.iter().map(|filter| filter[dim]));
    }
    let offset = |filter: &Vec<f32>| {
        -filter.iter().zip(mean).map(|(w, m)| f64::from(*w) * m).sum::<f64>() as f32
    };
    matrix.extend(filters.iter().map(offset));
    matrix
}

/// Cells of equal size over `length` positions, sharing one where it does not divide: the
/// same from both ends.
fn cells(length: usize, grid: usize) -> Vec<(usize, usize)> {
    (0..grid).map(|i| (length * i / grid, (length * (i + 1)).div_ceil(grid))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::dead_leaves;
    use super::*;

    fn settings() -> PatchSettings {
        let (seed, images, sizes, pairs) = (1, 30, vec![5, 6], 8);
        PatchSettings { seed, images, sizes, pairs, ridge: 0.3, threshold: 0.8, grid: 2 }
    }

    fn features(shape: [usize; 3], images: &[f32]) -> Vec<f32> {
        let patches = Patches::new(shape, &settings()).unwrap();
        let count = images.len() / shape.iter().product::<usize>();
        let mut outputs = vec![0.0; count * patches.shape().iter().product::<usize>()];
        patches.compute(images, &mut outputs);
        outputs
    }

    #[test]
    fn an_image_and_its_mirror_image_have_the_same_features() {
        let shape = [3, 32, 32];
        let image = dead_leaves(9, 1, shape).unwrap();
        let (straight, mirrored) = (features(shape, &image), features(shape, &mirror(&image, 32)));
        assert_eq!(straight.len(), 2 * 2 * 8 * 4);
        let largest = straight.iter().copied().fold(0.0, f32::max);
        assert!(largest > 0.1);
        let off = straight.iter().zip(&mirrored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-4 * largest, "{off} of {largest}");
    }

    #[test]
    fn neither_light_nor_contrast_matter_much() {
        let shape = [1, 28, 28];
        let image = dead_leaves(9, 1, shape).unwrap();
        let other: Vec<f32> = image.iter().map(|x| 1.5 * x + 0.7).collect();
        let (a, b) = (features(shape, &image), features(shape, &other));
        let off: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(off < 0.01 * a.iter().map(|a| a * a).sum::<f32>(), "{off}");
    }

    #[test]
    fn responses_to_procedural_patches_have_about_unit_variance() {
        let shape = [1, 32, 32];
        let images = dead_leaves(5, 20, shape).unwrap();
        let bank = Bank::new(&images, shape, 5, &settings(), ALWAYS).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let patches = sampled(&images, shape, 5, &mut rng, ALWAYS).unwrap();
        let (dims, count) = (25, patches.len() / 25);
        let with_one: Vec<f32> =
            patches.chunks_exact(dims).flat_map(|p| p.iter().copied().chain([1.0])).collect();
        let mut responses = vec![0.0; count * 16];
        let filters = Matrix::new(&bank.filters, dims + 1, 16);
        multiply(&mut responses, Matrix::new(&with_one, count, dims + 1), filters, false);
        let mean = responses.iter().sum::<f32>() / responses.len() as f32;
        let variance = responses.iter().map(|y| y * y).sum::<f32>() / responses.len() as f32;
        assert!(mean.abs() < 0.1 && (0.3..1.1).contains(&variance), "{mean} {variance}");
    }

    #[test]
    fn cells_are_the_same_from_both_ends() {
        assert_eq!(cells(27, 2), [(0, 14), (13, 27)]);
        assert_eq!(cells(8, 4), [(0, 2), (2, 4), (4, 6), (6, 8)]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let refused = |change: fn(&mut PatchSettings)| {
            let mut settings = settings();
            change(&mut settings);
            matches!(Patches::new([1, 28, 28], &settings), Err(Error::Patches { .. }))
        };
        assert!(refused(|s| s.sizes = vec![28]));
        assert!(refused(|s| s.sizes = vec![]));
        assert!(refused(|s| s.pairs = 0));
        assert!(refused(|s| s.ridge = 0.0));
        assert!(refused(|s| s.threshold = f32::INFINITY));
        assert!(refused(|s| s.grid = usize::MAX));
        assert!(refused(|s| s.pairs = usize::MAX));
        assert!(Patches::new([0, 28, 28], &settings()).is_err());
    }
}
