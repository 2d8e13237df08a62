//! Operations value by value, and softmax over rows.

use super::op::{Backward, Forward, Op};
use crate::kernels::{Activation, centred_dot, softmax, vectorised};

/// An activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivationOp(pub(crate) Activation);

/// Softmax of each row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    pub(crate) dim: usize,
}

/// Zeroes each value with probability `rate` while training, and scales the others by
/// `1 / (1 - rate)`. The draw of a value is a hash of the example's stream, the node and the
/// place of the value: the same on the way back and in any micro-batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// At least 0 and below 1.
    pub(crate) rate: f32,
    /// Values of one example.
    pub(crate) len: usize,
    /// Number of the node, so that no two draw alike.
    pub(crate) node: u32,
}

/// Inputs a and b: `a + scale b`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Add {
    pub(crate) scale: f32,
}

impl Op for ActivationOp {
    fn forward(&self, at: Forward<'_>) {
        self.0.apply(at.inputs[0], at.output);
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        self.0.gradient(at.inputs[0], at.output, at.gradient, result);
    }
}

impl Op for Softmax {
    fn forward(&self, at: Forward<'_>) {
        at.output.copy_from_slice(at.inputs[0]);
        vectorised!(for row in at.output.chunks_exact_mut(self.dim) {
            softmax(row, 1.0);
        });
    }

    // dx = y (g - sum g y).
    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let rows = at.output.chunks_exact(self.dim).zip(at.gradient.chunks_exact(self.dim));
        vectorised!(
            for ((output, gradient), result) in rows.zip(result.chunks_exact_mut(self.dim)) {
                let mean = centred_dot(gradient, output, 0.0);
                for ((result, y), g) in result.iter_mut().zip(output).zip(gradient) {
                    *result = y * (g - mean);
                }
            }
        );
    }
}

impl Dropout {
    /// Draws below this are dropped, `rate` of all 2^32.
    fn threshold(&self) -> u32 {
        (f64::from(self.rate) * f64::from(u32::MAX)).round() as u32
    }

    /// Copies with each example's mask; its own adjoint.
    pub(super) fn mask(&self, streams: &[u64], from: &[f32], to: &mut [f32]) {
        if streams.is_empty() {
            return to.copy_from_slice(from);
        }
        let (threshold, scale) = (self.threshold(), 1.0 / (1.0 - self.rate));
        let examples = from.chunks_exact(self.len).zip(to.chunks_exact_mut(self.len));
        vectorised!(for ((from, to), stream) in examples.zip(streams) {
            let key = split_mix(stream ^ split_mix(u64::from(self.node)));
            let (low, high) = (key as u32, (key >> 32) as u32);
            for (place, (x, y)) in from.iter().zip(to).enumerate() {
                let draw = mixed(mixed(place as u32 ^ low).wrapping_add(high));
                // A mask and not a choice: a branch on a draw is mispredicted half the time.
                let kept = 0_u32.wrapping_sub(u32::from(draw >= threshold));
                *y = f32::from_bits((x * scale).to_bits() & kept);
            }
        });
    }
}

/// Finaliser of the generator splitmix64.
#[inline(always)]
fn split_mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A permutation of 32 bits in which each bit of the result depends on every bit of the value:
/// the finaliser of MurmurHash3, which vectors compute in 32-bit lanes.
#[inline(always)]
fn mixed(value: u32) -> u32 {
    let h = (value ^ (value >> 16)).wrapping_mul(0x85eb_ca6b);
    let h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

impl Op for Dropout {
    fn forward(&self, at: Forward<'_>) {
        self.mask(at.streams, at.inputs[0], at.output);
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        self.mask(at.streams, at.gradient, result);
    }
}

impl Op for Add {
    fn forward(&self, at: Forward<'_>) {
        let inputs = at.inputs[0].iter().zip(at.inputs[1]);
        vectorised!(for ((a, b), sum) in inputs.zip(at.output) {
            *sum = a + self.scale * b;
        });
    }

    fn backward(&self, at: Backward<'_>) {
        let [to_a, to_b] = at.input_gradients else { unreachable!("a sum has two inputs") };
        if let Some(result) = to_a {
            result.copy_from_slice(at.gradient);
        }
        let Some(result) = to_b else { return };
        vectorised!(for (result, gradient) in result.iter_mut().zip(at.gradient) {
            *result = self.scale * gradient;
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn softmax_and_its_gradient_are_the_naive_ones(dim in 1_usize..40, rows in 1_usize..4) {
            let op = Softmax { dim };
            let case = Case::new(&op, &[dim * rows], &[], dim * rows);
            let mut oracle = Vec::new();
            for row in wide(&case.inputs[0]).chunks(dim) {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                oracle.extend(row.iter().map(|x| x.exp() / sum));
            }
            assert_values(&case.forward().output, &oracle, 1e-6);
            case.check();
        }

        #[test]
        fn sums_are_scaled(len in 1_usize..40, scale in -2.0_f32..2.0) {
            let op = Add { scale };
            let case = Case::new(&op, &[len; 2], &[], len);
            let (a, b) = (wide(&case.inputs[0]), wide(&case.inputs[1]));
            let oracle: Vec<f64> =
                a.iter().zip(b).map(|(a, b)| a + f64::from(scale) * b).collect();
            assert_values(&case.forward().output, &oracle, 1e-6);
            case.check();
        }
    }

    #[test]
    fn activations_have_their_gradients() {
        for activation in [Activation::Tanh, Activation::Gelu, Activation::Silu] {
            Case::new(&ActivationOp(activation), &[19], &[], 19).check();
        }
    }

    #[test]
    fn dropout_outside_of_training_changes_nothing() {
        let op = Dropout { rate: 0.5, len: 30, node: 1 };
        let case = Case::new(&op, &[30], &[], 30);
        assert_eq!(case.forward().output, case.inputs[0]);
        case.check();
    }

    #[test]
    fn dropout_repeats_for_a_stream_and_has_its_gradient() {
        let op = Dropout { rate: 0.3, len: 50, node: 2 };
        let mut case = Case::new(&op, &[50], &[], 50);
        case.streams = vec![7, 8, 7];
        case.inputs[0].fill(1.0);
        let output = case.forward().output;
        assert_eq!(output[..50], output[100..], "the same stream");
        assert_ne!(output[..50], output[50..100], "another stream");
        assert_eq!(output, case.forward().output);
        case.check();
    }

    #[test]
    fn dropout_of_another_node_draws_anew() {
        let mask = |node| {
            let op = Dropout { rate: 0.5, len: 64, node };
            let mut case = Case::new(&op, &[64], &[], 64);
            case.streams = vec![1, 2, 3];
            case.forward().output.iter().map(|value| *value == 0.0).collect::<Vec<_>>()
        };
        assert_ne!(mask(0), mask(1));
    }

    #[test]
    fn dropout_keeps_its_rate_and_neighbours_apart() {
        // Five standard deviations of a binomial share, and of the share of equal neighbours.
        let (len, rate) = (100_000, 0.2_f64);
        let op = Dropout { rate: 0.2, len, node: 0 };
        let mut case = Case::new(&op, &[len], &[], len);
        case.streams = vec![0, 1, 2];
        for example in case.forward().output.chunks(len) {
            let dropped: Vec<bool> = example.iter().map(|value| *value == 0.0).collect();
            let share = |count: usize| count as f64 / len as f64;
            let one = share(dropped.iter().filter(|dropped| **dropped).count());
            let pairs = share(dropped.windows(2).filter(|pair| pair[0] & pair[1]).count());
            let bound = |p: f64| 5.0 * (p * (1.0 - p) / len as f64).sqrt();
            assert!((one - rate).abs() < bound(rate), "{one}");
            assert!((pairs - rate * rate).abs() < 2.0 * bound(rate * rate), "{pairs}");
        }
    }
}
