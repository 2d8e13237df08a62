//! Functions of single values and of the last dimension.

use candle_core::{D, Result, Tensor};

use crate::kernels::Activation;

/// `[batch, ..shape]`.
pub(super) fn batched(batch: usize, shape: &[usize]) -> Vec<usize> {
    [&[batch], shape].concat()
}

pub(super) fn activation(function: Activation, x: &Tensor) -> Result<Tensor> {
    match function {
        Activation::Relu => relu(x),
        Activation::Tanh => x.tanh(),
        // x Phi(x) = x (1 + erf(x / sqrt 2)) / 2: the library's gelu_erf has a derivative
        // that is rounded to six digits.
        Activation::Gelu => {
            let erf = x.affine(std::f64::consts::FRAC_1_SQRT_2, 0.0)?.erf()?;
            x.mul(&erf.affine(0.5, 0.5)?)
        }
        Activation::Silu => x.mul(&sigmoid(x)?),
        Activation::Sigmoid => sigmoid(x),
    }
}

// Slope 0 at 0, as in the CPU engine, where the library has 1; and NaN stays.
fn relu(x: &Tensor) -> Result<Tensor> {
    let zeros = x.zeros_like()?;
    x.le(&zeros)?.where_cond(&zeros, x)
}

/// `1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2`: the derivative of the left side as written is
/// `inf * 0` where `e^-x` overflows.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}

/// Over the last dimension.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    // The result does not depend on the value subtracted, so nothing flows through it.
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let exponentials = x.broadcast_sub(&largest)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// `log sum e^x` over the last dimension, which stays with length 1.
pub(super) fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let sum = x.broadcast_sub(&largest)?.exp()?.sum_keepdim(D::Minus1)?;
    sum.log()?.add(&largest)
}
