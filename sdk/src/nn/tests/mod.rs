//! Descriptions, laws of the engine, and its gradients against an oracle in f64 and against
//! the tensor path.

mod cases;
mod checking;
mod features;
mod geometry;
mod gradients;
mod laws;
#[cfg(feature = "candle")]
mod parity;
mod reference;
mod refusals;
mod specs;

/// Values on `[-1, 1)` that look random; the same for the same seed.
pub(crate) fn test_values(len: usize, seed: u64) -> Vec<f32> {
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Inputs and targets that a model takes: tokens where it looks rows up, numbers elsewhere.
pub(crate) fn test_batch(
    model: &crate::nn::Model,
    examples: usize,
    seed: u64,
) -> (Vec<f32>, Vec<f32>) {
    use crate::nn::Loss;
    use crate::nn::graph::Primitive;
    let whole = |value: f32, count: usize| ((value + 1.0) * 0.5 * count as f32).floor();
    let mut inputs = test_values(examples * model.input_len(), seed);
    for node in &model.graph().nodes {
        if let Primitive::Embedding { num, .. } = node.op {
            inputs.iter_mut().for_each(|value| *value = whole(*value, num));
        }
    }
    let mut targets = test_values(examples * model.target_len(), seed + 1);
    if matches!(model.graph().loss, Loss::CrossEntropy | Loss::SequenceCrossEntropy) {
        targets.iter_mut().for_each(|value| *value = whole(*value, model.classes()));
    }
    (inputs, targets)
}
