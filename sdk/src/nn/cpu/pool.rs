//! Pooling of images that lie channels last.

use super::block::{block, block_mut, by_block};
use super::op::{Backward, Forward, Op};
use crate::kernels::vectorised;

/// `[height, width, channels] -> [h', w', channels]`: largest (or mean) value of each window;
/// no padding. A window that holds NaN gives NaN.
///
/// On the way back, the first largest value of a window, counted row by row, takes the whole
/// gradient; if the window holds NaN, its first value does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub(crate) average: bool,
    /// Height and width of the window.
    pub(crate) kernel: [usize; 2],
    /// Steps down and right.
    pub(crate) stride: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Slices of one example on its way back.
struct Example<'a> {
    input: &'a [f32],
    output: &'a [f32],
    gradient: &'a [f32],
}

impl Pool {
    /// Positions down and right.
    fn positions(&self) -> [usize; 2] {
        let out = |length: usize, side: usize| (length - self.kernel[side]) / self.stride[side] + 1;
        [out(self.height, 0), out(self.width, 1)]
    }

    fn input_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn output_len(&self) -> usize {
        self.positions().iter().product::<usize>() * self.channels
    }

    /// Where windows begin, in the input and in the output, each one block of channels.
    #[inline(always)]
    fn windows<const L: usize>(&self) -> impl Iterator<Item = (usize, usize)> {
        let Self { channels, width, stride, .. } = *self;
        let [rows, columns] = self.positions();
        (0..rows).flat_map(move |row| {
            (0..columns).flat_map(move |column| {
                let from = (row * stride[0] * width + column * stride[1]) * channels;
                let to = (row * columns + column) * channels;
                (0..channels).step_by(L).map(move |channel| (from + channel, to + channel))
            })
        })
    }

    /// Share of the window's mean that one value has.
    fn share(&self) -> f32 {
        1.0 / (self.kernel[0] * self.kernel[1]) as f32
    }

    /// Whether every value lies in exactly one window.
    fn tiles(&self) -> bool {
        let whole =
            self.height.is_multiple_of(self.kernel[0]) && self.width.is_multiple_of(self.kernel[1]);
        self.kernel == self.stride && whole
    }

    // `kernel` is that of the pool, as a constant where it is the usual one, so that the loops
    // over the window are unrolled.
    #[inline(always)]
    fn fill<const L: usize, const AVERAGE: bool>(
        &self,
        kernel: [usize; 2],
        input: &[f32],
        output: &mut [f32],
    ) {
        let share = self.share();
        for (from, to) in self.windows::<L>() {
            *block_mut(output, to) = match AVERAGE {
                true => self.mean::<L>(kernel, share, &input[from..]),
                false => self.largest::<L>(kernel, &input[from..]),
            };
        }
    }

    #[inline(always)]
    fn largest<const L: usize>(&self, kernel: [usize; 2], input: &[f32]) -> [f32; L] {
        let mut best = [f32::NEG_INFINITY; L];
        for y in 0..kernel[0] {
            for x in 0..kernel[1] {
                let values = block::<L>(input, (y * self.width + x) * self.channels);
                best = larger(values, best);
            }
        }
        best
    }

    /// As [`Pool::fill`], for the largest of windows of 2 by 2 one pixel apart: every column
    /// is compared once.
    #[inline(always)]
    fn fill_dense<const L: usize>(&self, input: &[f32], output: &mut [f32]) {
        let [rows, columns] = self.positions();
        let channels = self.channels;
        for row in 0..rows {
            for channel in (0..channels).step_by(L) {
                let mut from = row * self.width * channels + channel;
                let (above, below) = self.column::<L>(input, from);
                let mut left = larger(below, above);
                for column in 0..columns {
                    from += channels;
                    let (above, below) = self.column::<L>(input, from);
                    let right = larger(below, above);
                    let to = (row * columns + column) * channels + channel;
                    *block_mut(output, to) = larger(right, left);
                    left = right;
                }
            }
        }
    }

    #[inline(always)]
    fn mean<const L: usize>(&self, kernel: [usize; 2], share: f32, input: &[f32]) -> [f32; L] {
        let mut sum = [0.0; L];
        for y in 0..kernel[0] {
            for x in 0..kernel[1] {
                let values = block::<L>(input, (y * self.width + x) * self.channels);
                for (sum, value) in sum.iter_mut().zip(values) {
                    *sum += value;
                }
            }
        }
        scaled(sum, share)
    }

    /// Adds each window's share to its values, or with `TILES` writes it.
    #[inline(always)]
    fn share_out<const L: usize, const TILES: bool>(
        &self,
        kernel: [usize; 2],
        gradient: &[f32],
        result: &mut [f32],
    ) {
        let share = self.share();
        for (from, to) in self.windows::<L>() {
            let given = scaled(block::<L>(gradient, to), share);
            for y in 0..kernel[0] {
                for x in 0..kernel[1] {
                    let place = from + (y * self.width + x) * self.channels;
                    give::<L, TILES>(given, block_mut(result, place));
                }
            }
        }
    }

    /// Adds each window's gradient to its first largest value, or with `TILES` writes it, and
    /// zeros for the others.
    #[inline(always)]
    fn award<const L: usize, const TILES: bool>(
        &self,
        kernel: [usize; 2],
        seen: &Example<'_>,
        result: &mut [f32],
    ) {
        for (from, to) in self.windows::<L>() {
            let largest = block::<L>(seen.output, to);
            let mut left = block::<L>(seen.gradient, to);
            for y in 0..kernel[0] {
                for x in 0..kernel[1] {
                    let place = from + (y * self.width + x) * self.channels;
                    let taken = take(&mut left, block(seen.input, place), largest);
                    give::<L, TILES>(taken, block_mut(result, place));
                }
            }
        }
    }

    /// As [`Pool::award`], for windows of 2 by 2 one pixel apart. What the right half of a
    /// window takes stays in registers until the next window has come, and the lower row is
    /// written before it is added to: no load waits for a store.
    #[inline(always)]
    fn award_dense<const L: usize>(&self, seen: &Example<'_>, result: &mut [f32]) {
        let [rows, columns] = self.positions();
        let (channels, row_len) = (self.channels, self.width * self.channels);
        result[..row_len].fill(0.0);
        for row in 0..rows {
            for channel in (0..channels).step_by(L) {
                let mut from = row * row_len + channel;
                let mut left = self.column::<L>(seen.input, from);
                let (mut kept_above, mut kept_below) = ([0.0; L], [0.0; L]);
                for column in 0..columns {
                    let to = (row * columns + column) * channels + channel;
                    let right = self.column::<L>(seen.input, from + channels);
                    let (largest, mut rest) = (block(seen.output, to), block(seen.gradient, to));
                    let above = take(&mut rest, left.0, largest);
                    let above_right = take(&mut rest, right.0, largest);
                    let below = take(&mut rest, left.1, largest);
                    give::<L, false>(sum(kept_above, above), block_mut(result, from));
                    give::<L, true>(sum(kept_below, below), block_mut(result, from + row_len));
                    kept_below = take(&mut rest, right.1, largest);
                    (left, kept_above) = (right, above_right);
                    from += channels;
                }
                give::<L, false>(kept_above, block_mut(result, from));
                give::<L, true>(kept_below, block_mut(result, from + row_len));
            }
        }
    }

    /// Two pixels, one below the other.
    #[inline(always)]
    fn column<const L: usize>(&self, input: &[f32], from: usize) -> ([f32; L], [f32; L]) {
        (block(input, from), block(input, from + self.width * self.channels))
    }

    #[inline(always)]
    fn forward_one<const L: usize>(&self, input: &[f32], output: &mut [f32]) {
        match (self.average, self.kernel) {
            (false, [2, 2]) if self.stride == [1, 1] => self.fill_dense::<L>(input, output),
            (false, [2, 2]) => self.fill::<L, false>([2, 2], input, output),
            (false, kernel) => self.fill::<L, false>(kernel, input, output),
            (true, [2, 2]) => self.fill::<L, true>([2, 2], input, output),
            (true, kernel) => self.fill::<L, true>(kernel, input, output),
        }
    }

    #[inline(always)]
    fn backward_one<const L: usize>(&self, seen: &Example<'_>, result: &mut [f32]) {
        let gradient = seen.gradient;
        match (self.average, self.kernel, self.tiles()) {
            (true, [2, 2], true) => self.share_out::<L, true>([2, 2], gradient, result),
            (true, kernel, _) => {
                result.fill(0.0);
                self.share_out::<L, false>(kernel, gradient, result);
            }
            (false, [2, 2], true) => self.award::<L, true>([2, 2], seen, result),
            (false, [2, 2], false) if self.stride == [1, 1] => self.award_dense::<L>(seen, result),
            (false, kernel, _) => {
                result.fill(0.0);
                self.award::<L, false>(kernel, seen, result);
            }
        }
    }
}

impl Op for Pool {
    fn forward(&self, at: Forward<'_>) {
        let inputs = at.inputs[0].chunks_exact(self.input_len());
        let outputs = at.output.chunks_exact_mut(self.output_len());
        vectorised!(by_block!(L divides self.channels => {
            for (input, output) in inputs.zip(outputs) {
                self.forward_one::<L>(input, output);
            }
        }));
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let results = result.chunks_exact_mut(self.input_len()).enumerate();
        let (inputs, len) = (at.inputs[0], self.output_len());
        vectorised!(by_block!(L divides self.channels => {
            for (example, result) in results {
                let input = &inputs[example * self.input_len()..][..self.input_len()];
                let [output, gradient] =
                    [at.output, at.gradient].map(|values| &values[example * len..][..len]);
                self.backward_one::<L>(&Example { input, output, gradient }, result);
            }
        }));
    }
}

/// What values of a window take of the gradient that is left, all of it if they are the
/// largest.
#[inline(always)]
fn take<const L: usize>(left: &mut [f32; L], values: [f32; L], largest: [f32; L]) -> [f32; L] {
    let mut taken = *left;
    for lane in 0..L {
        let passed = values[lane] < largest[lane];
        taken[lane] = if passed { 0.0 } else { left[lane] };
        left[lane] = if passed { left[lane] } else { 0.0 };
    }
    taken
}

/// Adds, or with `FIRST` writes.
#[inline(always)]
fn give<const L: usize, const FIRST: bool>(given: [f32; L], into: &mut [f32; L]) {
    *into = if FIRST { given } else { sum(given, *into) };
}

/// The larger values, NaN where there is one.
#[inline(always)]
fn larger<const L: usize>(values: [f32; L], mut best: [f32; L]) -> [f32; L] {
    for (best, value) in best.iter_mut().zip(values) {
        // No number is above NaN, so that NaN stays.
        *best = if (value > *best) | value.is_nan() { value } else { *best };
    }
    best
}

#[inline(always)]
fn scaled<const L: usize>(mut values: [f32; L], scale: f32) -> [f32; L] {
    for value in &mut values {
        *value *= scale;
    }
    values
}

#[inline(always)]
fn sum<const L: usize>(mut left: [f32; L], right: [f32; L]) -> [f32; L] {
    for (left, right) in left.iter_mut().zip(right) {
        *left += right;
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values};

    /// Places in the input under each value of the output, in the order of the window.
    fn naive_patches(pool: &Pool, batch: usize) -> Vec<Vec<usize>> {
        let [rows, columns] = pool.positions();
        let mut patches = Vec::new();
        for to in 0..batch * pool.output_len() {
            let (example, inside) = (to / pool.output_len(), to % pool.output_len());
            let (position, channel) = (inside / pool.channels, inside % pool.channels);
            let (row, column) = (position / columns % rows, position % columns);
            let mut patch = Vec::new();
            for y in row * pool.stride[0]..row * pool.stride[0] + pool.kernel[0] {
                for x in column * pool.stride[1]..column * pool.stride[1] + pool.kernel[1] {
                    let pixel = (example * pool.height + y) * pool.width + x;
                    patch.push(pixel * pool.channels + channel);
                }
            }
            patches.push(patch);
        }
        patches
    }

    fn any_pool() -> impl Strategy<Value = Pool> {
        let side = || (1_usize..4, 1_usize..4, 0_usize..7);
        let channels = prop_oneof![Just(1), Just(3), Just(4), Just(8), Just(12), Just(32)];
        (any::<bool>(), side(), side(), any::<bool>(), channels).prop_map(
            |(average, down, right, usual, channels)| {
                let (kernel, stride) = ([down.0, right.0], [down.1, right.1]);
                // The special cases often.
                let kernel = if usual { [2, 2] } else { kernel };
                let stride = if usual { [stride[0].min(2); 2] } else { stride };
                let (height, width) = (kernel[0] + down.2, kernel[1] + right.2);
                Pool { average, kernel, stride, channels, height, width }
            },
        )
    }

    proptest! {
        #[test]
        fn pools_and_their_gradients_are_the_naive_ones(pool in any_pool(), ties: bool) {
            let mut case = Case::new(&pool, &[pool.input_len()], &[], pool.output_len());
            if ties {
                case.inputs[0].iter_mut().for_each(|value| *value = (*value * 2.0).round());
            }
            let (input, patches) = (&case.inputs[0], naive_patches(&pool, case.batch));
            let gradient = crate::nn::test_values(patches.len(), 7);
            let mut passed = case.forward();
            let found = case.backward(&mut passed, &gradient, true);
            let (mut output, mut result) = (Vec::new(), vec![0.0; input.len()]);
            for (patch, gradient) in patches.iter().zip(gradient) {
                let share = 1.0 / patch.len() as f64;
                let first = patch.iter().copied().reduce(|best, index| {
                    if input[index] > input[best] { index } else { best }
                });
                let first = first.expect("a window holds a pixel");
                if pool.average {
                    output.push(patch.iter().map(|&at| f64::from(input[at])).sum::<f64>() * share);
                    patch.iter().for_each(|&at| result[at] += f64::from(gradient) * share);
                } else {
                    output.push(f64::from(input[first]));
                    result[first] += f64::from(gradient);
                }
            }
            assert_values(&passed.output, &output, 1e-6);
            assert_values(&found[0], &result, 1e-5);
        }

        #[test]
        fn nan_reaches_every_window_that_holds_it_and_no_other(pool in any_pool(), place: u16) {
            let mut case = Case::new(&pool, &[pool.input_len()], &[], pool.output_len());
            let place = usize::from(place) % case.inputs[0].len();
            case.inputs[0][place] = f32::NAN;
            let output = case.forward().output;
            for (patch, value) in naive_patches(&pool, case.batch).iter().zip(output) {
                prop_assert_eq!(value.is_nan(), patch.contains(&place));
            }
        }
    }
}
