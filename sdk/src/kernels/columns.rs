//! Convolution as a matrix product: the image laid out as one column a position
//! (im2col), and its adjoint (col2im).
//!
//! Both go through the image split by the stride: pixels whose rows and columns leave the
//! same remainders lie together, with the padding written out. Then every row of columns
//! is made of runs of consecutive pixels, whatever the stride, and is moved a vector at a
//! time without a look at the borders.

use super::{LANES, Window, lanes, lanes_mut, mask, vectorised};

/// Buffers of im2col and col2im, kept from one image to the next.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    planes: Vec<f32>,
    values: Vec<f32>,
}

impl Columns {
    /// Lays out `image` `[channels, height, width]` as
    /// `[channels * kernel * kernel, positions]`; padding becomes zeros.
    pub(crate) fn of(&mut self, window: &Window, image: &[f32]) -> &[f32] {
        assert_eq!(image.len(), window.image_len(), "image of im2col");
        let split = Split::new(window);
        let len = window.patch_len() * window.positions();
        self.planes.clear();
        self.planes.resize(split.len() + LANES, 0.0);
        // Every value is overwritten, but for the slack that vectors run into.
        self.values.resize(len + LANES, 0.0);
        let (planes, values) = (&mut self.planes, &mut self.values);
        vectorised(
            #[inline(always)]
            || {
                split.each_row(
                    window,
                    #[inline(always)]
                    |pixel, plane, count| {
                        let from = image[pixel..].iter().step_by(window.stride);
                        for (to, from) in planes[plane..plane + count].iter_mut().zip(from) {
                            *to = *from;
                        }
                    },
                );
                split.each_run(
                    window,
                    #[inline(always)]
                    |plane, column| {
                        for x in (0..window.out_width).step_by(LANES) {
                            // What is written beyond the run is overwritten by the next one.
                            *lanes_mut(values, column + x) = *lanes(planes, plane + x);
                        }
                    },
                );
            },
        );
        &self.values[..len]
    }

    /// Adds columns `[channels * kernel * kernel, positions]`, which `make` writes, to the
    /// pixels of `image` that [`Columns::of`] takes them from: its adjoint.
    pub(crate) fn add(
        &mut self,
        window: &Window,
        image: &mut [f32],
        make: impl FnOnce(&mut [f32]),
    ) {
        assert_eq!(image.len(), window.image_len(), "image of col2im");
        let split = Split::new(window);
        let len = window.patch_len() * window.positions();
        self.planes.clear();
        self.planes.resize(split.len() + LANES, 0.0);
        self.values.resize(len + LANES, 0.0);
        make(&mut self.values[..len]);
        let (planes, values) = (&mut self.planes, &self.values);
        vectorised(
            #[inline(always)]
            || {
                split.each_run(
                    window,
                    #[inline(always)]
                    |plane, column| {
                        for x in (0..window.out_width).step_by(LANES) {
                            let mask = mask(window.out_width - x);
                            let (values, mut sums) =
                                (*lanes(values, column + x), *lanes(planes, plane + x));
                            for lane in 0..LANES {
                                sums[lane] += f32::from_bits(values[lane].to_bits() & mask[lane]);
                            }
                            *lanes_mut(planes, plane + x) = sums;
                        }
                    },
                );
                split.each_row(
                    window,
                    #[inline(always)]
                    |pixel, plane, count| {
                        let to = image[pixel..].iter_mut().step_by(window.stride);
                        for (to, sum) in to.zip(&planes[plane..plane + count]) {
                            *to += sum;
                        }
                    },
                );
            },
        );
    }
}

/// The image split by the stride: `[channels, phases, phases, height, width]`, where the
/// phases are the remainders that the window reaches.
#[derive(Clone, Copy, Debug)]
struct Split {
    phases: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Split {
    fn new(window: &Window) -> Self {
        let reach = (window.kernel - 1) / window.stride;
        Self {
            phases: window.stride.min(window.kernel),
            height: window.out_height + reach,
            width: window.out_width + reach,
            channels: window.channels,
        }
    }

    fn len(&self) -> usize {
        self.channels * self.phases * self.phases * self.height * self.width
    }

    /// Start of the plane of one channel and one pair of phases.
    #[inline(always)]
    fn plane(&self, channel: usize, phase_y: usize, phase_x: usize) -> usize {
        ((channel * self.phases + phase_y) * self.phases + phase_x) * self.height * self.width
    }

    /// Calls `visit(first pixel, first place in the planes, count)` for the pixels of each
    /// image row and phase; pixels are a stride apart, places are consecutive.
    #[inline(always)]
    fn each_row(&self, window: &Window, mut visit: impl FnMut(usize, usize, usize)) {
        let stride = window.stride;
        for row in 0..window.channels * window.height {
            let (channel, y) = (row / window.height, row % window.height + window.padding);
            if y % stride >= self.phases || y / stride >= self.height {
                continue;
            }
            for phase_x in 0..self.phases {
                // Places whose column `place * stride + phase - padding` is on the image.
                let first = window.padding.saturating_sub(phase_x).div_ceil(stride);
                let reach = (window.width + window.padding).saturating_sub(phase_x);
                let last = reach.div_ceil(stride).min(self.width);
                if first < last {
                    let x = first * stride + phase_x - window.padding;
                    let plane = self.plane(channel, y % stride, phase_x);
                    let place = plane + y / stride * self.width + first;
                    visit(row * window.width + x, place, last - first);
                }
            }
        }
    }

    /// Calls `visit(first place in the planes, first place in the columns)` for each run of
    /// `out_width` values, in the order of the columns.
    #[inline(always)]
    fn each_run(&self, window: &Window, mut visit: impl FnMut(usize, usize)) {
        let (kernel, stride) = (window.kernel, window.stride);
        let mut column = 0;
        for row in 0..window.channels * kernel {
            let (channel, ky) = (row / kernel, row % kernel);
            for kx in 0..kernel {
                let plane = self.plane(channel, ky % stride, kx % stride);
                let start = plane + ky / stride * self.width + kx / stride;
                for oy in 0..window.out_height {
                    visit(start + oy * self.width, column);
                    column += window.out_width;
                }
            }
        }
    }
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
            let mut columns = Columns { planes: vec![f32::NAN; 99], values: vec![f32::NAN; 999] };
            let expected: Vec<f32> =
                sources.iter().map(|source| source.map_or(0.0, |index| image[index])).collect();
            prop_assert_eq!(columns.of(&window, &image), &expected);

            let weights = test_values(sources.len(), 4);
            let mut sums = vec![0.0; image.len()];
            columns.values.fill(f32::NAN);
            columns.add(&window, &mut sums, |values| values.copy_from_slice(&weights));
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
