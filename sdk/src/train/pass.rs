//! One thread's part of a private step: micro-batches through the model, per-example
//! norms, clip, exact sum.

use std::sync::Arc;

use adafed_privacy::{ClippedSum, Contribution, Lattice, NormBound, OuterShape, SumLayout};

use super::norms::{OuterNorm, SQUARES_ERROR, row_squares, squares};
use crate::Error;
use crate::data::Dataset;
use crate::nn::BoundModel;
use crate::nn::cpu::{Engine, GatheredRows, PartKind, Workspace};
use crate::profile;

/// What every micro-batch of a round needs, in the order of the engine's parts.
pub(super) struct Constants {
    pub(super) lattice: Lattice,
    /// The coordinates of a sum.
    pub(super) layout: Arc<SumLayout>,
    /// Mask over scale; none where all coordinates are active at scale 1.
    pub(super) gain: Option<Vec<f32>>,
    /// Centre; where there is one, every gradient is materialised.
    pub(super) centre: Option<Vec<f32>>,
    /// Parts that stay in factors, and their norms.
    outers: Vec<(Outer, OuterNorm)>,
    /// Bound on the relative error of an example's sum of squares.
    error: f64,
}

impl Constants {
    /// `each_len` coordinates come before the weights of `outers`.
    pub(super) fn new(
        each_len: usize,
        outers: Vec<Outer>,
        lattice: Lattice,
        gain: Option<Vec<f32>>,
        centre: Option<Vec<f32>>,
    ) -> Result<Self, Error> {
        let shapes = outers.iter().map(|outer| outer.shape).collect();
        let layout = SumLayout::new(lattice, each_len, shapes, gain.as_deref())?;
        let norm = |outer: Outer| {
            let OuterShape { rows, cols } = outer.shape;
            let gain = gain.as_deref().map(|gain| &gain[outer.start..][..outer.shape.len()]);
            (outer, OuterNorm::new(rows, cols, gain))
        };
        let outers: Vec<_> = outers.into_iter().map(norm).collect();
        let error = outers.iter().map(|(_, norm)| norm.error()).fold(SQUARES_ERROR, f64::max);
        Ok(Self { lattice, layout: Arc::new(layout), gain, centre, outers, error })
    }

    fn gain(&self, start: usize, len: usize) -> Option<&[f32]> {
        self.gain.as_deref().map(|gain| &gain[start..start + len])
    }
}

/// A part that stays in factors.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    node: usize,
    start: usize,
    shape: OuterShape,
    /// First position of the bias.
    bias: Option<usize>,
}

pub(super) fn outer_parts(engine: &Engine) -> Vec<Outer> {
    let parts = engine.parts.iter().filter_map(|part| match part.kind {
        PartKind::Outer { rows, cols, bias } => {
            let shape = OuterShape { rows, cols };
            Some(Outer { node: part.node, start: part.start, shape, bias })
        }
        _ => None,
    });
    parts.collect()
}

/// The table of an embedding, of which an example uses few rows.
#[derive(Clone, Copy)]
struct Table {
    node: usize,
    start: usize,
    len: usize,
    dim: usize,
}

fn tables(engine: &Engine) -> impl Iterator<Item = Table> {
    engine.parts.iter().filter_map(|part| match part.kind {
        PartKind::Rows { dim } => {
            Some(Table { node: part.node, start: part.start, len: part.len, dim })
        }
        _ => None,
    })
}

/// Buffers and sum of one thread, kept from step to step.
pub(super) struct Worker {
    pub(super) sum: ClippedSum,
    workspace: Workspace,
    targets: Vec<f32>,
    streams: Vec<u64>,
    dense: Vec<f32>,
    /// Squared norms of a micro-batch.
    squares: Vec<f64>,
    /// One an embedding.
    rows: Vec<GatheredRows>,
    scratch: Vec<f32>,
}

impl Worker {
    pub(super) fn new(engine: &Engine, workspace: Workspace, constants: &Constants) -> Self {
        Self {
            sum: ClippedSum::over(constants.layout.clone()),
            workspace,
            targets: Vec::new(),
            streams: Vec::new(),
            dense: vec![0.0; engine.dense_len],
            squares: Vec::new(),
            rows: tables(engine).map(|_| GatheredRows::default()).collect(),
            scratch: Vec::new(),
        }
    }
}

/// One step: the model at its parameters, and what is the same for the whole round.
pub(super) struct Pass<'a> {
    pub(super) engine: &'a Engine,
    pub(super) model: &'a BoundModel<'a>,
    pub(super) data: &'a dyn Dataset,
    pub(super) constants: &'a Constants,
    /// Public seed of dropout for this step.
    pub(super) dropout: u64,
}

impl Pass<'_> {
    /// Adds one micro-batch, the examples at `indices`, to the worker's sum.
    pub(super) fn add(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        self.read(worker, indices)?;
        let packed = self.model.packed();
        worker.workspace.forward(self.engine, packed, &worker.streams);
        worker.workspace.backward(self.engine, packed, &worker.streams, &worker.targets);
        profile::per_example(|| self.clip_and_add(worker, indices.len()));
        Ok(())
    }

    fn clip_and_add(&self, worker: &mut Worker, batch: usize) {
        self.factor_norms(worker, batch);
        for example in 0..batch {
            self.add_example(worker, example);
        }
    }

    fn read(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        let Worker { workspace, targets, streams, .. } = worker;
        streams.clear();
        streams.extend(indices.iter().map(|index| super::stream(self.dropout, *index)));
        self.model.model().read(self.data, indices, workspace, targets)
    }

    /// Squared norms of the parts that stay in factors, for the whole micro-batch.
    fn factor_norms(&self, worker: &mut Worker, batch: usize) {
        worker.squares.clear();
        worker.squares.resize(batch, 0.0);
        for (outer, norm) in &self.constants.outers {
            let (inputs, gradients) = worker.workspace.factors(self.engine, outer.node);
            norm.squares(gradients, inputs, &mut worker.scratch, &mut worker.squares);
            if let Some(bias) = outer.bias {
                let rows = outer.shape.rows;
                let gain = self.constants.gain(bias, rows);
                let each = worker.squares.iter_mut().zip(gradients.chunks_exact(rows));
                each.for_each(|(sum, gradient)| *sum += squares(gradient, gain));
            }
        }
    }

    /// Completes one example's norm, and adds its contribution.
    fn add_example(&self, worker: &mut Worker, example: usize) {
        let constants = self.constants;
        worker.workspace.dense(self.engine, example, &mut worker.dense);
        if let Some(centre) = &constants.centre {
            worker.dense.iter_mut().zip(centre).for_each(|(value, centre)| *value -= centre);
        }
        let gain = constants.gain(0, worker.dense.len());
        let mut sum = worker.squares[example] + squares(&worker.dense, gain);
        self.gather(worker, example);
        for (table, GatheredRows { rows, values, .. }) in tables(self.engine).zip(&worker.rows) {
            let gain = constants.gain(table.start, table.len);
            sum += row_squares(rows, values, table.dim, gain);
        }
        let factor = constants.lattice.factor(NormBound::of_squares(sum, constants.error));
        let Worker { sum, dense, rows, workspace, .. } = worker;
        let Some(mut contribution) = sum.contribution(factor) else { return };
        contribution.add_part(0, dense, gain);
        for (table, GatheredRows { rows, values, .. }) in tables(self.engine).zip(rows) {
            let gain = constants.gain(table.start, table.len);
            contribution.add_rows(table.start, table.dim, rows, values, gain);
        }
        self.add_outer(&mut contribution, workspace, example);
    }

    fn add_outer(&self, contribution: &mut Contribution<'_>, from: &Workspace, example: usize) {
        for (index, (outer, _)) in self.constants.outers.iter().enumerate() {
            let seen = from.seen(self.engine, outer.node, example);
            contribution.add_outer(index, seen.gradient, seen.input);
            if let Some(bias) = outer.bias {
                let gain = self.constants.gain(bias, outer.shape.rows);
                contribution.add_part(bias, seen.gradient, gain);
            }
        }
    }

    /// Finds the distinct rows of every embedding that one example uses.
    fn gather(&self, worker: &mut Worker, example: usize) {
        for (table, rows) in tables(self.engine).zip(&mut worker.rows) {
            let seen = worker.workspace.seen(self.engine, table.node, example);
            rows.gather(seen, table.len / table.dim, table.dim);
        }
    }
}
