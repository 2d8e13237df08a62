//! Normalisation within one example.

use candle_core::{D, Result, Tensor};

use super::weight::Weight;

/// Added to variances and mean squares.
const EPSILON: f64 = 1e-5;

/// `(x - mean) / sqrt(variance + epsilon) w + b` over the last dimension.
pub(super) fn layer_norm(x: &Tensor, scale: &Weight, shift: &Weight) -> Result<Tensor> {
    let rank = x.rank();
    let scaled = standardise(x)?.broadcast_mul(&scale.along_last(rank)?)?;
    scaled.broadcast_add(&shift.along_last(rank)?)
}

/// `x / sqrt(mean of x^2 + epsilon) w` over the last dimension.
pub(super) fn rms_norm(x: &Tensor, scale: &Weight) -> Result<Tensor> {
    divide_by_root_mean_square(x)?.broadcast_mul(&scale.along_last(x.rank())?)
}

/// As [`layer_norm`] over each group of channels of `[batch, channels, h, w]`, with one
/// scale and one shift a channel.
pub(super) fn group_norm(
    x: &Tensor,
    groups: usize,
    scale: &Weight,
    shift: &Weight,
) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let pixels = height * width;
    let grouped = standardise(&x.reshape((batch, groups, channels / groups * pixels))?)?;
    let scaled = grouped.reshape((batch, channels, pixels))?.broadcast_mul(&scale.along_rows()?)?;
    scaled.broadcast_add(&shift.along_rows()?)?.reshape(x.dims())
}

fn standardise(x: &Tensor) -> Result<Tensor> {
    divide_by_root_mean_square(&x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}

fn divide_by_root_mean_square(x: &Tensor) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&mean_square.affine(1.0, EPSILON)?.sqrt()?)
}
