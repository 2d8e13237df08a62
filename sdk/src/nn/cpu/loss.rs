//! Losses of one example, each the mean over what it compares, and their gradients with
//! respect to the model's output.

use crate::kernels::{exp, log_sum_exp, sigmoid, softmax, vectorised};
use crate::nn::Loss;

/// The loss of one example.
pub(crate) fn value(loss: Loss, outputs: &[f32], target: &[f32]) -> f32 {
    match loss {
        Loss::CrossEntropy | Loss::SequenceCrossEntropy => cross_entropy(outputs, target),
        Loss::BceWithLogits => bce_with_logits(outputs, target),
        Loss::Mse => mse(outputs, target),
    }
}

/// Its gradient with respect to the outputs; writes all of `result`.
pub(crate) fn gradient(loss: Loss, outputs: &[f32], target: &[f32], result: &mut [f32]) {
    match loss {
        Loss::CrossEntropy | Loss::SequenceCrossEntropy => {
            cross_entropy_gradient(outputs, target, result);
        }
        Loss::BceWithLogits => bce_with_logits_gradient(outputs, target, result),
        Loss::Mse => mse_gradient(outputs, target, result),
    }
}

/// Mean over positions of `log(sum e^z) - z[class]`: `outputs` `[positions, classes]`,
/// `target` the class of each position. One position: the cross-entropy of a classifier.
fn cross_entropy(outputs: &[f32], target: &[f32]) -> f32 {
    let classes = outputs.len() / target.len();
    let mut sum = 0.0;
    vectorised!(for (row, class) in outputs.chunks_exact(classes).zip(target) {
        let (largest, powers) = log_sum_exp(row);
        sum += powers.ln() - (row[*class as usize] - largest);
    });
    sum / target.len() as f32
}

// d loss / d z_c = (softmax(z)_c - [c = class]) / positions.
/// Gradient of [`cross_entropy`].
fn cross_entropy_gradient(outputs: &[f32], target: &[f32], result: &mut [f32]) {
    let classes = outputs.len() / target.len();
    let share = 1.0 / target.len() as f32;
    result.copy_from_slice(outputs);
    vectorised!(for (row, class) in result.chunks_exact_mut(classes).zip(target) {
        softmax(row, 1.0);
        row[*class as usize] -= 1.0;
        for value in row {
            *value *= share;
        }
    });
}

/// Mean over outputs of `-(y ln s(z) + (1 - y) ln(1 - s(z)))`, s the logistic function.
fn bce_with_logits(outputs: &[f32], target: &[f32]) -> f32 {
    // = max(z, 0) - z y + ln(1 + e^-|z|), which does not overflow.
    let term = |(z, y): (&f32, &f32)| z.max(0.0) - z * y + exp(-z.abs()).ln_1p();
    outputs.iter().zip(target).map(term).sum::<f32>() / outputs.len() as f32
}

/// Gradient of [`bce_with_logits`]: `(s(z) - y) / n`.
fn bce_with_logits_gradient(outputs: &[f32], target: &[f32], result: &mut [f32]) {
    let share = 1.0 / outputs.len() as f32;
    vectorised!(for ((z, y), result) in outputs.iter().zip(target).zip(result) {
        *result = (sigmoid(*z) - y) * share;
    });
}

/// Mean over outputs of `(z - y)^2`.
fn mse(outputs: &[f32], target: &[f32]) -> f32 {
    let term = |(z, y): (&f32, &f32)| (z - y) * (z - y);
    outputs.iter().zip(target).map(term).sum::<f32>() / outputs.len() as f32
}

/// Gradient of [`mse`]: `2 (z - y) / n`.
fn mse_gradient(outputs: &[f32], target: &[f32], result: &mut [f32]) {
    let share = 2.0 / outputs.len() as f32;
    vectorised!(for ((z, y), result) in outputs.iter().zip(target).zip(result) {
        *result = (z - y) * share;
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{assert_values, wide};
    use crate::nn::test_values;

    type Loss = fn(&[f32], &[f32]) -> f32;
    type Gradient = fn(&[f32], &[f32], &mut [f32]);
    type Oracle = fn(&[f64], &[f64]) -> f64;

    fn naive_cross_entropy(outputs: &[f64], target: &[f64]) -> f64 {
        let rows = outputs.chunks(outputs.len() / target.len()).zip(target);
        let term = |(row, class): (&[f64], &f64)| {
            row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[*class as usize]
        };
        rows.map(term).sum::<f64>() / target.len() as f64
    }

    fn naive_bce(outputs: &[f64], target: &[f64]) -> f64 {
        let term = |(z, y): (&f64, &f64)| {
            let p = 1.0 / (1.0 + (-z).exp());
            -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
        };
        outputs.iter().zip(target).map(term).sum::<f64>() / outputs.len() as f64
    }

    fn naive_mse(outputs: &[f64], target: &[f64]) -> f64 {
        let square = |(z, y): (&f64, &f64)| (z - y).powi(2);
        outputs.iter().zip(target).map(square).sum::<f64>() / outputs.len() as f64
    }

    fn check(outputs: &[f32], target: &[f32], loss: Loss, gradient: Gradient, oracle: Oracle) {
        let (mut z, y) = (wide(outputs), wide(target));
        assert_values(&[loss(outputs, target)], &[oracle(&z, &y)], 1e-5);
        let mut found = vec![f32::NAN; outputs.len()];
        gradient(outputs, target, &mut found);
        let mut slope = |index: usize| {
            let (middle, step) = (z[index], 1e-5);
            let mut at = |value| {
                z[index] = value;
                oracle(&z, &y)
            };
            let difference = at(middle + step) - at(middle - step);
            z[index] = middle;
            difference / (2.0 * step)
        };
        let slopes: Vec<f64> = (0..outputs.len()).map(&mut slope).collect();
        assert_values(&found, &slopes, 1e-6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn losses_and_gradients_are_the_naive_ones(
            positions in 1_usize..5, classes in 1_usize..40, seed: u64,
        ) {
            let outputs: Vec<f32> =
                test_values(positions * classes, seed).iter().map(|z| 5.0 * z).collect();
            let target: Vec<f32> =
                test_values(outputs.len(), seed ^ 1).iter().map(|y| (y + 1.0) / 2.0).collect();
            let ids: Vec<f32> =
                target[..positions].iter().map(|y| (y * classes as f32).floor()).collect();
            check(&outputs, &ids, cross_entropy, cross_entropy_gradient, naive_cross_entropy);
            check(&outputs, &target, bce_with_logits, bce_with_logits_gradient, naive_bce);
            check(&outputs, &target, mse, mse_gradient, naive_mse);
        }
    }

    #[test]
    fn far_logits_do_not_overflow() {
        assert_eq!(cross_entropy(&[1e4, -1e4], &[1.0]), 2e4);
        assert_eq!(bce_with_logits(&[1e4, -1e4], &[0.0, 0.0]), 5e3);
        let mut result = [f32::NAN; 2];
        cross_entropy_gradient(&[1e4, -1e4], &[1.0], &mut result);
        assert_eq!(result, [1.0, -1.0]);
    }

    #[test]
    fn nan_outputs_give_nan_losses() {
        let outputs = [1.0, f32::NAN];
        assert!(cross_entropy(&outputs, &[0.0]).is_nan());
        assert!(bce_with_logits(&outputs, &[0.0, 1.0]).is_nan());
        assert!(mse(&outputs, &[0.0, 1.0]).is_nan());
    }
}
