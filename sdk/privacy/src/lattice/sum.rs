//! Exact sums of clipped contributions.

use std::sync::Arc;

use super::centre::MOST_STEPS;
use super::integers::Integers;
use super::layout::{Places, SumLayout};
use super::outer::{OuterSum, Rounding};
use super::{ClipFactor, Clipped, Lattice, PerExample, rounded_product};
use crate::Error;

/// Exact sum of clipped contributions over the coordinates of a [`SumLayout`].
///
/// Contributions come whole ([`ClippedSum::add`]), or in parts that an engine never puts
/// together ([`ClippedSum::contribution`]). Either way every example's contribution is put
/// on a lattice by itself, and sums of integers are exact.
#[derive(Clone)]
pub struct ClippedSum {
    layout: Arc<SumLayout>,
    pub(super) each: Integers,
    pub(super) outers: Vec<OuterSum>,
    /// Sum of the clip factors, under a centre that is taken off in the sum.
    pub(super) factors: i64,
    pub(super) contributions: usize,
}

impl ClippedSum {
    /// An empty sum over `d` coordinates, all of them rounded example by example.
    #[must_use]
    pub fn new(lattice: Lattice, d: usize) -> Self {
        Self::over(Arc::new(SumLayout::plain(lattice, d)))
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
        super::add_totals(&mut sums, &places, &mut totals).expect("few contributions");
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
