//! A micro-batch through the graph, forwards and backwards.

use rayon::prelude::*;

use super::build::{Engine, Step};
use super::loss;
use super::op::{Backward, Forward, Seen};
use super::parts::{Part, PartKind};
use crate::nn::graph::ValueId;

/// Parameters laid out for the passes, one buffer a node.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    nodes: Vec<Vec<f32>>,
}

/// Buffers of one micro-batch, kept from one to the next.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// One a value, for a whole micro-batch.
    values: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    /// One a node.
    saved: Vec<Vec<f32>>,
    scratch: Vec<f32>,
    /// Input gradients that are added to what is there.
    added: [Vec<f32>; 3],
    /// A node's gradient whose pieces do not lie side by side.
    pieces: Vec<f32>,
    batch: usize,
}

impl Packed {
    /// Lays out parameters given as one slice a tensor of the graph, large ones in parallel.
    pub(crate) fn fill(&mut self, engine: &Engine, tensors: &[&[f32]]) {
        self.nodes.resize_with(engine.steps.len(), Vec::new);
        let pack = |(step, packed): (&Step, &mut Vec<f32>)| {
            let own: Vec<&[f32]> = step.tensors.iter().map(|tensor| tensors[*tensor]).collect();
            let back = step.inputs.iter().any(|input| engine.wanted[*input]);
            step.op.pack(&own, back, packed);
        };
        if tensors.iter().map(|tensor| tensor.len()).sum::<usize>() < LEAST_PARALLEL {
            engine.steps.iter().zip(&mut self.nodes).for_each(pack);
        } else {
            engine.steps.par_iter().zip(&mut self.nodes).for_each(pack);
        }
    }
}

/// Fewer parameters are laid out faster than another thread wakes up.
const LEAST_PARALLEL: usize = 1 << 16;

impl Workspace {
    /// Buffers for micro-batches of the engine's size.
    pub(crate) fn new(engine: &Engine) -> Self {
        let most = engine.micro_batch;
        let zeros = |len: usize| vec![0.0; len * most];
        let wanted = engine.lens.iter().zip(&engine.wanted);
        let scratch = engine.steps.iter().map(|step| step.op.scratch_len(most)).max();
        let mut added = [0; 3];
        for step in &engine.steps {
            for (slot, (input, fresh)) in step.inputs.iter().zip(&step.fresh).enumerate() {
                let len = if *fresh { 0 } else { engine.lens[*input] };
                added[slot] = added[slot].max(len);
            }
        }
        let piece = engine.parts.iter().filter(|part| !part.pieces.is_empty()).map(|part| {
            let tensors = engine.steps[part.node].tensors.iter();
            tensors.map(|tensor| engine.graph.tensors[*tensor].len()).sum()
        });
        Self {
            values: engine.lens.iter().map(|len| zeros(*len)).collect(),
            gradients: wanted.map(|(len, wanted)| zeros(len * usize::from(*wanted))).collect(),
            saved: engine.steps.iter().map(|step| zeros(step.op.saved_len())).collect(),
            scratch: vec![0.0; scratch.unwrap_or(0).max(engine.lens[0])],
            added: added.map(zeros),
            pieces: vec![0.0; piece.max().unwrap_or(0)],
            batch: 0,
        }
    }

    /// Where a micro-batch of `batch` inputs is written, row-major, before [`Workspace::forward`].
    pub(crate) fn inputs(&mut self, engine: &Engine, batch: usize) -> &mut [f32] {
        self.batch = batch;
        &mut self.values[0][..batch * engine.lens[0]]
    }

    /// Turns images, which are written channels first, to channels last.
    fn turn_inputs(&mut self, engine: &Engine) {
        let [channels, height, width] = engine.graph.input[..] else { return };
        let pixels = height * width;
        if channels == 1 || pixels == 1 {
            return;
        }
        let images = self.values[0].chunks_exact_mut(channels * pixels);
        let turned = &mut self.scratch[..channels * pixels];
        for image in images.take(self.batch) {
            turned.copy_from_slice(image);
            for (channel, plane) in turned.chunks_exact(pixels).enumerate() {
                let places = image[channel..].iter_mut().step_by(channels);
                places.zip(plane).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Runs all nodes. `streams`: what dropout is drawn from, empty outside of training.
    pub(crate) fn forward(&mut self, engine: &Engine, packed: &Packed, streams: &[u64]) {
        self.turn_inputs(engine);
        let batch = self.batch;
        for (index, (step, weights)) in engine.steps.iter().zip(&packed.nodes).enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let input = |id: ValueId| &before[id][..batch * engine.lens[id]];
            let inputs = padded(&step.inputs, |id| input(*id), &[]);
            step.op.forward(Forward {
                weights,
                inputs: &inputs[..step.inputs.len()],
                output: &mut after[0][..batch * engine.lens[index + 1]],
                saved: &mut self.saved[index][..batch * step.op.saved_len()],
                scratch: &mut self.scratch,
                batch,
                streams,
            });
        }
    }

    /// Outputs of the micro-batch, after [`Workspace::forward`].
    pub(crate) fn outputs(&self, engine: &Engine) -> &[f32] {
        let last = engine.steps.len();
        &self.values[last][..self.batch * engine.lens[last]]
    }

    /// The loss of each example, and its gradient back through all nodes. `targets`
    /// `[batch, target_len]`.
    pub(crate) fn backward(
        &mut self,
        engine: &Engine,
        packed: &Packed,
        streams: &[u64],
        targets: &[f32],
    ) {
        let (batch, last) = (self.batch, engine.steps.len());
        let len = engine.lens[last];
        let graph = &engine.graph;
        let outputs = self.values[last].chunks_exact(len);
        let targets = targets.chunks_exact(graph.target_len());
        let gradients = self.gradients[last].chunks_exact_mut(len);
        for ((output, target), gradient) in outputs.zip(targets).zip(gradients).take(batch) {
            loss::gradient(graph.loss, output, target, gradient);
        }
        for index in (0..last).rev().filter(|index| engine.wanted[index + 1]) {
            self.backward_one(engine, index, &packed.nodes[index], streams);
        }
    }

    fn backward_one(&mut self, engine: &Engine, index: usize, weights: &[f32], streams: &[u64]) {
        let (step, batch) = (&engine.steps[index], self.batch);
        let len = |id: ValueId| batch * engine.lens[id];
        let wanted = |slot: usize| step.inputs.get(slot).filter(|id| engine.wanted[**id]).copied();
        // Taken out and put back, so that each can be lent mutably beside the others.
        let mut taken: [Vec<f32>; 3] = std::array::from_fn(|slot| match wanted(slot) {
            Some(id) if step.fresh[slot] => std::mem::take(&mut self.gradients[id]),
            Some(_) => std::mem::take(&mut self.added[slot]),
            None => Vec::new(),
        });
        let mut slot = 0;
        let mut input_gradients = taken.each_mut().map(|buffer| {
            slot += 1;
            wanted(slot - 1).map(|id| &mut buffer[..len(id)])
        });
        let inputs = padded(&step.inputs, |id| &self.values[*id][..len(*id)], &[]);
        step.op.backward(Backward {
            weights,
            inputs: &inputs[..step.inputs.len()],
            output: &self.values[index + 1][..len(index + 1)],
            gradient: &self.gradients[index + 1][..len(index + 1)],
            saved: &mut self.saved[index][..batch * step.op.saved_len()],
            scratch: &mut self.scratch,
            batch,
            streams,
            input_gradients: &mut input_gradients[..step.inputs.len()],
        });
        self.put_back(step, wanted, len, taken);
    }

    fn put_back(
        &mut self,
        step: &Step,
        wanted: impl Fn(usize) -> Option<ValueId>,
        len: impl Fn(ValueId) -> usize,
        taken: [Vec<f32>; 3],
    ) {
        for (slot, buffer) in taken.into_iter().enumerate() {
            let Some(id) = wanted(slot) else { continue };
            if step.fresh[slot] {
                self.gradients[id] = buffer;
                continue;
            }
            let sums = self.gradients[id][..len(id)].iter_mut();
            sums.zip(&buffer).for_each(|(sum, value)| *sum += value);
            self.added[slot] = buffer;
        }
    }

    /// The materialised parts of one example's gradient, `[dense_len]`.
    pub(crate) fn dense(&mut self, engine: &Engine, example: usize, gradient: &mut [f32]) {
        for part in engine.parts.iter().filter(|part| part.kind == PartKind::Dense) {
            self.node_gradient(engine, part, example, gradient);
        }
    }

    fn node_gradient(&mut self, engine: &Engine, part: &Part, example: usize, into: &mut [f32]) {
        let step = &engine.steps[part.node];
        // Taken out, so that both can be lent beside what the passes left.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut whole = std::mem::take(&mut self.pieces);
        let seen = self.seen(engine, part.node, example);
        let own = &mut into[part.start..part.start + part.len];
        if part.pieces.is_empty() {
            step.op.parameter_gradient(seen, own, &mut scratch);
        } else {
            let tensors = step.tensors.iter().map(|tensor| engine.graph.tensors[*tensor].len());
            let len = tensors.sum();
            step.op.parameter_gradient(seen, &mut whole[..len], &mut scratch);
            own.fill(0.0);
            for piece in &part.pieces {
                let sums = into[piece.to..piece.to + piece.len].iter_mut();
                let values = &whole[piece.from..piece.from + piece.len];
                sums.zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        (self.scratch, self.pieces) = (scratch, whole);
    }

    /// What one example left at a node.
    pub(crate) fn seen(&self, engine: &Engine, node: usize, example: usize) -> Seen<'_> {
        let input = engine.steps[node].inputs[0];
        let saved = engine.steps[node].op.saved_len();
        Seen {
            input: row(&self.values[input], engine.lens[input], example),
            gradient: row(&self.gradients[node + 1], engine.lens[node + 1], example),
            saved: row(&self.saved[node], saved, example),
        }
    }

    /// Inputs and output gradients of a node for the whole micro-batch.
    pub(crate) fn factors(&self, engine: &Engine, node: usize) -> (&[f32], &[f32]) {
        let input = engine.steps[node].inputs[0];
        let values = &self.values[input][..self.batch * engine.lens[input]];
        (values, &self.gradients[node + 1][..self.batch * engine.lens[node + 1]])
    }
}

fn row(values: &[f32], len: usize, index: usize) -> &[f32] {
    &values[index * len..(index + 1) * len]
}

/// Up to three inputs without an allocation.
fn padded<'a, T>(ids: &[T], of: impl Fn(&T) -> &'a [f32], rest: &'a [f32]) -> [&'a [f32]; 3] {
    std::array::from_fn(|slot| ids.get(slot).map_or(rest, &of))
}
