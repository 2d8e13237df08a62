//! Operations on the last dimension.

use super::At;

/// Added to every variance and mean square.
pub(super) const EPS: f64 = 1e-5;

pub(super) fn linear(at: &At<'_>, inputs: usize, outputs: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for x in at.inputs[0].chunks(inputs) {
        for o in 0..outputs {
            let bias = at.tensors.get(1).map_or(0.0, |bias| bias[o]);
            let weight = &at.tensors[0][o * inputs..(o + 1) * inputs];
            y.push(bias + x.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>());
        }
    }
    y
}

pub(super) fn embedding(at: &At<'_>, dim: usize) -> Vec<f64> {
    let row = |token: &f64| at.tensors[0][*token as usize * dim..][..dim].to_vec();
    at.inputs[0].iter().flat_map(row).collect()
}

pub(super) fn layer_norm(at: &At<'_>, dim: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for x in at.inputs[0].chunks(dim) {
        let (mean, deviation) = moments(x);
        for (i, x) in x.iter().enumerate() {
            y.push((x - mean) / deviation * at.tensors[0][i] + at.tensors[1][i]);
        }
    }
    y
}

/// Mean, and the root of the variance plus eps.
pub(super) fn moments(x: &[f64]) -> (f64, f64) {
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance + EPS).sqrt())
}

pub(super) fn rms_norm(at: &At<'_>, dim: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for x in at.inputs[0].chunks(dim) {
        let square = x.iter().map(|x| x * x).sum::<f64>() / dim as f64;
        let root = (square + EPS).sqrt();
        y.extend(x.iter().zip(at.tensors[0]).map(|(x, weight)| x / root * weight));
    }
    y
}

pub(super) fn softmax(at: &At<'_>) -> Vec<f64> {
    let dim = at.from[at.from.len() - 1];
    at.inputs[0].chunks(dim).flat_map(probabilities).collect()
}

pub(super) fn probabilities(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

pub(super) fn transpose(at: &At<'_>) -> Vec<f64> {
    let (a, b) = (at.from[0], at.from[1]);
    (0..a * b).map(|place| at.inputs[0][place % a * b + place / a]).collect()
}
