//! Exact sums of clipped contributions.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::integers::Integers;
use super::outer::{OuterShape, OuterSum, PRODUCT_BITS};
use super::{ClipFactor, Clipped, Lattice, PerExample, rounded_product};
use crate::Error;

/// The coordinates of a sum, and the public constants that take it to grid steps.
///
/// Coordinates that are rounded to the grid example by example come first; those of outer
/// products follow. The exact sum of the latter, S in units of 2^-8 grid steps, becomes
/// `round(gain S)` grid steps, once, when it is released.
#[derive(Clone, Debug)]
pub struct SumLayout {
    lattice: Lattice,
    each: usize,
    outers: Vec<OuterShape>,
    /// Of the outer products alone; none where it is 1.
    gain: Option<Vec<f32>>,
}

impl SumLayout {
    /// `each` coordinates that are rounded example by example, then the weights of `outers`,
    /// which are multiplied with `gain` `[each + weights]`, or with 1.
    ///
    /// # Errors
    /// [`Error::Length`] for a gain of another length.
    pub fn new(
        lattice: Lattice,
        each: usize,
        outers: Vec<OuterShape>,
        gain: Option<&[f32]>,
    ) -> Result<Self, Error> {
        let expected = each + outers.iter().map(|outer| outer.len()).sum::<usize>();
        match gain.map(<[f32]>::len) {
            Some(found) if found != expected => {
                Err(Error::Length { what: "gain", found, expected })
            }
            _ => Ok(Self { lattice, each, outers, gain: gain.map(|gain| gain[each..].to_vec()) }),
        }
    }

    /// Number of coordinates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each + self.outers.iter().map(|outer| outer.len()).sum::<usize>()
    }

    /// Whether there is no coordinate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The active coordinates of a release, in the order of its values, each once.
    ///
    /// # Errors
    /// [`Error::Length`] where one lies beyond the coordinates.
    pub fn places(self: &Arc<Self>, active: Vec<u32>) -> Result<Places, Error> {
        let (found, reach) = (self.len(), active.iter().max().map_or(0, |j| *j as usize + 1));
        if reach > found {
            return Err(Error::Length { what: "sum", found, expected: reach });
        }
        let mut runs: Vec<Run> = Vec::new();
        for (index, place) in active.iter().enumerate() {
            let place = *place as usize;
            match runs.last_mut() {
                Some(run) if run.region.contains(&place) => run.end = index + 1,
                _ => {
                    let (outer, region) = self.region(place);
                    runs.push(Run { end: index + 1, outer, region });
                }
            }
        }
        Ok(Places { layout: self.clone(), active, runs })
    }

    /// The outer product that holds coordinate `place`, with its first and last ones; none
    /// before all of them.
    fn region(&self, place: usize) -> (Option<usize>, Range<usize>) {
        let mut start = self.each;
        for (index, outer) in self.outers.iter().enumerate() {
            let end = start + outer.len();
            if place >= self.each && place < end {
                return (Some(index), start..end);
            }
            start = end;
        }
        (None, 0..self.each)
    }
}

/// Where the active coordinates of a release lie in a sum; from [`SumLayout::places`].
#[derive(Clone, Debug)]
pub struct Places {
    layout: Arc<SumLayout>,
    active: Vec<u32>,
    runs: Vec<Run>,
}

/// Neighbours in the order of a release that lie in one region of the sum.
#[derive(Clone, Debug)]
struct Run {
    /// Past the last of them.
    end: usize,
    outer: Option<usize>,
    region: Range<usize>,
}

impl Places {
    /// Number of active coordinates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Whether none is active.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// The coordinates themselves.
    #[must_use]
    pub fn active(&self) -> &[u32] {
        &self.active
    }
}

/// Exact sum of clipped contributions over the coordinates of a [`SumLayout`].
///
/// Contributions come whole ([`ClippedSum::add`]), or in parts that an engine never puts
/// together ([`ClippedSum::contribution`]). Either way every example's contribution is put
/// on a lattice by itself, and sums of integers are exact.
#[derive(Clone)]
pub struct ClippedSum {
    layout: Arc<SumLayout>,
    each: Integers,
    outers: Vec<OuterSum>,
}

impl ClippedSum {
    /// An empty sum over `d` coordinates, all of them rounded example by example.
    #[must_use]
    pub fn new(lattice: Lattice, d: usize) -> Self {
        Self::over(Arc::new(SumLayout { lattice, each: d, outers: Vec::new(), gain: None }))
    }

    /// An empty sum over the coordinates of `layout`.
    #[must_use]
    pub fn over(layout: Arc<SumLayout>) -> Self {
        let each = Integers::new(layout.each);
        let outers = layout.outers.iter().map(|shape| OuterSum::new(*shape)).collect();
        Self { layout, each, outers }
    }

    /// Clips one example's gradient and adds it.
    ///
    /// # Errors
    /// [`Error::Length`] when the gradient does not have `d` entries.
    pub fn add(&mut self, example: PerExample<'_>, scratch: &mut Vec<i32>) -> Result<(), Error> {
        let (found, expected) = (example.0.len(), self.each.len());
        if found != expected {
            return Err(Error::Length { what: "per-example gradient", found, expected });
        }
        self.make_room();
        let Clipped(quanta) = self.layout.lattice.clip(example, scratch);
        vectorised!(for (sum, &q) in self.each.partial.iter_mut().zip(quanta) {
            *sum += q;
        });
        Ok(())
    }

    /// Opens the sum for the parts of one example, which are clipped by `factor`; none for an
    /// example that is dropped.
    pub fn contribution(&mut self, factor: ClipFactor) -> Option<Contribution<'_>> {
        if factor.is_zero() {
            return None;
        }
        self.make_room();
        Some(Contribution { sum: self, factor: factor.0 })
    }

    /// Room for one more contribution at each coordinate: none is longer than C.
    fn make_room(&mut self) {
        let most = self.layout.lattice.steps_per_clip;
        if !self.each.has_room(most) {
            self.each.fold();
        }
        self.each.take_room(most);
    }

    /// Ends work that was put off. A release does it, if nobody did before.
    pub fn settle(&mut self) {
        self.outers.iter_mut().for_each(OuterSum::settle);
    }

    /// Back to zero.
    pub fn clear(&mut self) {
        self.each.clear();
        self.outers.iter_mut().for_each(OuterSum::clear);
    }

    /// The coordinates, and what takes their sums to grid steps.
    #[must_use]
    pub fn layout(&self) -> &Arc<SumLayout> {
        &self.layout
    }

    /// Whether `places` lie in this sum.
    pub(crate) fn has(&self, places: &Places) -> bool {
        Arc::ptr_eq(&self.layout, &places.layout)
    }

    /// The lattice the contributions were clipped to.
    #[must_use]
    pub(crate) fn lattice(&self) -> &Lattice {
        &self.layout.lattice
    }

    /// The exact totals of one step's sums, in grid steps: private values, shown to tests
    /// only.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn reveal(mut sums: Vec<&mut Self>) -> Vec<i64> {
        let Some(layout) = sums.first().map(|sum| sum.layout.clone()) else { return Vec::new() };
        let mut totals = vec![0; layout.len()];
        let places = layout.places((0..layout.len() as u32).collect()).expect("its own places");
        add_totals(&mut sums, &places, &mut totals);
        totals
    }
}

/// One example's contribution on its way into a sum: each coordinate once at most.
pub struct Contribution<'s> {
    sum: &'s mut ClippedSum,
    factor: f32,
}

impl Contribution<'_> {
    /// Adds `values` times `gain`, on the coordinates from `start` that are rounded example
    /// by example.
    pub fn add_part(&mut self, start: usize, values: &[f32], gain: Option<&[f32]>) {
        let sums = &mut self.sum.each.partial[start..start + values.len()];
        let factor = self.factor;
        vectorised!(match gain {
            Some(gain) => add_scaled(sums, values, gain, factor),
            None => add(sums, values, factor),
        });
    }

    /// Adds `values` `[rows, dim]` times `gain`, on `rows` of the table `[.., dim]` that
    /// begins at coordinate `start`; each row once at most. `gain` is that of the whole table.
    pub fn add_rows(
        &mut self,
        start: usize,
        dim: usize,
        rows: &[u32],
        values: &[f32],
        gain: Option<&[f32]>,
    ) {
        let (table, factor) = (&mut self.sum.each.partial[start..], self.factor);
        vectorised!(for (row, values) in rows.iter().zip(values.chunks_exact(dim)) {
            let first = *row as usize * dim;
            let sums = &mut table[first..first + dim];
            match gain {
                Some(gain) => add_scaled(sums, values, &gain[first..first + dim], factor),
                None => add(sums, values, factor),
            }
        });
    }

    /// Adds the outer product `left right^T`, without its gain, on the weights of outer
    /// product `index` of the layout.
    pub fn add_outer(&mut self, index: usize, left: &[f32], right: &[f32]) {
        self.sum.outers[index].add(left, right, self.factor);
    }
}

#[inline(always)]
fn add(sums: &mut [i32], values: &[f32], factor: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += rounded_product(*value, factor);
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [i32], values: &[f32], gain: &[f32], factor: f32) {
    for ((sum, value), gain) in sums.iter_mut().zip(values).zip(gain) {
        *sum += rounded_product(value * gain, factor);
    }
}

/// Coordinates that one thread handles at a time.
const CHUNK: usize = 1 << 14;

/// Adds the exact totals of one step's sums at `places`, in grid steps, to `values`.
pub(crate) fn add_totals(sums: &mut [&mut ClippedSum], places: &Places, values: &mut [i64]) {
    if sums.iter().any(|sum| !sum.outers.iter().all(OuterSum::is_settled)) {
        sums.par_iter_mut().for_each(|sum| sum.settle());
    }
    let sums: Vec<&ClippedSum> = sums.iter().map(|sum| &**sum).collect();
    if places.len() <= CHUNK {
        return add_chunk(&sums, places, 0, values);
    }
    let chunks = values.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(chunk, values)| add_chunk(&sums, places, chunk * CHUNK, values));
}

/// As [`add_totals`], for the values from `start` on.
fn add_chunk(sums: &[&ClippedSum], places: &Places, mut start: usize, mut values: &mut [i64]) {
    let first = places.runs.partition_point(|run| run.end <= start);
    for run in &places.runs[first..] {
        let (here, rest) = values.split_at_mut(values.len().min(run.end - start));
        let active = &places.active[start..start + here.len()];
        match run.outer {
            None => sums.iter().for_each(|sum| sum.each.add_to(active, here)),
            Some(index) => add_outer_totals(sums, index, run.region.start, active, here),
        }
        start += here.len();
        values = rest;
        if values.is_empty() {
            return;
        }
    }
}

/// `values += round(gain S)`, S the sum over all of `sums`.
///
/// # Guarantee
/// Where S moves by x units, the result moves by less than `|gain x| + 1.125`: S is exact
/// in f64, the product errs by 2^-53 of itself, and it is below 2^49, since a contribution
/// is at most 2^20 steps and there are not 2^29 of them.
fn add_outer_totals(
    sums: &[&ClippedSum],
    index: usize,
    start: usize,
    places: &[u32],
    values: &mut [i64],
) {
    let layout = &sums[0].layout;
    let unit = f64::from(-PRODUCT_BITS).exp2();
    let first = start - layout.each;
    vectorised!(for (value, place) in values.iter_mut().zip(places) {
        let local = *place as usize - start;
        let total: i64 = sums.iter().map(|sum| sum.outers[index].at(local)).sum();
        let gain = layout.gain.as_ref().map_or(1.0, |gain| f64::from(gain[first + local]));
        *value += (total as f64 * (gain * unit)).round_ties_even() as i64;
    });
}
