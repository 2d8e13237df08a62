//! Convolution as a matrix product: the image laid out as one column a position
//! (im2col), and its adjoint (col2im).
//!
//! Both go through the image split by the stride: pixels whose rows and columns leave the
//! same remainders lie together, with the padding written out. Then every row of columns
//! is made of runs of consecutive pixels, whatever the stride, and is moved a vector at a
//! time without a look at the borders.

use super::{LANES, Window, lanes, lanes_mut, mask, masked, vectorised};

/// How one channel is split and put together again; made once for a layer.
#[derive(Clone, Debug)]
pub(crate) struct Unfolding {
    window: Window,
    /// Values of the split channel, `[phases, phases, height, width]`, where the phases are
    /// the remainders that the window reaches.
    split_len: usize,
    /// Distance between rows of the split channel.
    split_width: usize,
    strips: Vec<Strip>,
    /// Where the run of each row of columns begins at the first position.
    runs: Vec<usize>,
}

/// Pixels of one image row, a stride apart, that lie side by side in the split channel.
#[derive(Clone, Copy, Debug)]
struct Strip {
    pixel: usize,
    place: usize,
    count: usize,
}

/// Buffers of im2col and col2im, kept from one image to the next.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    split: Vec<f32>,
    values: Vec<f32>,
}

impl Unfolding {
    pub(crate) fn new(window: Window) -> Self {
        let (kernel, stride) = (window.kernel, window.stride);
        let (phases, reach) = (stride.min(kernel), (kernel - 1) / stride);
        let height = window.out_height + reach;
        // Vectors of one row never reach into the next: a load that overlaps a recent
        // store waits for it.
        let width = window.out_width.next_multiple_of(LANES) + reach;
        let plane = |phase_y, phase_x| (phase_y * phases + phase_x) * height * width;
        let run = |ky, kx| plane(ky % stride, kx % stride) + ky / stride * width + kx / stride;
        let mut strips = Vec::new();
        for (phase_y, phase_x) in pairs(phases) {
            let (left, right) = inside(&window, phase_x, window.width, width);
            let (top, bottom) = inside(&window, phase_y, window.height, height);
            for place_y in if left < right { top..bottom } else { 0..0 } {
                let y = place_y * stride + phase_y - window.padding;
                let pixel = y * window.width + left * stride + phase_x - window.padding;
                let place = plane(phase_y, phase_x) + place_y * width + left;
                strips.push(Strip { pixel, place, count: right - left });
            }
        }
        let runs = pairs(kernel).map(|(ky, kx)| run(ky, kx)).collect();
        Self { window, split_len: plane(phases, 0), split_width: width, strips, runs }
    }

    /// The geometry.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Lays out `image` `[channels, height, width]` as
    /// `[channels * kernel * kernel, positions]`; padding becomes zeros.
    pub(crate) fn columns<'b>(&self, image: &[f32], buffers: &'b mut Columns) -> &'b [f32] {
        assert_eq!(image.len(), self.window.image_len(), "image of im2col");
        let len = buffers.reset(self);
        let Columns { split, values } = buffers;
        vectorised!({
            let mut column = 0;
            for plane in image.chunks_exact(self.window.height * self.window.width) {
                for strip in &self.strips {
                    let to = &mut split[strip.place..strip.place + strip.count];
                    gather(&plane[strip.pixel..], self.window.stride, to);
                }
                for run in &self.runs {
                    column = self.copy_run(*run, column, split, values);
                }
            }
        });
        &values[..len]
    }

    /// Adds columns `[channels * kernel * kernel, positions]`, which `make` writes, to the
    /// pixels of `image` that [`Unfolding::columns`] takes them from: its adjoint.
    pub(crate) fn add_columns(
        &self,
        image: &mut [f32],
        buffers: &mut Columns,
        make: impl FnOnce(&mut [f32]),
    ) {
        assert_eq!(image.len(), self.window.image_len(), "image of col2im");
        let len = buffers.reset(self);
        make(&mut buffers.values[..len]);
        let Columns { split, values } = buffers;
        vectorised!({
            let mut column = 0;
            for plane in image.chunks_exact_mut(self.window.height * self.window.width) {
                split.fill(0.0);
                for run in &self.runs {
                    column = self.add_run(*run, column, values, split);
                }
                for strip in &self.strips {
                    let from = &split[strip.place..strip.place + strip.count];
                    scatter(from, self.window.stride, &mut plane[strip.pixel..]);
                }
            }
        });
    }

    /// Copies one row of columns out of the split channel; the column after it.
    #[inline(always)]
    fn copy_run(&self, run: usize, column: usize, split: &[f32], values: &mut [f32]) -> usize {
        // Lengths known to the compiler are moved without a call.
        match self.window.out_width.div_ceil(LANES) {
            1 => self.copy_rows(LANES, &split[run..], &mut values[column..]),
            2 => self.copy_rows(2 * LANES, &split[run..], &mut values[column..]),
            vectors => self.copy_rows(vectors * LANES, &split[run..], &mut values[column..]),
        }
        column + self.window.positions()
    }

    /// Copies `len` values for each row of positions; those beyond the row are overwritten
    /// by the next one.
    #[inline(always)]
    fn copy_rows(&self, len: usize, split: &[f32], values: &mut [f32]) {
        for oy in 0..self.window.out_height {
            let from = &split[oy * self.split_width..][..len];
            values[oy * self.window.out_width..][..len].copy_from_slice(from);
        }
    }

    /// Adds one row of columns to the split channel; the column after it.
    #[inline(always)]
    fn add_run(&self, run: usize, column: usize, values: &[f32], split: &mut [f32]) -> usize {
        let Window { out_height, out_width, .. } = self.window;
        let last = out_width.next_multiple_of(LANES) - LANES;
        // Lanes beyond the run belong to the next one.
        let tail = mask(out_width - last);
        for oy in 0..out_height {
            let (place, column) = (run + oy * self.split_width, column + oy * out_width);
            let mut x = 0;
            while x < last {
                add_lanes(*lanes(values, column + x), split, place + x);
                x += LANES;
            }
            add_lanes(masked(*lanes(values, column + last), tail), split, place + last);
        }
        column + out_height * out_width
    }
}

impl Columns {
    /// Makes both buffers long enough, with slack, and clears the padding of the split
    /// channel; the number of values.
    fn reset(&mut self, unfolding: &Unfolding) -> usize {
        let len = unfolding.window.patch_len() * unfolding.window.positions();
        self.split.clear();
        self.split.resize(unfolding.split_len + LANES, 0.0);
        self.values.resize(len + LANES, 0.0);
        len
    }
}

/// The places, of `places` along one side, that lie on the image and not in the padding:
/// those with `0 <= place * stride + phase - padding < length`.
fn inside(window: &Window, phase: usize, length: usize, places: usize) -> (usize, usize) {
    let first = window.padding.saturating_sub(phase).div_ceil(window.stride);
    let reach = (length + window.padding).saturating_sub(phase);
    let last = reach.div_ceil(window.stride).min(places);
    (first.min(last), last)
}

/// All pairs below `side`, row by row.
fn pairs(side: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..side).flat_map(move |row| (0..side).map(move |col| (row, col)))
}

/// Takes every `stride`-th value.
#[inline(always)]
fn gather(from: &[f32], stride: usize, to: &mut [f32]) {
    let count = to.len();
    match stride {
        1 => to.copy_from_slice(&from[..count]),
        2 => {
            for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                *to = from[0];
            }
            // Its pair may be cut off by the end of the image.
            to[count - 1] = from[2 * (count - 1)];
        }
        _ => {
            for (index, to) in to.iter_mut().enumerate() {
                *to = from[index * stride];
            }
        }
    }
}

/// Adds to every `stride`-th value.
#[inline(always)]
fn scatter(from: &[f32], stride: usize, to: &mut [f32]) {
    for (index, value) in from.iter().enumerate() {
        to[index * stride] += value;
    }
}

#[inline(always)]
fn add_lanes(values: [f32; LANES], sums: &mut [f32], start: usize) {
    let mut sum = *lanes(sums, start);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
    *lanes_mut(sums, start) = sum;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::window::any_window;
    use crate::nn::test_values;

    /// Pixel index under each entry of the columns, by the definition.
    fn naive_sources(window: &Window) -> Vec<Option<usize>> {
        let mut sources = Vec::new();
        for (c, ky, kx) in (0..window.patch_len()).map(|row| {
            let area = window.kernel * window.kernel;
            (row / area, row % area / window.kernel, row % window.kernel)
        }) {
            for position in 0..window.positions() {
                let (oy, ox) = (position / window.out_width, position % window.out_width);
                let y = (oy * window.stride + ky) as isize - window.padding as isize;
                let x = (ox * window.stride + kx) as isize - window.padding as isize;
                let inside = (0..window.height as isize).contains(&y)
                    && (0..window.width as isize).contains(&x);
                sources.push(
                    inside.then(|| (c * window.height + y as usize) * window.width + x as usize),
                );
            }
        }
        sources
    }

    proptest! {
        #[test]
        fn columns_and_their_adjoint_are_the_naive_ones(window in any_window()) {
            let sources = naive_sources(&window);
            let image = test_values(window.image_len(), 3);
            // Left over from another image.
            let mut buffers = Columns { split: vec![f32::NAN; 99], values: vec![f32::NAN; 999] };
            let unfolding = Unfolding::new(window);
            let expected: Vec<f32> =
                sources.iter().map(|source| source.map_or(0.0, |index| image[index])).collect();
            prop_assert_eq!(unfolding.columns(&image, &mut buffers), &expected);

            let weights = test_values(sources.len(), 4);
            let mut sums = vec![0.0; image.len()];
            buffers.values.fill(f32::NAN);
            let make = |values: &mut [f32]| values.copy_from_slice(&weights);
            unfolding.add_columns(&mut sums, &mut buffers, make);
            let mut expected = vec![0.0_f32; image.len()];
            for (source, weight) in sources.iter().zip(&weights) {
                if let Some(index) = source {
                    expected[*index] += weight;
                }
            }
            for (found, expected) in sums.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-5);
            }
        }
    }
}
