//! Exact sums of clipped contributions.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::centre::{Centre, MOST_STEPS};
use super::integers::Integers;
use super::outer::{OuterShape, OuterSum, PRODUCT_BITS, Rounding};
use super::{ClipFactor, Clipped, Lattice, NormBound, PerExample, rounded_product};
use crate::Error;

/// The coordinates of a sum, and the public constants that take it to grid steps.
///
/// Coordinates that are rounded to the grid example by example come first; those of outer
/// products follow. The exact sum of the latter, S in units of 2^-8 grid steps, becomes
/// `round(gain S)` grid steps, once, when it is released; with a centre that is taken off in
/// the sum ([`SumLayout::centred`]), every sum S of such a coordinate becomes
/// `round(gain S - gain a F)`, F the sum of the clip factors.
#[derive(Clone, Debug)]
pub struct SumLayout {
    lattice: Lattice,
    each: usize,
    outers: Vec<OuterShape>,
    /// Of the outer products alone; none where it is 1.
    gain: Option<Vec<f32>>,
    centre: Option<Centre>,
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
            _ => {
                let gain = gain.map(|gain| gain[each..].to_vec());
                Ok(Self { lattice, each, outers, gain, centre: None })
            }
        }
    }

    /// Takes `centre` `[d]` off in the sum, on the coordinates of `late`, which are those of
    /// the outer products and others: there, contributions are added without it. `gain` `[d]`
    /// is that of all coordinates.
    ///
    /// # Errors
    /// [`Error::Length`] for a centre of another length.
    pub fn centred(
        mut self,
        gain: Option<&[f32]>,
        centre: &[f32],
        late: &[Range<usize>],
    ) -> Result<Self, Error> {
        let (found, expected) = (centre.len(), self.len());
        if found != expected || gain.is_some_and(|gain| gain.len() != expected) {
            return Err(Error::Length { what: "centre", found, expected });
        }
        let is_late = |j: usize| j >= self.each || late.iter().any(|range| range.contains(&j));
        let mut start = self.each;
        let place = |shape: &OuterShape| {
            start += shape.len();
            (start - shape.len(), *shape)
        };
        let outers: Vec<_> = self.outers.iter().map(place).collect();
        self.centre = Some(Centre::new(&self.lattice, &outers, gain, centre, is_late));
        Ok(self)
    }

    /// The factor that clips an example: `norm` of its standardised gradient; and, which
    /// matters under a centre that is taken off in the sum only, `uncentred` of the part of it
    /// that is added without the centre, and the factors of its outer products.
    pub fn factor<'v>(
        &self,
        norm: NormBound,
        uncentred: NormBound,
        outers: impl Iterator<Item = (&'v [f32], &'v [f32])>,
    ) -> ClipFactor {
        match &self.centre {
            None => self.lattice.factor(norm),
            Some(centre) => centre.factor(&self.lattice, norm, uncentred, outers),
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
    /// Sum of the clip factors, under a centre that is taken off in the sum.
    factors: i64,
    contributions: usize,
}

/// Most contributions of one step: what is said of the rounding of sums rests on it.
const MOST_CONTRIBUTIONS: usize = 1 << 24;

impl ClippedSum {
    /// An empty sum over `d` coordinates, all of them rounded example by example.
    #[must_use]
    pub fn new(lattice: Lattice, d: usize) -> Self {
        let (outers, gain, centre) = Default::default();
        Self::over(Arc::new(SumLayout { lattice, each: d, outers, gain, centre }))
    }

    /// An empty sum over the coordinates of `layout`.
    #[must_use]
    pub fn over(layout: Arc<SumLayout>) -> Self {
        let each = Integers::new(layout.each);
        let rounding = match layout.centre {
            Some(_) => Rounding::ToNearest,
            None => Rounding::TowardsZero,
        };
        let outers = layout.outers.iter().map(|shape| OuterSum::new(*shape, rounding)).collect();
        Self { layout, each, outers, factors: 0, contributions: 0 }
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
        if let Some(centre) = &self.layout.centre {
            self.factors += centre.units(factor.0);
        }
        Some(Contribution { sum: self, factor: factor.0 })
    }

    /// Room for one more contribution at each coordinate: none is longer than C, where the
    /// centre has been taken off.
    fn make_room(&mut self) {
        let clipped = self.layout.lattice.steps_per_clip;
        let most = if self.layout.centre.is_some() { MOST_STEPS as u32 } else { clipped };
        if !self.each.has_room(most) {
            self.each.fold();
        }
        self.each.take_room(most);
        self.contributions += 1;
    }

    /// Ends work that was put off. A release does it, if nobody did before.
    pub fn settle(&mut self) {
        self.outers.iter_mut().for_each(OuterSum::settle);
    }

    /// Back to zero.
    pub fn clear(&mut self) {
        self.each.clear();
        self.outers.iter_mut().for_each(OuterSum::clear);
        (self.factors, self.contributions) = (0, 0);
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
        add_totals(&mut sums, &places, &mut totals).expect("few contributions");
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
///
/// # Errors
/// [`Error::Length`] for more than [`MOST_CONTRIBUTIONS`].
pub(crate) fn add_totals(
    sums: &mut [&mut ClippedSum],
    places: &Places,
    values: &mut [i64],
) -> Result<(), Error> {
    let (found, expected) = (sums.iter().map(|sum| sum.contributions).sum(), MOST_CONTRIBUTIONS);
    if found > expected {
        return Err(Error::Length { what: "examples of one step", found, expected });
    }
    if sums.iter().any(|sum| !sum.outers.iter().all(OuterSum::is_settled)) {
        sums.par_iter_mut().for_each(|sum| sum.settle());
    }
    let factors = sums.iter().map(|sum| sum.factors).sum::<i64>() as f64;
    let totals =
        Totals { sums: sums.iter().map(|sum| &**sum).collect(), layout: &places.layout, factors };
    if places.len() <= CHUNK {
        totals.add_chunk(places, 0, values);
    } else {
        let chunks = values.par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(chunk, values)| totals.add_chunk(places, chunk * CHUNK, values));
    }
    Ok(())
}

/// One step's sums, all of them.
struct Totals<'a> {
    sums: Vec<&'a ClippedSum>,
    layout: &'a SumLayout,
    factors: f64,
}

impl Totals<'_> {
    /// Adds to `values`, which are those from `start` on.
    fn add_chunk(&self, places: &Places, mut start: usize, mut values: &mut [i64]) {
        let first = places.runs.partition_point(|run| run.end <= start);
        for run in &places.runs[first..] {
            let (here, rest) = values.split_at_mut(values.len().min(run.end - start));
            let active = &places.active[start..start + here.len()];
            match run.outer {
                None => self.add_each(active, here),
                Some(index) => self.add_outer(index, run.region.start, active, here),
            }
            start += here.len();
            values = rest;
            if values.is_empty() {
                return;
            }
        }
    }

    /// `values += S`, or `S - round(gain a F)`.
    fn add_each(&self, places: &[u32], values: &mut [i64]) {
        self.sums.iter().for_each(|sum| sum.each.add_to(places, values));
        let Some(centre) = &self.layout.centre else { return };
        vectorised!(for (value, place) in values.iter_mut().zip(places) {
            *value -= centre.taken(*place as usize, self.factors).round_ties_even() as i64;
        });
    }

    /// `values += round(gain S)`, or `round(gain S - gain a F)`.
    ///
    /// # Guarantee
    /// Where the real value moves by x, the result moves by less than `|x| + 1.125`: half a
    /// step for the rounding at either end, and less than 1/16 for the errors of f64. Those
    /// are below 3 2^-53 of `gain S` and of `gain a F`, and these are below 2^46, since they
    /// grow by less than 2^22 steps with each of at most 2^24 contributions.
    fn add_outer(&self, index: usize, start: usize, places: &[u32], values: &mut [i64]) {
        let unit = f64::from(-PRODUCT_BITS).exp2();
        let (sums, first) = (&self.sums, start - self.layout.each);
        let (gain, centre) = (self.layout.gain.as_deref(), self.layout.centre.as_ref());
        vectorised!(for (value, place) in values.iter_mut().zip(places) {
            let place = *place as usize;
            let total: i64 = sums.iter().map(|sum| sum.outers[index].at(place - start)).sum();
            let gain = gain.map_or(1.0, |gain| f64::from(gain[first + place - start]));
            let taken = centre.map_or(0.0, |centre| centre.taken(place, self.factors));
            *value += (total as f64 * (gain * unit) - taken).round_ties_even() as i64;
        });
    }
}
