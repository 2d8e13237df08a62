//! Attention within one example.

use candle_core::{Result, Tensor};

use super::value::softmax;

/// Added to the scores of positions that must not be seen; half of the smallest value, so
/// that no sum overflows. Its exponential is 0 beside any score of the same row.
const HIDDEN: f32 = f32::MIN / 2.0;

/// `softmax(q k^T / sqrt(dim / heads)) v` for each head; all `[batch, t, dim]`.
pub(super) fn attend(inputs: [&Tensor; 3], heads: usize, causal: bool) -> Result<Tensor> {
    let (batch, length, dim) = inputs[0].dims3()?;
    let depth = dim / heads;
    let split = |x: &Tensor| {
        let split = x.reshape((batch, length, heads, depth))?.transpose(1, 2)?;
        split.reshape((batch * heads, length, depth))
    };
    let [query, key, value] = [split(inputs[0])?, split(inputs[1])?, split(inputs[2])?];
    let scores = query.matmul(&key.t()?)?.affine(1.0 / (depth as f64).sqrt(), 0.0)?;
    let scores = if causal { scores.broadcast_add(&causal_mask(&scores)?)? } else { scores };
    let mixed = softmax(&scores)?.matmul(&value)?;
    let mixed = mixed.reshape((batch, heads, length, depth))?.transpose(1, 2)?;
    mixed.reshape((batch, length, dim))
}

/// For scores `[.., t, t]`: [`HIDDEN`] right of the diagonal, 0 elsewhere, `[1, t, t]`.
fn causal_mask(scores: &Tensor) -> Result<Tensor> {
    let length = scores.dim(2)?;
    let hidden = |row: usize, column: usize| if column > row { HIDDEN } else { 0.0 };
    let cells = (0..length * length).map(|cell| hidden(cell / length, cell % length));
    Tensor::from_vec(cells.collect::<Vec<_>>(), (1, length, length), scores.device())
}
