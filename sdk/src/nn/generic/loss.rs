//! Losses, one value an example.

use candle_core::{D, DType, Result, Tensor};

use super::super::Loss;
use super::value::log_sum_exp;

/// The losses `[batch]` of outputs `[batch, ..]` against targets `[batch, target]`.
pub(super) fn losses(loss: Loss, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    match loss {
        Loss::CrossEntropy => cross_entropy(&outputs.unsqueeze(1)?, targets),
        Loss::SequenceCrossEntropy => cross_entropy(outputs, targets),
        Loss::BceWithLogits => bce_with_logits(&outputs.flatten_from(1)?, targets),
        Loss::Mse => outputs.flatten_from(1)?.sub(targets)?.sqr()?.mean(1),
    }
}

/// Mean over positions of `log sum e^z - z[label]`; z `[batch, t, classes]`, labels
/// `[batch, t]`.
fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let labels = labels.to_dtype(DType::U32)?.unsqueeze(2)?;
    let chosen = logits.contiguous()?.gather(&labels, 2)?;
    log_sum_exp(logits)?.sub(&chosen)?.squeeze(2)?.mean(1)
}

/// Mean over outputs of `max(z, 0) - z y + log(1 + e^-|z|)`.
// The library's relu has slope 1 at 0, and its abs too: together the slope is 1/2 - y
// there, as it must be.
fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let tail = logits.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?;
    logits.relu()?.sub(&logits.mul(targets)?)?.add(&tail)?.mean(D::Minus1)
}
