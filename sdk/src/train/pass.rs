//! One thread's part of a private step: micro-batches through the model, per-example
//! norms, clip, exact sum.

use std::ops::Range;
use std::sync::Arc;

use adafed_privacy::{ClippedSum, Lattice, NormBound, OuterShape, SumLayout};

use super::Views;
use super::norms::{OuterNorm, SQUARES_ERROR, centred_squares, row_products, row_squares, squares};
use crate::Error;
use crate::nn::BoundModel;
use crate::nn::cpu::{Engine, GatheredRows, PartKind, Workspace};
use crate::profile;

/// What every micro-batch of a round needs, in the order of the engine's parts.
pub(super) struct Constants {
    /// The coordinates of a sum.
    pub(super) layout: Arc<SumLayout>,
    /// Mask over scale; none where all coordinates are active at scale 1.
    pub(super) gain: Option<Vec<f32>>,
    centre: Option<Centre>,
    /// Parts that stay in factors, and their norms.
    outers: Vec<(Outer, OuterNorm)>,
    /// Where the materialised parts end, and where the biases of outer products begin; what
    /// lies between are tables, of which an example uses few rows.
    tables: Range<usize>,
    /// Where the weights of outer products begin.
    weights: usize,
    /// Bound on the relative error of an example's sum of squares.
    error: f64,
}

/// The centre a. Materialised gradients and biases are centred one by one; from tables and
/// outer products, which are never formed, it is taken off in the sum.
struct Centre {
    values: Vec<f32>,
    /// `gain^2 a` of the tables.
    tables: Vec<f64>,
    /// `sum gain^2 a^2` over tables and outer products.
    constant: f64,
}

impl Centre {
    fn new(values: Vec<f32>, gain: Option<&[f32]>, tables: Range<usize>, weights: usize) -> Self {
        let gain = |j: usize| gain.map_or(1.0, |gain| f64::from(gain[j]));
        let term = |j: usize| (gain(j) * f64::from(values[j])).powi(2);
        let constant = tables.clone().chain(weights..values.len()).map(term).sum();
        let tables = tables.map(|j| gain(j) * gain(j) * f64::from(values[j])).collect();
        Self { values, tables, constant }
    }
}

impl Constants {
    /// The parts of `engine`'s gradients, or a single one of `d` coordinates.
    pub(super) fn new(
        engine: Option<&Engine>,
        d: usize,
        lattice: Lattice,
        gain: Option<Vec<f32>>,
        centre: Option<Vec<f32>>,
    ) -> Result<Self, Error> {
        let (outers, weights) = engine.map_or((Vec::new(), d), |e| (outer_parts(e), e.each_len));
        let tables = engine.map_or(d..d, |engine| engine.dense_len..engine.bias_start);
        let shapes = outers.iter().map(|outer| outer.shape).collect();
        let mut layout = SumLayout::new(lattice, weights, shapes, gain.as_deref())?;
        // Whole gradients are centred one by one.
        if let (Some(centre), Some(_)) = (&centre, engine) {
            layout = layout.centred(gain.as_deref(), centre, tables.clone())?;
        }
        let norm = |outer: Outer| {
            let (start, len) = (outer.start, outer.shape.len());
            let (gain, centre) = (part(&gain, start, len), part(&centre, start, len));
            (outer, OuterNorm::new(outer.shape, gain, centre))
        };
        let outers: Vec<_> = outers.into_iter().map(norm).collect();
        let error = outers.iter().map(|(_, norm)| norm.error()).fold(SQUARES_ERROR, f64::max);
        let of = |values| Centre::new(values, gain.as_deref(), tables.clone(), weights);
        let centre = centre.map(of);
        Ok(Self { layout: Arc::new(layout), gain, centre, outers, tables, weights, error })
    }

    fn gain(&self, start: usize, len: usize) -> Option<&[f32]> {
        part(&self.gain, start, len)
    }

    /// Takes the centre off `values`, which begin at coordinate `start`.
    pub(super) fn centre_part(&self, start: usize, values: &mut [f32]) {
        if let Some(centre) = &self.centre {
            let centre = &centre.values[start..];
            values.iter_mut().zip(centre).for_each(|(value, centre)| *value -= centre);
        }
    }

    /// Bound on the squared norm of late coordinates, from what is known of their gradient.
    fn late_squares(&self, known: Late) -> f64 {
        self.centre.as_ref().map_or(known.squares, |centre| {
            centred_squares(known.squares, known.products, centre.constant, self.error)
        })
    }
}

fn part(values: &Option<Vec<f32>>, start: usize, len: usize) -> Option<&[f32]> {
    values.as_deref().map(|values| &values[start..start + len])
}

/// Sums over the coordinates whose gradient is never formed, or only in a few rows.
#[derive(Clone, Copy, Debug, Default)]
struct Late {
    /// `sum gain^2 g^2`.
    squares: f64,
    /// `sum gain^2 a g`; 0 without a centre.
    products: f64,
}

/// A part that stays in factors.
#[derive(Clone, Copy)]
struct Outer {
    node: usize,
    start: usize,
    shape: OuterShape,
    /// First position of the bias.
    bias: Option<usize>,
}

fn outer_parts(engine: &Engine) -> Vec<Outer> {
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
    /// Sum over an example's views, where it has several.
    views: Vec<f32>,
    /// Gradients of the biases of outer products of one example.
    biases: Vec<f32>,
    /// Of the outer products of a micro-batch, one an example.
    squares: Vec<f64>,
    products: Vec<f64>,
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
            views: Vec::new(),
            biases: vec![0.0; engine.each_len - engine.bias_start],
            squares: Vec::new(),
            products: Vec::new(),
            rows: tables(engine).map(|_| GatheredRows::default()).collect(),
            scratch: Vec::new(),
        }
    }
}

/// One step: the model at its parameters, and what is the same for the whole round.
pub(super) struct Pass<'a> {
    pub(super) engine: &'a Engine,
    pub(super) model: &'a BoundModel<'a>,
    pub(super) views: Views<'a>,
    pub(super) constants: &'a Constants,
}

impl Pass<'_> {
    /// Adds the examples at `indices` to the worker's sum, each with the mean of its views'
    /// gradients.
    pub(super) fn add(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        let (count, most) = (indices.len() * self.views.each, self.engine.micro_batch);
        for start in (0..count).step_by(most) {
            let places = start..count.min(start + most);
            self.run(worker, indices, places.clone())?;
            profile::per_example(|| {
                self.factor_norms(worker, places.len());
                places.for_each(|place| self.add_view(worker, place - start, place));
            });
        }
        Ok(())
    }

    /// Adds the view of a slot of the micro-batch to its example; a whole one to the sum.
    fn add_view(&self, worker: &mut Worker, slot: usize, place: usize) {
        let Worker { workspace, dense, views, .. } = &mut *worker;
        workspace.dense(self.engine, slot, dense);
        if self.views.completes(place, dense, views) {
            self.add_example(worker, slot);
        }
    }

    /// Both passes of the views in `places`.
    fn run(
        &self,
        worker: &mut Worker,
        indices: &[usize],
        places: Range<usize>,
    ) -> Result<(), Error> {
        let Worker { workspace, targets, streams, .. } = worker;
        let (count, start) = (places.len(), places.start);
        streams.clear();
        streams.extend(places.map(|place| self.views.stream(indices, place)));
        self.model.model().read(count, workspace, targets, |slot, input, target| {
            self.views.read(indices, start + slot, input, target)
        })?;
        let packed = self.model.packed();
        workspace.forward(self.engine, packed, streams);
        workspace.backward(self.engine, packed, streams, targets);
        Ok(())
    }

    /// Squares and products of the parts that stay in factors, for the whole micro-batch.
    fn factor_norms(&self, worker: &mut Worker, batch: usize) {
        let Worker { squares, products, scratch, workspace, .. } = worker;
        for sums in [&mut *squares, &mut *products] {
            sums.clear();
            sums.resize(batch, 0.0);
        }
        for (outer, norm) in &self.constants.outers {
            let (inputs, gradients) = workspace.factors(self.engine, outer.node);
            norm.squares(gradients, inputs, scratch, squares);
            norm.products(gradients, inputs, scratch, products);
        }
    }

    /// Completes one example's norm, and adds its contribution.
    fn add_example(&self, worker: &mut Worker, example: usize) {
        let Constants { layout, outers, tables: late, weights, error, .. } = self.constants;
        self.form(worker, example);
        let Worker { sum, dense, biases, rows, workspace, squares: of, products, .. } = worker;
        let dense_gain = self.constants.gain(0, dense.len());
        let bias_gain = self.constants.gain(late.end, weights - late.end);
        let formed = squares(dense, dense_gain) + squares(biases, bias_gain);
        let mut known = Late { squares: of[example], products: products[example] };
        self.add_rows(rows, &mut known);
        let total = formed + self.constants.late_squares(known);
        let factors = outers.iter().map(|(outer, _)| {
            let seen = workspace.seen(self.engine, outer.node, example);
            (seen.gradient, seen.input)
        });
        let bound = |squares| NormBound::of_squares(squares, *error);
        let factor = layout.factor(bound(total), bound(known.squares), factors.clone());
        let Some(mut contribution) = sum.contribution(factor) else { return };
        contribution.add_part(0, dense, dense_gain);
        contribution.add_part(late.end, biases, bias_gain);
        for (table, GatheredRows { rows, values, .. }) in tables(self.engine).zip(rows) {
            let gain = self.constants.gain(table.start, table.len);
            contribution.add_rows(table.start, table.dim, rows, values, gain);
        }
        for (index, (left, right)) in factors.enumerate() {
            contribution.add_outer(index, left, right);
        }
    }

    /// Forms what is formed of one example's gradient besides its materialised parts, which are
    /// there: the biases of outer products, and the rows that it uses.
    fn form(&self, worker: &mut Worker, example: usize) {
        let Worker { dense, biases, rows, workspace, .. } = worker;
        self.constants.centre_part(0, dense);
        let first = self.constants.tables.end;
        for (outer, _) in &self.constants.outers {
            let Some(bias) = outer.bias else { continue };
            let gradient = workspace.seen(self.engine, outer.node, example).gradient;
            biases[bias - first..][..gradient.len()].copy_from_slice(gradient);
        }
        self.constants.centre_part(first, biases);
        for (table, rows) in tables(self.engine).zip(rows) {
            let seen = workspace.seen(self.engine, table.node, example);
            rows.gather(seen, table.len / table.dim, table.dim);
        }
    }

    /// Adds the gathered rows to what is known.
    fn add_rows(&self, gathered: &[GatheredRows], known: &mut Late) {
        for (table, GatheredRows { rows, values, .. }) in tables(self.engine).zip(gathered) {
            let Table { start, len, dim, .. } = table;
            known.squares += row_squares(rows, values, dim, self.constants.gain(start, len));
            if let Some(centre) = &self.constants.centre {
                let weights = &centre.tables[start - self.constants.tables.start..][..len];
                known.products += row_products(rows, values, dim, weights);
            }
        }
    }
}
