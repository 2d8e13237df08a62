//! The plain gradient of a batch: NOT private. What the private step is compared with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::data::Dataset;
use crate::kernels::{Left, Output, Right, Start, column_sums, product};
use crate::nn::cpu::{Part, PartKind, Workspace};
use crate::nn::{BoundModel, Model};

/// Sums that micro-batches are added to in turn, each in a fixed order; as many threads help.
const LANES: usize = 16;

/// Sums of gradients without clipping or noise, with buffers that are kept. For
/// comparisons and for data that needs no protection; what it computes is not private.
pub struct PlainGradient<'a> {
    model: &'a Model,
    data: &'a dyn Dataset,
    workers: Mutex<Vec<Worker>>,
}

struct Worker {
    workspace: Workspace,
    targets: Vec<f32>,
    dense: Vec<f32>,
    bias: Vec<f32>,
    /// In the engine's order.
    sum: Vec<f32>,
}

impl<'a> PlainGradient<'a> {
    /// For one model and data set.
    #[must_use]
    pub fn new(model: &'a Model, data: &'a dyn Dataset) -> Self {
        Self { model, data, workers: Mutex::default() }
    }

    /// The sum of the gradients of the examples at `indices`, `[d]` in flat order. Its bits do
    /// not depend on the number of threads.
    ///
    /// # Errors
    /// Those of reading examples and of the model.
    pub fn sum(&self, parameters: &[f32], indices: &[usize]) -> Result<Vec<f32>, Error> {
        // Before every thread makes them for itself.
        self.model.features()?;
        let bound = self.model.bind(parameters)?;
        let next = AtomicUsize::new(0);
        let lanes = rayon::broadcast(|_| self.work(&bound, indices, &next));
        let lanes = lanes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut lanes: Vec<_> = lanes.into_iter().flatten().collect();
        lanes.sort_unstable_by_key(|(lane, _)| *lane);
        let order = &self.model.engine().order;
        let mut total = vec![0.0; order.len()];
        for (_, worker) in lanes {
            total.iter_mut().zip(&worker.sum).for_each(|(total, value)| *total += value);
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        let mut sum = vec![0.0; order.len()];
        order.iter().zip(total).for_each(|(flat, value)| sum[*flat as usize] = value);
        Ok(sum)
    }

    /// One thread's share: lanes until there are no more.
    fn work(
        &self,
        bound: &BoundModel<'_>,
        indices: &[usize],
        next: &AtomicUsize,
    ) -> Result<Vec<(usize, Worker)>, Error> {
        let size = self.model.engine().micro_batch;
        let mut lanes = Vec::new();
        loop {
            let lane = next.fetch_add(1, Ordering::Relaxed);
            if lane >= LANES.min(indices.len().div_ceil(size)) {
                return Ok(lanes);
            }
            let mut worker = self.worker();
            for micro_batch in indices.chunks(size).skip(lane).step_by(LANES) {
                self.add(bound, &mut worker, micro_batch)?;
            }
            lanes.push((lane, worker));
        }
    }

    fn worker(&self) -> Worker {
        let engine = self.model.engine();
        let kept = self.workers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker = kept.unwrap_or_else(|| Worker {
            workspace: self.model.workspace(),
            targets: Vec::new(),
            dense: vec![0.0; engine.dense_len],
            bias: Vec::new(),
            sum: vec![0.0; engine.order.len()],
        });
        worker.sum.fill(0.0);
        worker
    }

    fn add(
        &self,
        bound: &BoundModel<'_>,
        worker: &mut Worker,
        indices: &[usize],
    ) -> Result<(), Error> {
        let engine = self.model.engine();
        let Worker { workspace, targets, dense, sum, .. } = worker;
        let data = self.data;
        self.model.read(indices.len(), workspace, targets, |slot, input, target| {
            data.read(indices[slot], input, target)
        })?;
        workspace.forward(engine, bound.packed(), &[]);
        workspace.backward(engine, bound.packed(), &[], targets);
        for example in 0..if dense.is_empty() { 0 } else { indices.len() } {
            workspace.dense(engine, example, dense);
            sum.iter_mut().zip(&*dense).for_each(|(sum, value)| *sum += value);
        }
        engine.parts.iter().for_each(|part| self.add_part(worker, part, indices.len()));
        Ok(())
    }

    fn add_part(&self, worker: &mut Worker, part: &Part, batch: usize) {
        let engine = self.model.engine();
        let (inputs, gradients) = worker.workspace.factors(engine, part.node);
        let sum = &mut worker.sum[part.start..part.start + part.len];
        match part.kind {
            PartKind::Dense => {}
            PartKind::Outer { rows, cols, bias } => {
                let left = Left::columns(gradients, batch, rows);
                let right = Right::rows(inputs, batch, cols, cols);
                product(Output::rows(sum, cols), left, right, Start::Output);
                if let Some(bias) = bias {
                    worker.bias.resize(rows, 0.0);
                    column_sums(gradients, &mut worker.bias);
                    let sums = worker.sum[bias..].iter_mut();
                    sums.zip(&worker.bias).for_each(|(sum, value)| *sum += value);
                }
            }
            PartKind::Rows { dim } => {
                for (row, gradient) in inputs.iter().zip(gradients.chunks_exact(dim)) {
                    let sums = sum[*row as usize * dim..][..dim].iter_mut();
                    sums.zip(gradient).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }
}
