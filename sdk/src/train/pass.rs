//! One thread's part of a private step: micro-batches through the model, per-example
//! norms, clip, exact sum.

use adafed_privacy::{ClipFactor, ClippedSum, Lattice, NormBound, OuterPart};

use super::norms::{OuterNorm, SQUARES_ERROR, squares};
use crate::Error;
use crate::data::Dataset;
use crate::nn::BoundModel;
use crate::nn::cpu::{Engine, Part, PartKind, Workspace, gather_rows};
use crate::profile;

/// What every micro-batch of a round needs, in the order of the engine's parts.
pub(super) struct Constants {
    pub(super) lattice: Lattice,
    /// Mask over scale; none where all coordinates are active at scale 1.
    pub(super) gain: Option<Vec<f32>>,
    /// Centre; where there is one, every gradient is materialised.
    pub(super) centre: Option<Vec<f32>>,
    /// One a part of the engine; none for parts of other kinds.
    outer: Vec<Option<OuterNorm>>,
    /// Bound on the relative error of an example's sum of squares.
    error: f64,
}

impl Constants {
    pub(super) fn new(
        engine: &Engine,
        lattice: Lattice,
        gain: Option<Vec<f32>>,
        centre: Option<Vec<f32>>,
    ) -> Self {
        let outer = |part: &Part| match part.kind {
            PartKind::Outer { rows, cols, .. } => {
                let range = part.start..part.start + rows * cols;
                let gain = gain.as_deref().map(|gain| &gain[range]);
                Some(OuterNorm::new(rows, cols, gain, lattice.grid()))
            }
            _ => None,
        };
        let outer: Vec<Option<OuterNorm>> = engine.parts.iter().map(outer).collect();
        let errors = outer.iter().flatten().map(OuterNorm::error);
        let error = errors.fold(SQUARES_ERROR, f64::max);
        Self { lattice, gain, centre, outer, error }
    }

    fn gain(&self, start: usize, len: usize) -> Option<&[f32]> {
        self.gain.as_deref().map(|gain| &gain[start..start + len])
    }
}

/// Buffers and sum of one thread, kept from step to step.
pub(super) struct Worker {
    pub(super) sum: ClippedSum,
    workspace: Workspace,
    targets: Vec<f32>,
    streams: Vec<u64>,
    dense: Vec<f32>,
    /// Squared norms and factors of a micro-batch.
    squares: Vec<f64>,
    factors: Vec<ClipFactor>,
    /// One an embedding.
    rows: Vec<Rows>,
    scratch: Vec<f32>,
}

/// Distinct rows of one embedding that one example uses, with their gradients.
#[derive(Default)]
struct Rows {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Worker {
    pub(super) fn new(engine: &Engine, workspace: Workspace, lattice: Lattice) -> Self {
        Self {
            sum: ClippedSum::new(lattice, engine.order.len()),
            workspace,
            targets: Vec::new(),
            streams: Vec::new(),
            dense: vec![0.0; engine.dense_len],
            squares: Vec::new(),
            factors: Vec::new(),
            rows: Vec::new(),
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
        worker.sum.reserve(batch as u32);
        self.factor_norms(worker, batch);
        worker.factors.clear();
        for example in 0..batch {
            self.add_example(worker, example);
        }
        self.add_outer(worker);
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
        for (part, outer) in self.engine.parts.iter().zip(&self.constants.outer) {
            let (PartKind::Outer { rows, cols, bias }, Some(outer)) = (part.kind, outer) else {
                continue;
            };
            let (inputs, gradients) = worker.workspace.factors(self.engine, part.node);
            outer.squares(gradients, inputs, &mut worker.scratch, &mut worker.squares);
            if bias {
                let gain = self.constants.gain(part.start + rows * cols, rows);
                let each = worker.squares.iter_mut().zip(gradients.chunks_exact(rows));
                each.for_each(|(sum, gradient)| *sum += squares(gradient, gain));
            }
        }
    }

    /// Completes one example's norm, and adds its parts that are not outer products.
    fn add_example(&self, worker: &mut Worker, example: usize) {
        let constants = self.constants;
        worker.workspace.dense(self.engine, example, &mut worker.dense);
        if let Some(centre) = &constants.centre {
            worker.dense.iter_mut().zip(centre).for_each(|(value, centre)| *value -= centre);
        }
        let gain = constants.gain(0, worker.dense.len());
        let mut sum = worker.squares[example] + squares(&worker.dense, gain);
        self.gather(worker, example);
        self.for_each_row(&worker.rows, |start, values| {
            sum += squares(values, constants.gain(start, values.len()));
        });
        let factor = constants.lattice.factor(NormBound::of_squares(sum, constants.error));
        worker.factors.push(factor);
        worker.sum.add_part(0, &worker.dense, gain, factor);
        let sum = &mut worker.sum;
        self.for_each_row(&worker.rows, |start, values| {
            sum.add_part(start, values, constants.gain(start, values.len()), factor);
        });
        self.add_biases(worker, example, factor);
    }

    fn row_parts(&self) -> impl Iterator<Item = (&Part, usize)> {
        self.engine.parts.iter().filter_map(|part| match part.kind {
            PartKind::Rows { dim } => Some((part, dim)),
            _ => None,
        })
    }

    /// Finds the distinct rows of every embedding that one example uses.
    fn gather(&self, worker: &mut Worker, example: usize) {
        worker.rows.resize_with(self.row_parts().count(), Rows::default);
        for ((part, dim), rows) in self.row_parts().zip(&mut worker.rows) {
            let seen = worker.workspace.seen(self.engine, part.node, example);
            gather_rows(seen.input, seen.gradient, dim, &mut rows.indices, &mut rows.values);
        }
    }

    /// Calls `visit` with the first position of each gathered row and its gradient.
    fn for_each_row(&self, gathered: &[Rows], mut visit: impl FnMut(usize, &[f32])) {
        for ((part, dim), rows) in self.row_parts().zip(gathered) {
            for (row, values) in rows.indices.iter().zip(rows.values.chunks_exact(dim)) {
                visit(part.start + *row as usize * dim, values);
            }
        }
    }

    fn add_biases(&self, worker: &mut Worker, example: usize, factor: ClipFactor) {
        for part in &self.engine.parts {
            let PartKind::Outer { rows, cols, bias: true } = part.kind else { continue };
            let start = part.start + rows * cols;
            let gradient = worker.workspace.seen(self.engine, part.node, example).gradient;
            worker.sum.add_part(start, gradient, self.constants.gain(start, rows), factor);
        }
    }

    fn add_outer(&self, worker: &mut Worker) {
        for part in &self.engine.parts {
            let PartKind::Outer { rows, cols, .. } = part.kind else { continue };
            let (right, left) = worker.workspace.factors(self.engine, part.node);
            let gain = self.constants.gain(part.start, rows * cols);
            let factors = &worker.factors;
            let outer = OuterPart { left, right, rows, cols, gain, factors };
            worker.sum.add_outer(part.start, &outer, &mut worker.scratch);
        }
    }
}
