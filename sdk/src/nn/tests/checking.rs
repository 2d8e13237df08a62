//! How a model is compared with the oracle.

use super::reference::{Oracle, wide};
use super::test_values;
use crate::nn::graph::Primitive;
use crate::nn::{Loss, Model};

/// Relative to the largest entry of a gradient: f32 rounding over a few hundred terms.
const TOLERANCE: f64 = 2e-5;
/// Absolute, on outputs and losses near 1: the same.
pub(super) const OUTPUT_TOLERANCE: f64 = 2e-5;
/// Step of a difference quotient.
const STEP: f64 = 1e-6;
/// f64 rounding of a loss near 1 (2^-52 for each of some ten operations on it), divided by
/// the step.
const ROUNDING: f64 = 3e-9;
/// f32 rounding of a probability near 1, from which the loss's gradient is a difference: where
/// all entries are small, it does not shrink with them.
const CANCELLATION: f64 = 1.0 / (1 << 24) as f64;
/// Two sides of a difference quotient that differ by more: a kink lies between them, where
/// another pixel becomes the largest or a relu turns on. Smooth models of these sizes have
/// second derivatives below 100.
const KINK: f64 = 100.0 * STEP;

/// Two pixels within a step of a tie touch every weight of their channel, of which the
/// smallest models have a few; by chance that happens once in some hundred thousand cases.
const MOST_KINKS: usize = 4;

/// Examples and their targets.
pub(super) struct Batch {
    pub(super) inputs: Vec<f32>,
    pub(super) targets: Vec<f32>,
    width: usize,
    target_len: usize,
}

impl Batch {
    /// Inputs and targets that the model takes: tokens for an embedding, labels or numbers.
    pub(super) fn new(model: &Model, examples: usize, seed: u64) -> Self {
        let (width, target_len) = (model.input_len(), model.target_len());
        let mut inputs = test_values(examples * width, seed);
        if let Some(rows) = embedding_rows(model) {
            whole(&mut inputs, rows);
        }
        let mut targets = test_values(examples * target_len, seed ^ 0xFF);
        match model.graph().loss {
            Loss::CrossEntropy | Loss::SequenceCrossEntropy => whole(&mut targets, model.classes()),
            Loss::BceWithLogits => targets.iter_mut().for_each(|y| *y = 0.5 * (*y + 1.0)),
            Loss::Mse => {}
        }
        Self { inputs, targets, width, target_len }
    }

    /// One example's input and target.
    pub(super) fn example(&self, index: usize) -> (&[f32], &[f32]) {
        let input = &self.inputs[index * self.width..][..self.width];
        (input, &self.targets[index * self.target_len..][..self.target_len])
    }
}

/// Rows of the embedding that reads the input, if one does.
fn embedding_rows(model: &Model) -> Option<usize> {
    model.graph().nodes.iter().find_map(|node| match node.op {
        Primitive::Embedding { num, .. } => Some(num),
        _ => None,
    })
}

/// Values on `[-1, 1)` to whole numbers below `count`.
fn whole(values: &mut [f32], count: usize) {
    values.iter_mut().for_each(|value| *value = (0.5 * (*value + 1.0) * count as f32).floor());
}

/// First values, moved away from what is special: weights of norms that are 1, biases and
/// LoRA's B that are 0.
pub(super) fn parameters(model: &Model, seed: u64) -> Vec<f32> {
    let noise = test_values(model.parameters(), seed ^ 0xABC);
    model.initial(seed).iter().zip(noise).map(|(value, noise)| value + 0.2 * noise).collect()
}

/// Gradients equal central differences of the f64 oracle, and outputs and losses equal the
/// oracle's own. Where the frozen parameters are those of a new model, they are moved too.
pub(super) fn assert_true_gradients(model: Model, seed: u64) {
    const EXAMPLES: usize = 2;
    let noise = test_values(model.frozen().len(), seed ^ 0xDEF);
    let frozen = model.frozen().iter().zip(noise).map(|(value, noise)| value + 0.2 * noise);
    let frozen = frozen.collect();
    let model = model.with_frozen(frozen).expect("as many as there were");
    let parameters = parameters(&model, seed);
    let batch = Batch::new(&model, EXAMPLES, seed + 1);
    assert_true_outputs(&model, &parameters, &batch);
    let gradients = model.per_example_gradients(&parameters, &batch.inputs, &batch.targets);
    let gradients = gradients.expect("valid");
    let mut oracle = Oracle::new(&model, &parameters);
    for (example, gradient) in gradients.chunks(model.parameters()).enumerate() {
        let (input, target) = batch.example(example);
        assert_slopes(&model, &mut oracle, gradient, (&wide(input), target));
    }
}

/// Outputs and losses equal the oracle's.
pub(super) fn assert_true_outputs(model: &Model, parameters: &[f32], batch: &Batch) {
    let losses = model.losses(parameters, &batch.inputs, &batch.targets).expect("valid");
    let outputs = model.predict(parameters, &batch.inputs, losses.len()).expect("valid");
    let oracle = Oracle::new(model, parameters);
    for (example, (found, outputs)) in
        losses.iter().zip(outputs.chunks(model.output_len())).enumerate()
    {
        let (input, target) = batch.example(example);
        let loss = oracle.loss(&wide(input), target);
        assert!((f64::from(*found) - loss).abs() < OUTPUT_TOLERANCE, "{found} for {loss}");
        for (found, expected) in outputs.iter().zip(oracle.outputs(&wide(input))) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < OUTPUT_TOLERANCE * expected.abs().max(1.0), "{found} for {expected}");
        }
    }
}

/// One example's gradient against difference quotients, entry by entry.
fn assert_slopes(
    model: &Model,
    oracle: &mut Oracle<'_>,
    gradient: &[f32],
    (input, target): (&[f64], &[f32]),
) {
    let centre = oracle.loss(input, target);
    let largest = gradient.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let allowed = TOLERANCE * f64::from(largest) + ROUNDING + CANCELLATION;
    let mut kinks = 0;
    for (index, found) in gradient.iter().enumerate() {
        let middle = oracle.trainable[index];
        let mut at = |value| {
            oracle.trainable[index] = value;
            oracle.loss(input, target)
        };
        let (right, left) = (at(middle + STEP) - centre, centre - at(middle - STEP));
        oracle.trainable[index] = middle;
        // At a kink the gradient is one side's slope, or lies between the two.
        let is_kink = (right - left).abs() > KINK * STEP;
        kinks += usize::from(is_kink);
        let middle = 0.5 * (right + left);
        let sides = if is_kink { (left.min(right), left.max(right)) } else { (middle, middle) };
        let (least, most, found) = (sides.0 / STEP, sides.1 / STEP, f64::from(*found));
        let is_true = found > least - allowed && found < most + allowed;
        assert!(is_true, "{:?}[{index}]: {found} for {least} to {most}", model.graph());
    }
    assert!(kinks <= MOST_KINKS.max(gradient.len() / 50), "{kinks} entries lie at kinks");
}
