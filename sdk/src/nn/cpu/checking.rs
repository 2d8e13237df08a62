//! Checks the gradients of an operation against differences of its own forward pass.

use super::op::{Backward, Forward, Op, Seen};
use crate::nn::test_values;

/// Half the distance of two values of a central difference, exact in f32. Its square bounds
/// the error of the difference in the third derivative: 1e-5.
const STEP: f32 = 1.0 / 128.0;
/// Rounding of f32 in sums of up to a few hundred terms, 1e-6 to 1e-5, over 2 [`STEP`]; a
/// wrong term of a gradient is off by its own size.
const TOLERANCE: f64 = 3e-3;

/// An operation with what goes in.
pub(super) struct Case<'a> {
    pub(super) op: &'a dyn Op,
    pub(super) batch: usize,
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) tensors: Vec<Vec<f32>>,
    /// Values of one example's output.
    pub(super) output_len: usize,
    pub(super) streams: Vec<u64>,
}

/// What a forward pass left behind.
pub(super) struct Passed {
    pub(super) output: Vec<f32>,
    pub(super) saved: Vec<f32>,
}

impl<'a> Case<'a> {
    /// Three examples of inputs and tensors of these lengths that look random.
    pub(super) fn new(
        op: &'a dyn Op,
        inputs: &[usize],
        tensors: &[usize],
        output_len: usize,
    ) -> Self {
        let values = |(seed, len)| test_values(len, seed);
        let inputs = (10..).zip(inputs.iter().map(|len| 3 * len)).map(values).collect();
        let tensors = (20..).zip(tensors.iter().copied()).map(values).collect();
        Self { op, batch: 3, inputs, tensors, output_len, streams: Vec::new() }
    }

    pub(super) fn forward(&self) -> Passed {
        // Whatever is not written stays NaN and is noticed.
        let mut output = vec![f32::NAN; self.batch * self.output_len];
        let mut saved = vec![f32::NAN; self.batch * self.op.saved_len()];
        let mut scratch = vec![f32::NAN; self.op.scratch_len(self.batch)];
        self.op.forward(Forward {
            weights: &self.packed(),
            inputs: &self.inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            output: &mut output,
            saved: &mut saved,
            scratch: &mut scratch,
            batch: self.batch,
            streams: &self.streams,
        });
        Passed { output, saved }
    }

    /// Gradients of the inputs, if they are wanted; changes `passed.saved`.
    pub(super) fn backward(
        &self,
        passed: &mut Passed,
        gradient: &[f32],
        wanted: bool,
    ) -> Vec<Vec<f32>> {
        let mut results: Vec<_> =
            self.inputs.iter().map(|input| vec![f32::NAN; input.len()]).collect();
        let mut asked: Vec<_> =
            results.iter_mut().map(|result| wanted.then_some(result.as_mut_slice())).collect();
        self.op.backward(Backward {
            weights: &self.packed(),
            inputs: &self.inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            output: &passed.output,
            gradient,
            saved: &mut passed.saved,
            scratch: &mut vec![f32::NAN; self.op.scratch_len(self.batch)],
            batch: self.batch,
            streams: &self.streams,
            input_gradients: &mut asked,
        });
        results
    }

    /// Gradient of the parameters for each example, `passed` being back from
    /// [`Case::backward`].
    pub(super) fn parameter_gradients(&self, passed: &Passed, gradient: &[f32]) -> Vec<Vec<f32>> {
        let parameters = self.tensors.iter().map(Vec::len).sum();
        let mut scratch = vec![f32::NAN; self.op.scratch_len(1)];
        let example = |example| {
            let mut result = vec![f32::NAN; parameters];
            let seen = Seen {
                input: part(&self.inputs[0], example, self.batch),
                gradient: part(gradient, example, self.batch),
                saved: part(&passed.saved, example, self.batch),
            };
            self.op.parameter_gradient(seen, &mut result, &mut scratch);
            result
        };
        (0..self.batch).map(example).collect()
    }

    /// Checks all gradients.
    pub(super) fn check(mut self) {
        let gradient = test_values(self.batch * self.output_len, 30);
        let found = self.backward(&mut self.forward(), &gradient, true);
        for (input, found) in found.iter().enumerate() {
            for (index, found) in found.iter().enumerate() {
                let losses = self.difference(&gradient, |case| &mut case.inputs[input][index]);
                assert_close(*found, losses.iter().sum(), &format!("input {input}, {index}"));
            }
        }
        self.check_parameters();
    }

    /// Checks the gradients of the parameters, with and without gradients of the inputs.
    pub(super) fn check_parameters(&mut self) {
        let gradient = test_values(self.batch * self.output_len, 30);
        for wanted in [false, true] {
            let mut passed = self.forward();
            self.backward(&mut passed, &gradient, wanted);
            let found = self.parameter_gradients(&passed, &gradient);
            let mut flat = 0;
            for (tensor, len) in self.tensors.iter().map(Vec::len).enumerate().collect::<Vec<_>>() {
                for index in 0..len {
                    let losses =
                        self.difference(&gradient, |case| &mut case.tensors[tensor][index]);
                    for (found, loss) in found.iter().zip(losses) {
                        assert_close(found[flat], loss, &format!("tensor {tensor}, {index}"));
                    }
                    flat += 1;
                }
            }
        }
    }

    /// Difference quotient of each example's loss `sum gradient output` in one value.
    fn difference(&mut self, gradient: &[f32], value: impl Fn(&mut Self) -> &mut f32) -> Vec<f64> {
        let middle = *value(self);
        let mut at = |x: f32| {
            *value(self) = x;
            self.losses(gradient)
        };
        let (above, below) = (at(middle + STEP), at(middle - STEP));
        *value(self) = middle;
        let distance = f64::from((middle + STEP) - (middle - STEP));
        above.iter().zip(below).map(|(above, below)| (above - below) / distance).collect()
    }

    fn losses(&self, gradient: &[f32]) -> Vec<f64> {
        let output = self.forward().output;
        let terms = output.iter().zip(gradient).map(|(y, g)| f64::from(*y) * f64::from(*g));
        let terms: Vec<f64> = terms.collect();
        terms.chunks(self.output_len).map(|example| example.iter().sum()).collect()
    }

    fn packed(&self) -> Vec<f32> {
        let mut packed = vec![f32::NAN; 3];
        self.op.pack(
            &self.tensors.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            true,
            &mut packed,
        );
        packed
    }
}

/// One example's part of a micro-batch.
fn part(values: &[f32], example: usize, batch: usize) -> &[f32] {
    let len = values.len() / batch;
    &values[example * len..][..len]
}

fn assert_close(found: f32, expected: f64, what: &str) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= TOLERANCE * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
}

/// Asserts that values are those of an f64 oracle, up to `tolerance`.
pub(super) fn assert_values(found: &[f32], oracle: &[f64], tolerance: f64) {
    assert_eq!(found.len(), oracle.len());
    for (index, (found, oracle)) in found.iter().zip(oracle).enumerate() {
        let error = (f64::from(*found) - oracle).abs();
        assert!(error <= tolerance * (1.0 + oracle.abs()), "{index}: {found}, not {oracle}");
    }
}

/// Values in f64.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
