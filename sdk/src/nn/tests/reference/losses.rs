//! The four losses, each a mean over what it compares.

use super::sigmoid;
use crate::nn::Loss;

pub(super) fn loss(loss: Loss, outputs: &[f64], target: &[f64]) -> f64 {
    let pairs = || outputs.iter().zip(target);
    let count = outputs.len() as f64;
    match loss {
        Loss::CrossEntropy | Loss::SequenceCrossEntropy => cross_entropy(outputs, target),
        Loss::BceWithLogits => pairs().map(|(z, y)| binary(*z, *y)).sum::<f64>() / count,
        Loss::Mse => pairs().map(|(z, y)| (z - y).powi(2)).sum::<f64>() / count,
    }
}

fn cross_entropy(outputs: &[f64], labels: &[f64]) -> f64 {
    let classes = outputs.len() / labels.len();
    let mut sum = 0.0;
    for (logits, label) in outputs.chunks(classes).zip(labels) {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        sum += largest + powers.ln() - logits[*label as usize];
    }
    sum / labels.len() as f64
}

fn binary(z: f64, y: f64) -> f64 {
    -(y * sigmoid(z).ln() + (1.0 - y) * sigmoid(-z).ln())
}
