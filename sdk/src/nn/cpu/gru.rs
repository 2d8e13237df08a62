//! Gated recurrent unit, from the input side of its gates on.

use super::op::{Backward, Forward, Op, Seen};
use super::recurrent::{Sizes, Weights};
use crate::kernels::{sigmoid, tanh, vectorised};

/// `[length, 3 hidden]` (`x W_ih^T + b_ih`, gates r, z, n) `-> [length, hidden]`; tensors w_hh
/// `[3 hidden, hidden]`, b_hh `[3 hidden]`. Starts from zeros.
///
/// `h' = (1 - z) n + z h` with `n = tanh(x_n + r u)`, where u is the hidden side of n. Keeps
/// gates and u of each step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gru {
    pub(crate) hidden: usize,
    pub(crate) length: usize,
}

impl Gru {
    fn sizes(&self) -> Sizes {
        Sizes { gates: 3, hidden: self.hidden, length: self.length }
    }

    /// One step of one example from state `before`.
    #[inline(always)]
    fn step(&self, sides: [&[f32]; 2], before: &[f32], slot: &mut [f32], output: &mut [f32]) {
        let [input, hidden_side] = sides;
        let (r_z, n_u) = slot.split_at_mut(2 * self.hidden);
        let (n, u) = n_u.split_at_mut(self.hidden);
        for ((gate, x), h) in r_z.iter_mut().zip(input).zip(hidden_side) {
            *gate = sigmoid(x + h);
        }
        u.copy_from_slice(&hidden_side[2 * self.hidden..]);
        let (r, z) = r_z.split_at(self.hidden);
        for (((n, x), r), u) in n.iter_mut().zip(&input[2 * self.hidden..]).zip(r).zip(u.iter()) {
            *n = tanh(x + r * u);
        }
        for (((h, z), n), before) in output.iter_mut().zip(z).zip(n.iter()).zip(before) {
            *h = (1.0 - z) * n + z * before;
        }
    }

    /// One step of one example back: `r, z, n, u` become the gradients of what went into r, z
    /// and n, and of u. `state` comes with the gradient of h' and leaves with the part of that
    /// of h that does not go through the gates.
    #[inline(always)]
    fn step_back(&self, slot: &mut [f32], before: &[f32], state: &mut [f32]) {
        let (r_z, n_u) = slot.split_at_mut(2 * self.hidden);
        let (r, z) = r_z.split_at_mut(self.hidden);
        let (n, u) = n_u.split_at_mut(self.hidden);
        for (((z, n), dh), before) in z.iter_mut().zip(n.iter_mut()).zip(state).zip(before) {
            let (kept, through) = (*z * *dh, (1.0 - *z) * *dh);
            (*z, *n) = (kept * (1.0 - *z) * (before - *n), through * (1.0 - *n * *n));
            *dh = kept;
        }
        for ((r, u), dn) in r.iter_mut().zip(u).zip(n.iter()) {
            (*r, *u) = (dn * *u * *r * (1.0 - *r), dn * *r);
        }
    }
}

impl Op for Gru {
    fn saved_len(&self) -> usize {
        self.sizes().saved_len()
    }

    fn scratch_len(&self, batch: usize) -> usize {
        3 * self.hidden * batch + self.hidden
    }

    fn pack(&self, tensors: &[&[f32]], _back: bool, packed: &mut Vec<f32>) {
        self.sizes().pack(tensors, packed);
    }

    fn forward(&self, at: Forward<'_>) {
        let (hidden, wide, slot) = (self.hidden, 3 * self.hidden, self.sizes().slot());
        let weights = Weights::of(self.sizes(), at.weights);
        let (zeros, scratch) = at.scratch.split_at_mut(hidden);
        let hidden_side = &mut scratch[..wide * at.batch];
        zeros.fill(0.0);
        for t in 0..self.length {
            weights.hidden_side(t, at.output, hidden_side);
            vectorised!(for (example, hidden_side) in hidden_side.chunks_exact(wide).enumerate() {
                let step = example * self.length + t;
                let (before, now) = at.output.split_at_mut(step * hidden);
                let before = if t == 0 { &*zeros } else { &before[before.len() - hidden..] };
                let input = &at.inputs[0][step * wide..][..wide];
                let slot = &mut at.saved[step * slot..][..slot];
                self.step([input, hidden_side], before, slot, &mut now[..hidden]);
            });
        }
    }

    fn backward(&self, at: Backward<'_>) {
        let (hidden, wide, slot) = (self.hidden, 3 * self.hidden, self.sizes().slot());
        let weights = Weights::of(self.sizes(), at.weights);
        let (zeros, scratch) = at.scratch.split_at_mut(hidden);
        let states = &mut scratch[..hidden * at.batch];
        zeros.fill(0.0);
        states.fill(0.0);
        for t in (0..self.length).rev() {
            vectorised!(for (example, state) in states.chunks_exact_mut(hidden).enumerate() {
                let step = example * self.length + t;
                for (state, gradient) in state.iter_mut().zip(&at.gradient[step * hidden..]) {
                    *state += gradient;
                }
                let (before, now) = at.output.split_at(step * hidden);
                let before = if t == 0 { &*zeros } else { &before[before.len() - hidden..] };
                let slot = &mut at.saved[step * slot..][..slot];
                self.step_back(slot, before, state);
                if let Some(result) = &mut at.input_gradients[0] {
                    result[step * wide..][..wide].copy_from_slice(&slot[..wide]);
                }
                // On the hidden side, the gradient of u stands in the place of n.
                slot.copy_within(wide.., 2 * hidden);
                slot[wide..].copy_from_slice(&now[..hidden]);
            });
            if t > 0 {
                weights.add_state_gradient(t, at.saved, states);
            }
        }
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        self.sizes().parameter_gradient(at.saved, result);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::cpu::checking::{Case, assert_values, wide};

    fn oracle(op: &Gru, input: &[f32], tensors: &[Vec<f32>]) -> Vec<f64> {
        let (size, input) = (op.hidden, wide(input));
        let (weight, bias) = (wide(&tensors[0]), wide(&tensors[1]));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut output = Vec::new();
        for example in input.chunks(3 * size * op.length) {
            let mut h = vec![0.0; size];
            for x in example.chunks(3 * size) {
                let side = |row: usize| -> f64 {
                    let product = (0..size).map(|col| weight[row * size + col] * h[col]);
                    product.sum::<f64>() + bias[row]
                };
                let unit = |unit: usize| {
                    let r = sigmoid(x[unit] + side(unit));
                    let z = sigmoid(x[size + unit] + side(size + unit));
                    let n = (x[2 * size + unit] + r * side(2 * size + unit)).tanh();
                    (1.0 - z) * n + z * h[unit]
                };
                h = (0..size).map(unit).collect();
                output.extend_from_slice(&h);
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn steps_and_their_gradients_are_the_naive_ones(hidden in 1_usize..7, length in 1_usize..5) {
            let op = Gru { hidden, length };
            let tensors = [3 * hidden * hidden, 3 * hidden];
            let case = Case::new(&op, &[3 * hidden * length], &tensors, hidden * length);
            let output = case.forward().output;
            assert_values(&output, &oracle(&op, &case.inputs[0], &case.tensors), 1e-5);
            case.check();
        }
    }
}
