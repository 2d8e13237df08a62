//! Per-example gradients against an oracle in f64, laws of the engine, refusals.

mod gradients;
mod reference;
mod specs;

/// Values on `[-1, 1)` that look random; the same for the same seed.
pub(crate) fn test_values(len: usize, seed: u64) -> Vec<f32> {
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
