//! Operations that move values, or take their mean over a sequence.

use super::block::{block, block_mut};
use super::op::{Backward, Forward, Op};
use crate::kernels::vectorised;

/// `[length, dim] -> [dim]`: mean over positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeanSequence {
    pub(crate) length: usize,
    pub(crate) dim: usize,
}

/// `[length, dim] -> [dim]`: the last position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastStep {
    pub(crate) length: usize,
    pub(crate) dim: usize,
}

/// `[rows, cols] -> [cols, rows]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transpose {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// An image between its logical order `[channels, pixels]` and the engine's, channels last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relayout {
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
    /// From the logical order to channels last, and not back.
    pub(crate) to_last: bool,
}

/// The same values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy;

impl Op for MeanSequence {
    fn forward(&self, at: Forward<'_>) {
        let share = 1.0 / self.length as f32;
        let sequences = at.inputs[0].chunks_exact(self.length * self.dim);
        vectorised!(for (rows, output) in sequences.zip(at.output.chunks_exact_mut(self.dim)) {
            output.fill(0.0);
            for row in rows.chunks_exact(self.dim) {
                for (sum, value) in output.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            for sum in output {
                *sum *= share;
            }
        });
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let share = 1.0 / self.length as f32;
        let results = result.chunks_exact_mut(self.length * self.dim);
        vectorised!(for (rows, gradient) in results.zip(at.gradient.chunks_exact(self.dim)) {
            for row in rows.chunks_exact_mut(self.dim) {
                for (result, gradient) in row.iter_mut().zip(gradient) {
                    *result = gradient * share;
                }
            }
        });
    }
}

impl Op for LastStep {
    fn forward(&self, at: Forward<'_>) {
        let sequences = at.inputs[0].chunks_exact(self.length * self.dim);
        for (rows, output) in sequences.zip(at.output.chunks_exact_mut(self.dim)) {
            output.copy_from_slice(&rows[rows.len() - self.dim..]);
        }
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let results = result.chunks_exact_mut(self.length * self.dim);
        for (rows, gradient) in results.zip(at.gradient.chunks_exact(self.dim)) {
            let (others, last) = rows.split_at_mut((self.length - 1) * self.dim);
            others.fill(0.0);
            last.copy_from_slice(gradient);
        }
    }
}

impl Op for Transpose {
    fn forward(&self, at: Forward<'_>) {
        transpose_all(at.inputs[0], [self.rows, self.cols], at.output);
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        transpose_all(at.gradient, [self.cols, self.rows], result);
    }
}

impl Relayout {
    fn as_transpose(&self) -> Transpose {
        match self.to_last {
            true => Transpose { rows: self.channels, cols: self.pixels },
            false => Transpose { rows: self.pixels, cols: self.channels },
        }
    }
}

impl Op for Relayout {
    fn forward(&self, at: Forward<'_>) {
        self.as_transpose().forward(at);
    }

    fn backward(&self, at: Backward<'_>) {
        self.as_transpose().backward(at);
    }
}

impl Op for Copy {
    fn forward(&self, at: Forward<'_>) {
        at.output.copy_from_slice(at.inputs[0]);
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        result.copy_from_slice(at.gradient);
    }
}

/// Side of the squares that [`transpose`] turns in registers.
const TILE: usize = 8;

/// Transposes matrices `[rows, cols]` that lie one after the other.
fn transpose_all(from: &[f32], [rows, cols]: [usize; 2], to: &mut [f32]) {
    if rows == 1 || cols == 1 {
        return to.copy_from_slice(from);
    }
    let len = rows * cols;
    vectorised!(for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
        transpose(from, [rows, cols], to);
    });
}

#[inline(always)]
fn transpose(from: &[f32], [rows, cols]: [usize; 2], to: &mut [f32]) {
    let (whole_rows, whole_cols) = (rows / TILE * TILE, cols / TILE * TILE);
    for col in (0..whole_cols).step_by(TILE) {
        for row in (0..whole_rows).step_by(TILE) {
            let mut tile = [[0.0; TILE]; TILE];
            for (down, values) in tile.iter_mut().enumerate() {
                *values = block(from, (row + down) * cols + col);
            }
            for right in 0..TILE {
                let turned = block_mut::<TILE>(to, (col + right) * rows + row);
                for (turned, values) in turned.iter_mut().zip(&tile) {
                    *turned = values[right];
                }
            }
        }
    }
    for row in 0..rows {
        // Whole tiles lie left of here, and below them there are none.
        let first = if row < whole_rows { whole_cols } else { 0 };
        for col in first..cols {
            to[col * rows + row] = from[row * cols + col];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::Case;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn sequences_are_averaged_or_cut(length in 1_usize..6, dim in 1_usize..20) {
            let (mean, last) = (MeanSequence { length, dim }, LastStep { length, dim });
            let case = Case::new(&mean, &[length * dim], &[], dim);
            for (index, found) in case.forward().output.iter().enumerate() {
                let start = index / dim * length * dim + index % dim;
                let column = case.inputs[0][start..].iter().step_by(dim).take(length);
                prop_assert!((column.sum::<f32>() / length as f32 - found).abs() < 1e-6);
            }
            case.check();
            let case = Case::new(&last, &[length * dim], &[], dim);
            for (rows, found) in
                case.inputs[0].chunks(length * dim).zip(case.forward().output.chunks(dim))
            {
                prop_assert_eq!(&rows[(length - 1) * dim..], found);
            }
            case.check();
        }

        #[test]
        fn transposing_moves_every_value(rows in 1_usize..30, cols in 1_usize..30) {
            let op = Transpose { rows, cols };
            let case = Case::new(&op, &[rows * cols], &[], rows * cols);
            let mut passed = case.forward();
            for (index, found) in passed.output.iter().enumerate() {
                let (start, place) = (index / (rows * cols) * rows * cols, index % (rows * cols));
                let from = start + place % rows * cols + place / rows;
                prop_assert_eq!(*found, case.inputs[0][from]);
            }
            let output = passed.output.clone();
            prop_assert_eq!(&case.backward(&mut passed, &output, true)[0], &case.inputs[0]);
        }
    }

    #[test]
    fn relayouts_undo_each_other() {
        let op = |to_last| Relayout { channels: 3, pixels: 20, to_last };
        let there = op(true);
        let case = Case::new(&there, &[60], &[], 60);
        let last = case.forward().output;
        assert_eq!(last[1], case.inputs[0][20], "the second channel of the first pixel");
        let back = op(false);
        let mut back = Case::new(&back, &[60], &[], 60);
        back.inputs[0] = last;
        assert_eq!(back.forward().output, case.inputs[0]);
        case.check();
        back.check();
    }

    #[test]
    fn copies_are_equal() {
        let case = Case::new(&Copy, &[7], &[], 7);
        assert_eq!(case.forward().output, case.inputs[0]);
        case.check();
    }
}
