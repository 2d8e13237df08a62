//! Recurrent layers, position after position. States are columns `[batch, hidden, 1]`.

use candle_core::{Result, Tensor};

use super::value::sigmoid;
use super::weight::Weight;

/// Gates i, f, g, o; `x` is `[batch, t, 4 hidden]`, the result `[batch, t, hidden]`.
/// `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`.
pub(super) fn lstm(x: &Tensor, hidden: usize, w_hh: &Weight, b_hh: &Weight) -> Result<Tensor> {
    let (mut state, inputs) = start(x, hidden)?;
    let (mut cell, mut states) = (state.clone(), Vec::new());
    for input in inputs {
        let gates = (hidden_part(&state, w_hh, b_hh)? + input)?;
        let gate = |index| gates.narrow(1, index * hidden, hidden);
        let kept = sigmoid(&gate(1)?)?.mul(&cell)?;
        cell = sigmoid(&gate(0)?)?.mul(&gate(2)?.tanh()?)?.add(&kept)?;
        state = sigmoid(&gate(3)?)?.mul(&cell.tanh()?)?;
        states.push(state.clone());
    }
    Tensor::cat(&states, 2)?.transpose(1, 2)
}

/// Gates r, z, n; `x` is `[batch, t, 3 hidden]`, the result `[batch, t, hidden]`.
/// `n = tanh(x_n + sigmoid(r) h_n)`, `h' = n + sigmoid(z) (h - n)`.
pub(super) fn gru(x: &Tensor, hidden: usize, w_hh: &Weight, b_hh: &Weight) -> Result<Tensor> {
    let (mut state, inputs) = start(x, hidden)?;
    let mut states = Vec::new();
    for input in inputs {
        let recurrent = hidden_part(&state, w_hh, b_hh)?;
        let gate = |part: &Tensor, index| part.narrow(1, index * hidden, hidden);
        let both = |index| sigmoid(&gate(&input, index)?.add(&gate(&recurrent, index)?)?);
        let reset = both(0)?.mul(&gate(&recurrent, 2)?)?;
        let new = gate(&input, 2)?.add(&reset)?.tanh()?;
        state = both(1)?.mul(&state.sub(&new)?)?.add(&new)?;
        states.push(state.clone());
    }
    Tensor::cat(&states, 2)?.transpose(1, 2)
}

/// A state of zeros and the inputs, one column a position.
fn start(x: &Tensor, hidden: usize) -> Result<(Tensor, Vec<Tensor>)> {
    let (batch, length, _gates) = x.dims3()?;
    let zeros = Tensor::zeros((batch, hidden, 1), x.dtype(), x.device())?;
    let columns = x.transpose(1, 2)?;
    let inputs = (0..length).map(|position| columns.narrow(2, position, 1));
    Ok((zeros, inputs.collect::<Result<_>>()?))
}

/// `W_hh h + b_hh`.
fn hidden_part(state: &Tensor, w_hh: &Weight, b_hh: &Weight) -> Result<Tensor> {
    w_hh.product(state, 1)?.broadcast_add(&b_hh.along_rows()?)
}
