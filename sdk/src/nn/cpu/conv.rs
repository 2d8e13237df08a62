//! Convolution on images that lie channels last, without im2col: the matrix kernel reads
//! the padded image in place.
//!
//! Forwards, a row of output pixels is the left operand's rows (a stride apart), and each
//! row of the kernel window is one contiguous segment of `width * channels` values.
//! Backwards, the input pixels that share a remainder by the stride (a phase) are a plain
//! convolution of the output gradient with the kernel entries of that phase, so the input
//! gradient needs no scatter. The parameter gradient sums over output pixels.

use super::op::{Backward, Forward, Op, Seen};
use crate::kernels::{Left, Output, Right, Start, column_sums, pack, packed_len, product};
use crate::nn::graph::Convolution;

/// One convolution for one input shape.
#[derive(Debug)]
pub(crate) struct Conv2d {
    shape: Convolution,
    bias: bool,
    /// Height and width of input, output, padded input and padded output gradient.
    input: [usize; 2],
    output: [usize; 2],
    padded: [usize; 2],
    framed: [usize; 2],
    /// Zeros above and left of the output gradient in its frame.
    frame: [usize; 2],
    /// Where the kernel's runs begin in the padded image, and their length.
    segments: Vec<usize>,
    run: usize,
    /// Where output rows begin in the padded image.
    rows: Vec<usize>,
    phases: Vec<Phase>,
}

/// Input pixels whose places leave the same remainder by the stride.
#[derive(Debug)]
struct Phase {
    /// First pixel, and number of pixels, down and right.
    first: [usize; 2],
    count: [usize; 2],
    /// Kernel entries that reach them, and where each reads in the framed gradient.
    taps: Vec<[usize; 2]>,
    segments: Vec<usize>,
    /// Where the packed weights of the phase begin, after those of the forward pass.
    weights: usize,
}

impl Conv2d {
    pub(crate) fn new(
        shape: Convolution,
        bias: bool,
        input: [usize; 2],
        output: [usize; 2],
    ) -> Self {
        let padded = pair(|i| input[i] + 2 * shape.padding[i]);
        let row = padded[1] * shape.inputs;
        let merged = shape.groups == 1 && shape.dilation[1] == 1;
        let taps = taps(shape.kernel);
        let starts = taps.filter(|[_, x]| !merged || *x == 0);
        let segments = starts
            .map(|[y, x]| y * shape.dilation[0] * row + x * shape.dilation[1] * shape.inputs)
            .collect();
        let run = shape.inputs / shape.groups * if merged { shape.kernel[1] } else { 1 };
        let rows = (0..output[0]).map(|y| y * shape.stride[0] * row).collect();
        // The first input pixels look this far before the output, the last ones beyond it.
        let reach = pair(|i| (shape.kernel[i] - 1) * shape.dilation[i]);
        let before = |i: usize| reach[i].saturating_sub(shape.padding[i]).div_ceil(shape.stride[i]);
        let last = |i: usize| (input[i] - 1 + shape.padding[i]) / shape.stride[i];
        let frame = pair(before);
        let framed = pair(|i| frame[i] + output[i].max(last(i) + 1));
        let mut conv = Self {
            shape,
            bias,
            input,
            output,
            padded,
            framed,
            frame,
            segments,
            run,
            rows,
            phases: Vec::new(),
        };
        conv.add_phases();
        conv
    }

    fn add_phases(&mut self) {
        let mut weights = 0;
        for [down, right] in taps(self.shape.stride) {
            let mut phase = self.phase([down, right]);
            phase.weights = weights;
            weights +=
                self.shape.groups * packed_len(self.phase_terms(&phase), self.group_inputs());
            self.phases.push(phase);
        }
    }

    /// The phase of the input pixels y with `(y + padding) % stride = remainder`: entry k
    /// of the kernel lies over y at output `(y + padding - k dilation) / stride`.
    fn phase(&self, remainder: [usize; 2]) -> Phase {
        let Convolution { kernel, stride, padding, dilation, outputs, .. } = self.shape;
        let first = pair(|i| (remainder[i] + stride[i] - padding[i] % stride[i]) % stride[i]);
        let count = pair(|i| self.input[i].saturating_sub(first[i]).div_ceil(stride[i]));
        let reaches =
            |tap: &[usize; 2]| (0..2).all(|i| (tap[i] * dilation[i]) % stride[i] == remainder[i]);
        let taps: Vec<[usize; 2]> = taps(kernel).filter(reaches).collect();
        let place = |tap: &[usize; 2], i: usize| {
            self.frame[i] + (first[i] + padding[i]) / stride[i] - tap[i] * dilation[i] / stride[i]
        };
        let segments =
            taps.iter().map(|tap| (place(tap, 0) * self.framed[1] + place(tap, 1)) * outputs);
        let segments = segments.collect();
        Phase { first, count, taps, segments, weights: 0 }
    }

    fn group_inputs(&self) -> usize {
        self.shape.inputs / self.shape.groups
    }

    fn group_outputs(&self) -> usize {
        self.shape.outputs / self.shape.groups
    }

    /// Inputs under one output value.
    fn terms(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1] * self.group_inputs()
    }

    fn phase_terms(&self, phase: &Phase) -> usize {
        phase.taps.len() * self.group_outputs()
    }

    fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.shape.inputs
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.shape.outputs
    }

    fn framed_len(&self) -> usize {
        self.framed[0] * self.framed[1] * self.shape.outputs
    }

    fn is_padded(&self) -> bool {
        self.padded != self.input
    }

    /// Index in the flat weight `[out, in / groups, kernel...]`.
    fn flat(&self, output: usize, input: usize, tap: [usize; 2]) -> usize {
        let [height, width] = self.shape.kernel;
        ((output * self.group_inputs() + input) * height + tap[0]) * width + tap[1]
    }

    /// Kernel entry and channel of a term of a group, as the padded image is read.
    fn term(&self, term: usize) -> ([usize; 2], usize) {
        let (tap, channel) = (term / self.group_inputs(), term % self.group_inputs());
        ([tap / self.shape.kernel[1], tap % self.shape.kernel[1]], channel)
    }

    /// The image that the kernel reads: `input`, or the padded copy of it.
    fn image<'a>(&self, input: &'a [f32], saved: &'a [f32]) -> &'a [f32] {
        if self.is_padded() { saved } else { input }
    }

    /// Where the packed weights of the backward pass begin, and where the bias does.
    fn places(&self) -> (usize, usize) {
        let backward = self.shape.groups * packed_len(self.terms(), self.group_outputs());
        let of = |phase: &Phase| packed_len(self.phase_terms(phase), self.group_inputs());
        (backward, backward + self.shape.groups * self.phases.iter().map(of).sum::<usize>())
    }

    fn forward_one(&self, weights: &[f32], image: &[f32], output: &mut [f32]) {
        let (channels, outputs) = (self.shape.inputs, self.group_outputs());
        let (_, bias) = self.places();
        let len = packed_len(self.terms(), outputs);
        for group in 0..self.shape.groups {
            let left = Left {
                values: &image[group * self.group_inputs()..],
                blocks: self.output[0],
                block_step: self.shape.stride[0] * self.padded[1] * channels,
                rows: self.output[1],
                row_step: self.shape.stride[1] * channels,
                segments: &self.segments,
                inner: self.run,
                step: 1,
            };
            let first = group * outputs;
            let right = Right::packed(&weights[group * len..][..len], self.terms(), outputs);
            let start = match self.bias {
                true => Start::Bias(&weights[bias + first..]),
                false => Start::Zero,
            };
            let output = Output {
                values: &mut output[first..],
                block_step: self.output[1] * self.shape.outputs,
                row_step: self.shape.outputs,
            };
            product(output, left, right, start);
        }
    }

    fn backward_one(&self, weights: &[f32], framed: &[f32], result: &mut [f32]) {
        let (channels, inputs) = (self.shape.inputs, self.group_inputs());
        let pixels = self
            .phases
            .iter()
            .flat_map(|phase| (0..self.shape.groups).map(move |group| (phase, group)));
        for (phase, group) in pixels.filter(|(phase, _)| phase.count.iter().all(|n| *n > 0)) {
            let left = Left {
                values: &framed[group * self.group_outputs()..],
                blocks: phase.count[0],
                block_step: self.framed[1] * self.shape.outputs,
                rows: phase.count[1],
                row_step: self.shape.outputs,
                segments: &phase.segments,
                inner: self.group_outputs(),
                step: 1,
            };
            let terms = self.phase_terms(phase);
            let len = packed_len(terms, inputs);
            let packed = &weights[phase.weights + group * len..][..len];
            let first = (phase.first[0] * self.input[1] + phase.first[1]) * channels;
            let output = Output {
                values: &mut result[first + group * inputs..],
                block_step: self.shape.stride[0] * self.input[1] * channels,
                row_step: self.shape.stride[1] * channels,
            };
            product(output, left, Right::packed(packed, terms, inputs), Start::Zero);
        }
    }
}

impl Op for Conv2d {
    fn saved_len(&self) -> usize {
        let padded = self.padded[0] * self.padded[1] * self.shape.inputs;
        if self.is_padded() { padded } else { 0 }
    }

    fn scratch_len(&self, _batch: usize) -> usize {
        self.framed_len()
    }

    fn pack(&self, tensors: &[&[f32]], back: bool, packed: &mut Vec<f32>) {
        let (backward, bias) = self.places();
        let weight = tensors[0];
        let (inputs, outputs) = (self.group_inputs(), self.group_outputs());
        packed.resize(bias, 0.0);
        for group in 0..self.shape.groups {
            let first = group * outputs;
            let len = packed_len(self.terms(), outputs);
            pack(&mut packed[group * len..], self.terms(), outputs, |term, output| {
                let (tap, channel) = self.term(term);
                weight[self.flat(first + output, channel, tap)]
            });
            for phase in self.phases.iter().filter(|_| back) {
                let terms = self.phase_terms(phase);
                let place = backward + phase.weights + group * packed_len(terms, inputs);
                pack(&mut packed[place..], terms, inputs, |term, input| {
                    let (tap, output) = (phase.taps[term / outputs], first + term % outputs);
                    weight[self.flat(output, input, tap)]
                });
            }
        }
        packed.extend_from_slice(if self.bias { tensors[1] } else { &[] });
    }

    fn forward(&self, at: Forward<'_>) {
        let inputs = at.inputs[0].chunks_exact(self.input_len());
        let outputs = at.output.chunks_exact_mut(self.output_len());
        let padded = self.saved_len();
        for (example, (input, output)) in inputs.zip(outputs).enumerate() {
            let saved = &mut at.saved[example * padded..][..padded];
            if self.is_padded() {
                let row = self.input[1] * self.shape.inputs;
                frame(input, row, self.shape.padding, self.padded, self.shape.inputs, saved);
            }
            self.forward_one(at.weights, self.image(input, saved), output);
        }
    }

    fn backward(&self, at: Backward<'_>) {
        let Some(result) = &mut at.input_gradients[0] else { return };
        let (backward, bias) = self.places();
        let weights = &at.weights[backward..bias];
        let gradients = at.gradient.chunks_exact(self.output_len());
        let framed = &mut at.scratch[..self.framed_len()];
        let row = self.output[1] * self.shape.outputs;
        for (gradient, result) in gradients.zip(result.chunks_exact_mut(self.input_len())) {
            frame(gradient, row, self.frame, self.framed, self.shape.outputs, framed);
            self.backward_one(weights, framed, result);
        }
    }

    fn parameter_gradient(&self, at: Seen<'_>, result: &mut [f32], _scratch: &mut [f32]) {
        let (channels, outputs) = (self.shape.inputs, self.group_outputs());
        let image = self.image(at.input, at.saved);
        let (weight, bias) = result.split_at_mut(self.shape.outputs * self.terms());
        for (group, weight) in weight.chunks_exact_mut(outputs * self.terms()).enumerate() {
            let positions = self.output[0] * self.output[1];
            let gradient = &at.gradient[group * outputs..];
            let right = Right::rows(gradient, positions, outputs, self.shape.outputs);
            let runs = weight.chunks_exact_mut(self.run * outputs);
            for (weight, segment) in runs.zip(&self.segments) {
                let left = Left {
                    values: &image[segment + group * self.group_inputs()..],
                    rows: self.run,
                    row_step: 1,
                    segments: &self.rows,
                    inner: self.output[1],
                    step: self.shape.stride[1] * channels,
                    ..Left::ONE_BLOCK
                };
                product(Output::rows(weight, outputs), left, right, Start::Zero);
            }
        }
        if self.bias {
            column_sums(at.gradient, bias);
        }
    }

    // [group][kernel entry][channel][output], as the gradient is summed.
    fn order(&self) -> Option<Vec<u32>> {
        let outputs = self.group_outputs();
        let mut order = Vec::with_capacity(self.shape.outputs * (self.terms() + 1));
        for (group, term) in taps([self.shape.groups, self.terms()]).map(|[g, t]| (g, t)) {
            let (tap, channel) = self.term(term);
            let flat = |output| self.flat(group * outputs + output, channel, tap) as u32;
            order.extend((0..outputs).map(flat));
        }
        let bias = if self.bias { self.shape.outputs } else { 0 };
        order.extend((order.len() as u32..).take(bias));
        Some(order)
    }
}

fn pair(of: impl Fn(usize) -> usize) -> [usize; 2] {
    [of(0), of(1)]
}

/// All places of a grid, row by row.
fn taps([height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]))
}

/// Copies an image, whose rows have `row` values, into a larger one of zeros.
fn frame(
    image: &[f32],
    row: usize,
    margin: [usize; 2],
    [height, width]: [usize; 2],
    channels: usize,
    framed: &mut [f32],
) {
    let len = width * channels;
    let (first, left) = (margin[0], margin[1] * channels);
    let rows = image.len() / row;
    framed[..first * len].fill(0.0);
    for (to, from) in framed[first * len..].chunks_exact_mut(len).zip(image.chunks_exact(row)) {
        to[..left].fill(0.0);
        to[left..left + row].copy_from_slice(from);
        to[left + row..].fill(0.0);
    }
    framed[(first + rows) * len..height * len].fill(0.0);
}
