//! Long short-term memory, from the input side of its gates on.

use super::op::{Backward, Forward, Op, Seen};
use super::recurrent::{Sizes, Weights};
use crate::kernels::{sigmoid, tanh, vectorised};

/// `[length, 4 hidden]` (`x W_ih^T + b_ih`, gates i, f, g, o) `-> [length, hidden]`; tensors
/// w_hh `[4 hidden, hidden]`, b_hh `[4 hidden]`. Starts from zeros.
///
/// `c' = f c + i g`, `h' = o tanh(c')`. Keeps gates and cell of each step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lstm {
    pub(crate) hidden: usize,
    pub(crate) length: usize,
}

impl Lstm {
    fn sizes(&self) -> Sizes {
        Sizes { gates: 4, hidden: self.hidden, length: self.length }
    }

    /// One step of one example; `slot` comes with the cell before it.
    #[inline(always)]
    fn step(&self, input: &[f32], hidden_side: &[f32], slot: &mut [f32], output: &mut [f32]) {
        let (gates, cell) = slot.split_at_mut(4 * self.hidden);
        for ((gate, x), h) in gates.iter_mut().zip(input).zip(hidden_side) {
            *gate = x + h;
        }
        let (i_f, g_o) = gates.split_at_mut(2 * self.hidden);
        let (g, o) = g_o.split_at_mut(self.hidden);
        squash(i_f);
        squash(o);
        for g in g.iter_mut() {
            *g = tanh(*g);
        }
        let (i, f) = i_f.split_at(self.hidden);
        for (((c, f), i), g) in cell.iter_mut().zip(f).zip(i).zip(g.iter()) {
            *c = f * *c + i * g;
        }
        for ((h, c), o) in output.iter_mut().zip(cell.iter()).zip(o.iter()) {
            *h = o * tanh(*c);
        }
    }

    /// One step of one example back: gates become the gradients of what went into them, and
    /// the cell its hyperbolic tangent. `state` comes with the gradient of h and leaves as it
    /// is; `carried` comes with that of c from later steps and leaves with what goes to the
    /// cell before, whose value is `before`. Loops are short so that the compiler can tell
    /// their slices apart.
    #[inline(always)]
    fn step_back(&self, slot: &mut [f32], before: &[f32], state: &[f32], carried: &mut [f32]) {
        let (gates, cell) = slot.split_at_mut(4 * self.hidden);
        let (i_f, g_o) = gates.split_at_mut(2 * self.hidden);
        let (i, f) = i_f.split_at_mut(self.hidden);
        let (g, o) = g_o.split_at_mut(self.hidden);
        for c in cell.iter_mut() {
            *c = tanh(*c);
        }
        for (((carried, dh), o), c) in carried.iter_mut().zip(state).zip(o.iter()).zip(cell.iter())
        {
            *carried += dh * o * (1.0 - c * c);
        }
        for ((o, dh), c) in o.iter_mut().zip(state).zip(cell.iter()) {
            *o = dh * c * *o * (1.0 - *o);
        }
        for ((i, g), dc) in i.iter_mut().zip(g).zip(carried.iter()) {
            (*i, *g) = (dc * *g * *i * (1.0 - *i), dc * *i * (1.0 - *g * *g));
        }
        for ((f, dc), before) in f.iter_mut().zip(carried).zip(before) {
            (*f, *dc) = (*dc * before * *f * (1.0 - *f), *dc * *f);
        }
    }
}

/// Sigmoid of every value.
#[inline(always)]
fn squash(values: &mut [f32]) {
    for value in values {
        *value = sigmoid(*value);
    }
}

impl Op for Lstm {
    fn saved_len(&self) -> usize {
        self.sizes().saved_len()
    }

    fn scratch_len(&self, batch: usize) -> usize {
        4 * self.hidden * batch + self.hidden
    }

    fn pack(&self, tensors: &[&[f32]], _back: bool, packed: &mut Vec<f32>) {
        self.sizes().pack(tensors, packed);
    }

    fn forward(&self, at: Forward<'_>) {
        let (hidden, wide, slot) = (self.hidden, 4 * self.hidden, self.sizes().slot());
        let weights = Weights::of(self.sizes(), at.weights);
        let hidden_side = &mut at.scratch[..wide * at.batch];
        for t in 0..self.length {
            weights.hidden_side(t, at.output, hidden_side);
            vectorised!(for (example, hidden_side) in hidden_side.chunks_exact(wide).enumerate() {
                let step = example * self.length + t;
                let (before, now) = at.saved.split_at_mut(step * slot);
                let cell = &mut now[wide..slot];
                match t {
                    0 => cell.fill(0.0),
                    _ => cell.copy_from_slice(&before[before.len() - hidden..]),
                }
                let input = &at.inputs[0][step * wide..][..wide];
                let output = &mut at.output[step * hidden..][..hidden];
                self.step(input, hidden_side, &mut now[..slot], output);
            });
        }
    }

    fn backward(&self, at: Backward<'_>) {
        let (hidden, wide, slot) = (self.hidden, 4 * self.hidden, self.sizes().slot());
        let weights = Weights::of(self.sizes(), at.weights);
        let (zeros, scratch) = at.scratch.split_at_mut(hidden);
        let (states, rest) = scratch.split_at_mut(hidden * at.batch);
        let carried = &mut rest[..hidden * at.batch];
        zeros.fill(0.0);
        states.fill(0.0);
        carried.fill(0.0);
        for t in (0..self.length).rev() {
            let examples = states.chunks_exact_mut(hidden).zip(carried.chunks_exact_mut(hidden));
            vectorised!(for (example, (state, carried)) in examples.enumerate() {
                let step = example * self.length + t;
                add(&at.gradient[step * hidden..][..hidden], state);
                let (before, now) = at.saved.split_at_mut(step * slot);
                let now = &mut now[..slot];
                let before = if t == 0 { &*zeros } else { &before[before.len() - hidden..] };
                self.step_back(now, before, state, carried);
                now[wide..].copy_from_slice(&at.output[step * hidden..][..hidden]);
                if let Some(result) = &mut at.input_gradients[0] {
                    result[step * wide..][..wide].copy_from_slice(&now[..wide]);
                }
            });
            if t > 0 {
                states.fill(0.0);
                weights.add_state_gradient(t, at.saved, states);
            }
        }
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        self.sizes().parameter_gradient(at.saved, result);
    }
}

/// `sums += values`.
#[inline(always)]
fn add(values: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    fn oracle(op: &Lstm, input: &[f32], tensors: &[Vec<f32>]) -> Vec<f64> {
        let (n, input) = (op.hidden, wide(input));
        let (weight, bias) = (wide(&tensors[0]), wide(&tensors[1]));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut output = Vec::new();
        for example in input.chunks(4 * n * op.length) {
            let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
            for x in example.chunks(4 * n) {
                let gate = |row: usize| -> f64 {
                    let product: f64 = (0..n).map(|col| weight[row * n + col] * h[col]).sum();
                    x[row] + product + bias[row]
                };
                let gates: Vec<f64> = (0..4 * n).map(gate).collect();
                for unit in 0..n {
                    let kept = sigmoid(gates[n + unit]) * c[unit];
                    c[unit] = kept + sigmoid(gates[unit]) * gates[2 * n + unit].tanh();
                    h[unit] = sigmoid(gates[3 * n + unit]) * c[unit].tanh();
                }
                output.extend_from_slice(&h);
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn steps_and_their_gradients_are_the_naive_ones(hidden in 1_usize..7, length in 1_usize..5) {
            let op = Lstm { hidden, length };
            let tensors = [4 * hidden * hidden, 4 * hidden];
            let case = Case::new(&op, &[4 * hidden * length], &tensors, hidden * length);
            let output = case.forward().output;
            assert_values(&output, &oracle(&op, &case.inputs[0], &case.tensors), 1e-5);
            case.check();
        }
    }
}
