//! Operations on `[length, dim]` that mix positions.

use super::rows::probabilities;
use super::{At, sigmoid};

pub(super) fn attend(at: &At<'_>, heads: usize, causal: bool) -> Vec<f64> {
    let (length, dim) = (at.from[0], at.from[1]);
    let size = dim / heads;
    let mut y = vec![0.0; length * dim];
    for start in (0..heads).map(|head| head * size) {
        let row = |input: usize, t: usize| &at.inputs[input][t * dim + start..][..size];
        for t in 0..length {
            let seen = if causal { t + 1 } else { length };
            let score = |other| dot(row(0, t), row(1, other)) / (size as f64).sqrt();
            let scores: Vec<f64> = (0..seen).map(score).collect();
            for (other, share) in probabilities(&scores).into_iter().enumerate() {
                for (i, value) in row(2, other).iter().enumerate() {
                    y[t * dim + start + i] += share * value;
                }
            }
        }
    }
    y
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `W_hh h + b_hh`.
fn hidden_side(at: &At<'_>, h: &[f64]) -> Vec<f64> {
    let rows = at.tensors[0].chunks(h.len()).zip(at.tensors[1]);
    rows.map(|(weight, bias)| bias + dot(weight, h)).collect()
}

pub(super) fn lstm(at: &At<'_>, hidden: usize) -> Vec<f64> {
    let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
    let mut y = Vec::new();
    for x in at.inputs[0].chunks(4 * hidden) {
        let u = hidden_side(at, &h);
        for k in 0..hidden {
            let side = |gate: usize| x[gate * hidden + k] + u[gate * hidden + k];
            let (i, f, o) = (sigmoid(side(0)), sigmoid(side(1)), sigmoid(side(3)));
            c[k] = f * c[k] + i * side(2).tanh();
            h[k] = o * c[k].tanh();
        }
        y.extend_from_slice(&h);
    }
    y
}

pub(super) fn gru(at: &At<'_>, hidden: usize) -> Vec<f64> {
    let mut h = vec![0.0; hidden];
    let mut y = Vec::new();
    for x in at.inputs[0].chunks(3 * hidden) {
        let u = hidden_side(at, &h);
        for k in 0..hidden {
            let r = sigmoid(x[k] + u[k]);
            let z = sigmoid(x[hidden + k] + u[hidden + k]);
            let n = (x[2 * hidden + k] + r * u[2 * hidden + k]).tanh();
            h[k] = (1.0 - z) * n + z * h[k];
        }
        y.extend_from_slice(&h);
    }
    y
}

pub(super) fn mean(at: &At<'_>) -> Vec<f64> {
    let (length, dim) = (at.from[0], at.from[1]);
    let column = |i: usize| at.inputs[0].iter().skip(i).step_by(dim).sum::<f64>();
    (0..dim).map(|i| column(i) / length as f64).collect()
}
