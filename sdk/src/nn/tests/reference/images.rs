//! Operations on `[channels, height, width]`.

use super::At;
use super::rows::moments;
use crate::nn::graph::Convolution;

pub(super) fn convolution(at: &At<'_>, geometry: Convolution) -> Vec<f64> {
    let mut y = Vec::new();
    for o in 0..geometry.outputs {
        for row in 0..at.to[1] {
            for column in 0..at.to[2] {
                let bias = at.tensors.get(1).map_or(0.0, |bias| bias[o]);
                y.push(bias + products(at, geometry, o, [row, column]));
            }
        }
    }
    y
}

/// The kernel of output channel `o` times what lies under it at one position.
fn products(at: &At<'_>, geometry: Convolution, o: usize, position: [usize; 2]) -> f64 {
    let Convolution { inputs, outputs, kernel, stride, padding, dilation, groups } = geometry;
    let (own, group) = (inputs / groups, o / (outputs / groups));
    let mut sum = 0.0;
    for c in 0..own {
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let weight = at.tensors[0][((o * own + c) * kernel[0] + i) * kernel[1] + j];
                let row = position[0] * stride[0] + i * dilation[0];
                let column = position[1] * stride[1] + j * dilation[1];
                let place = (row.checked_sub(padding[0]), column.checked_sub(padding[1]));
                sum += weight * pixel(at, group * own + c, place);
            }
        }
    }
    sum
}

/// A pixel, or zero in the padding.
fn pixel(at: &At<'_>, channel: usize, place: (Option<usize>, Option<usize>)) -> f64 {
    let (height, width) = (at.from[1], at.from[2]);
    match place {
        (Some(row), Some(column)) if row < height && column < width => {
            at.inputs[0][(channel * height + row) * width + column]
        }
        _ => 0.0,
    }
}

pub(super) fn pool(at: &At<'_>, average: bool, kernel: [usize; 2], stride: [usize; 2]) -> Vec<f64> {
    let mut y = Vec::new();
    for channel in 0..at.to[0] {
        for row in 0..at.to[1] {
            for column in 0..at.to[2] {
                let window = (0..kernel[0] * kernel[1]).map(|k| {
                    let row = row * stride[0] + k / kernel[1];
                    let column = column * stride[1] + k % kernel[1];
                    pixel(at, channel, (Some(row), Some(column)))
                });
                y.push(match average {
                    true => window.sum::<f64>() / (kernel[0] * kernel[1]) as f64,
                    false => window.fold(f64::NEG_INFINITY, f64::max),
                });
            }
        }
    }
    y
}

pub(super) fn group_norm(at: &At<'_>, groups: usize, channels: usize) -> Vec<f64> {
    let x = at.inputs[0];
    let pixels = x.len() / channels;
    let own = pixels * channels / groups;
    let mut y = Vec::new();
    for (place, value) in x.iter().enumerate() {
        let (mean, deviation) = moments(&x[place / own * own..][..own]);
        let channel = place / pixels;
        y.push((value - mean) / deviation * at.tensors[0][channel] + at.tensors[1][channel]);
    }
    y
}
