//! Models by their definition: f64, plain loops, one example at a time.

use crate::nn::{LayerSpec, ModelSpec};

/// Loss of one example.
pub(super) fn loss(spec: &ModelSpec, parameters: &[f64], input: &[f64], label: usize) -> f64 {
    let logits = outputs(spec, parameters, input);
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    largest + sum.ln() - logits[label]
}

/// Outputs for one example.
pub(super) fn outputs(spec: &ModelSpec, parameters: &[f64], input: &[f64]) -> Vec<f64> {
    let mut shape = spec.input.clone();
    let mut values = input.to_vec();
    let mut rest = parameters;
    for layer in &spec.layers {
        let tensors: Vec<&[f64]> = layer
            .tensors()
            .iter()
            .map(|(_, shape)| {
                let (tensor, after) = rest.split_at(shape.iter().product());
                rest = after;
                tensor
            })
            .collect();
        (shape, values) = apply(layer, &tensors, &shape, &values);
    }
    values
}

fn apply(
    layer: &LayerSpec,
    tensors: &[&[f64]],
    shape: &[usize],
    x: &[f64],
) -> (Vec<usize>, Vec<f64>) {
    let each =
        |function: fn(f64) -> f64| (shape.to_vec(), x.iter().map(|x| function(*x)).collect());
    let bias = |output: usize| tensors.get(1).map_or(0.0, |bias| bias[output]);
    match *layer {
        LayerSpec::Linear { inputs, outputs, .. } => {
            let row = |row: &[f64], o: usize| {
                let weight = &tensors[0][o * inputs..(o + 1) * inputs];
                bias(o) + row.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>()
            };
            let rows = x.chunks(inputs);
            let values = rows.flat_map(|x| (0..outputs).map(move |o| row(x, o))).collect();
            let leading = shape[..shape.len() - 1].iter().copied();
            (leading.chain([outputs]).collect(), values)
        }
        LayerSpec::Conv2d { outputs, kernel, stride, padding, .. } => {
            slide(shape, outputs, kernel, stride, padding, |o, y, x0| {
                let mut sum = bias(o);
                for c in 0..shape[0] {
                    for ky in 0..kernel {
                        for kx in 0..kernel {
                            let weight =
                                tensors[0][((o * shape[0] + c) * kernel + ky) * kernel + kx];
                            sum += weight * pixel(shape, x, c, y + ky as isize, x0 + kx as isize);
                        }
                    }
                }
                sum
            })
        }
        LayerSpec::MaxPool2d { kernel, stride } => {
            slide(shape, shape[0], kernel, stride.unwrap_or(kernel), 0, |c, y, x0| {
                let values = patch(kernel, y, x0).map(|(y, x0)| pixel(shape, x, c, y, x0));
                values.fold(f64::NEG_INFINITY, f64::max)
            })
        }
        LayerSpec::AvgPool2d { kernel, stride } => {
            slide(shape, shape[0], kernel, stride.unwrap_or(kernel), 0, |c, y, x0| {
                let values = patch(kernel, y, x0).map(|(y, x0)| pixel(shape, x, c, y, x0));
                values.sum::<f64>() / (kernel * kernel) as f64
            })
        }
        LayerSpec::Flatten => (vec![x.len()], x.to_vec()),
        LayerSpec::Relu => each(|x| x.max(0.0)),
        LayerSpec::Tanh => each(f64::tanh),
        LayerSpec::Gelu => each(|x| 0.5 * x * (1.0 + libm::erf(x / 2_f64.sqrt()))),
        LayerSpec::Silu => each(|x| x / (1.0 + (-x).exp())),
        LayerSpec::Sigmoid => each(|x| 1.0 / (1.0 + (-x).exp())),
    }
}

/// Calls `value(channel, y, x)` with the top left corner of the window at each position.
fn slide(
    shape: &[usize],
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    value: impl Fn(usize, isize, isize) -> f64,
) -> (Vec<usize>, Vec<f64>) {
    let side = |length: usize| (length + 2 * padding - kernel) / stride + 1;
    let corner = |position: usize| (position * stride) as isize - padding as isize;
    let mut values = Vec::new();
    for channel in 0..channels {
        for y in 0..side(shape[1]) {
            for x in 0..side(shape[2]) {
                values.push(value(channel, corner(y), corner(x)));
            }
        }
    }
    (vec![channels, side(shape[1]), side(shape[2])], values)
}

fn patch(kernel: usize, y: isize, x: isize) -> impl Iterator<Item = (isize, isize)> {
    let kernel = kernel as isize;
    (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| (y + ky, x + kx)))
}

/// A pixel, or zero in the padding.
fn pixel(shape: &[usize], values: &[f64], c: usize, y: isize, x: isize) -> f64 {
    let (height, width) = (shape[1] as isize, shape[2] as isize);
    if !(0..height).contains(&y) || !(0..width).contains(&x) {
        return 0.0;
    }
    values[(c * shape[1] + y as usize) * shape[2] + x as usize]
}
