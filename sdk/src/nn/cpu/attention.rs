//! Scaled dot-product attention.

use super::op::{Backward, Forward, Op};
use crate::kernels::{Matrix, centred_dot, multiply, multiply_into, softmax, vectorised};

/// Inputs q, k, v, each `[length, dim]`: `softmax(q k^T / sqrt(dim / heads)) v` for each head,
/// whose values are neighbouring columns. Keeps the probabilities `[heads, length, length]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    pub(crate) heads: usize,
    /// Position i sees positions up to i.
    pub(crate) causal: bool,
    pub(crate) length: usize,
    /// Values of a position, over all heads.
    pub(crate) dim: usize,
}

/// Where one head of one example lies: in rows of values, and in the probabilities.
#[derive(Clone, Copy)]
struct Place {
    values: usize,
    probabilities: usize,
}

impl Attend {
    /// Columns of one head.
    fn width(&self) -> usize {
        self.dim / self.heads
    }

    fn square(&self) -> usize {
        self.length * self.length
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width() as f32).sqrt()
    }

    /// All heads of all examples.
    fn places(&self, batch: usize) -> impl Iterator<Item = Place> + use<> {
        let Self { heads, length, dim, .. } = *self;
        (0..batch * heads).map(move |index| Place {
            values: index / heads * length * dim + index % heads * (dim / heads),
            probabilities: index * length * length,
        })
    }

    /// One head's `[length, dim / heads]`.
    fn head<'a>(&self, values: &'a [f32], place: Place) -> Matrix<'a> {
        Matrix::strided(&values[place.values..], self.length, self.width(), self.dim)
    }

    /// Positions that the one at `row` sees.
    fn seen(&self, row: usize) -> usize {
        if self.causal { row + 1 } else { self.length }
    }

    /// Scores, over all positions, to probabilities, zero for positions that are not seen.
    fn normalise(&self, scores: &mut [f32]) {
        let scale = self.scale();
        vectorised!(for (row, scores) in scores.chunks_exact_mut(self.length).enumerate() {
            let (seen, unseen) = scores.split_at_mut(self.seen(row));
            softmax(seen, scale);
            unseen.fill(0.0);
        });
    }

    // With p = softmax(scale s): ds = scale p (dp - sum p dp).
    /// Gradient of the probabilities to that of the scores, in place.
    fn scores_gradient(&self, probabilities: &[f32], gradient: &mut [f32]) {
        let scale = self.scale();
        let rows = probabilities.chunks_exact(self.length);
        let rows = rows.zip(gradient.chunks_exact_mut(self.length)).enumerate();
        vectorised!(for (row, (probabilities, gradient)) in rows {
            let (seen, unseen) = gradient.split_at_mut(self.seen(row));
            unseen.fill(0.0);
            let mean = centred_dot(&probabilities[..seen.len()], seen, 0.0);
            for (gradient, p) in seen.iter_mut().zip(probabilities) {
                *gradient = scale * p * (*gradient - mean);
            }
        });
    }

    /// Writes one head of a result.
    fn write(
        &self,
        result: Option<&mut &mut [f32]>,
        place: Place,
        left: Matrix<'_>,
        right: Matrix<'_>,
    ) {
        if let Some(result) = result {
            multiply_into(&mut result[place.values..], self.dim, left, right, false);
        }
    }
}

impl Op for Attend {
    fn saved_len(&self) -> usize {
        self.heads * self.square()
    }

    fn scratch_len(&self, _batch: usize) -> usize {
        self.square()
    }

    fn forward(&self, at: Forward<'_>) {
        for place in self.places(at.batch) {
            let [q, k, v] = [0, 1, 2].map(|index| self.head(at.inputs[index], place));
            let scores = &mut at.saved[place.probabilities..][..self.square()];
            multiply(scores, q, k.transposed(), false);
            self.normalise(scores);
            let probabilities = Matrix::new(scores, self.length, self.length);
            multiply_into(&mut at.output[place.values..], self.dim, probabilities, v, false);
        }
    }

    fn backward(&self, at: Backward<'_>) {
        let [to_q, to_k, to_v] = at.input_gradients else { unreachable!("attention of q, k, v") };
        for place in self.places(at.batch) {
            let [q, k, v] = [0, 1, 2].map(|index| self.head(at.inputs[index], place));
            let gradient = self.head(at.gradient, place);
            let values = &at.saved[place.probabilities..][..self.square()];
            let probabilities = Matrix::new(values, self.length, self.length);
            self.write(to_v.as_mut(), place, probabilities.transposed(), gradient);
            if to_q.is_none() && to_k.is_none() {
                continue;
            }
            let scores = &mut at.scratch[..self.square()];
            multiply(scores, gradient, v.transposed(), false);
            self.scores_gradient(values, scores);
            let scores = Matrix::new(scores, self.length, self.length);
            self.write(to_q.as_mut(), place, scores, k);
            self.write(to_k.as_mut(), place, scores.transposed(), q);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    fn oracle(op: &Attend, inputs: &[Vec<f32>]) -> Vec<f64> {
        let [q, k, v] = [0, 1, 2].map(|index| wide(&inputs[index]));
        let mut output = vec![0.0; q.len()];
        for start in (0..q.len()).step_by(op.length * op.dim) {
            for (head, row) in (0..op.heads * op.length).map(|at| (at / op.length, at % op.length))
            {
                let columns = head * op.width()..(head + 1) * op.width();
                let at = |row: usize, col: usize| start + row * op.dim + col;
                let power = |other: usize| -> f64 {
                    let dot: f64 = columns.clone().map(|c| q[at(row, c)] * k[at(other, c)]).sum();
                    (dot / (op.width() as f64).sqrt()).exp()
                };
                let powers: Vec<f64> = (0..op.seen(row)).map(power).collect();
                let sum: f64 = powers.iter().sum();
                for (other, power) in powers.iter().enumerate() {
                    for c in columns.clone() {
                        output[at(row, c)] += power / sum * v[at(other, c)];
                    }
                }
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn attention_and_its_gradients_are_the_naive_ones(
            heads in 1_usize..4, width in 1_usize..6, length in 1_usize..7, causal: bool,
        ) {
            let dim = heads * width;
            let op = Attend { heads, causal, length, dim };
            let case = Case::new(&op, &[length * dim; 3], &[], length * dim);
            assert_values(&case.forward().output, &oracle(&op, &case.inputs), 1e-5);
            case.check();
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let op = Attend { heads: 1, causal: false, length: 2, dim: 4 };
        let mut case = Case::new(&op, &[8; 3], &[], 8);
        case.inputs[0].iter_mut().for_each(|value| *value *= 1e6);
        assert!(case.forward().output.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn later_positions_do_not_reach_earlier_ones() {
        let op = Attend { heads: 2, causal: true, length: 5, dim: 4 };
        let mut case = Case::new(&op, &[20; 3], &[], 20);
        let before = case.forward().output;
        case.inputs.iter_mut().for_each(|input| input[16..20].fill(f32::NAN));
        let after = case.forward().output;
        // What is not seen may be NaN in a product with the value: zero times NaN.
        case.inputs[2][16..20].fill(7.0);
        let finite = case.forward().output;
        assert_eq!(before[..16], finite[..16]);
        assert!(after[16..20].iter().all(|value| value.is_nan()));
    }
}
