//! From the exact sums of a step to grid steps.

use rayon::prelude::*;

use super::layout::{Places, SumLayout};
use super::outer::{OuterSum, PRODUCT_BITS};
use super::sum::ClippedSum;
use crate::Error;

/// Most contributions of one step: what is said of the rounding of sums rests on it.
const MOST_CONTRIBUTIONS: usize = 1 << 24;

/// Coordinates that one thread handles at a time.
const CHUNK: usize = 1 << 14;

/// Coordinates of outer products whose totals are collected before they are rounded.
const GROUP: usize = 256;

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
        self.sums.iter().for_each(|sum| sum.each.add_to(0, places, values));
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
        for (places, values) in places.chunks(GROUP).zip(values.chunks_mut(GROUP)) {
            let mut totals = [0; GROUP];
            let totals = &mut totals[..places.len()];
            self.sums.iter().for_each(|sum| sum.outers[index].add_to(start, places, totals));
            self.add_outer_totals(places, totals, values);
        }
    }

    fn add_outer_totals(&self, places: &[u32], totals: &[i64], values: &mut [i64]) {
        let (unit, first) = (f64::from(-PRODUCT_BITS).exp2(), self.layout.each);
        let each = places.iter().map(|place| *place as usize).zip(totals).zip(values);
        let (gain, centre) = (self.layout.gain.as_deref(), self.layout.centre.as_ref());
        // Which of them there are is asked once, not for each coordinate.
        match (gain, centre) {
            (None, None) => vectorised!(for ((_, total), value) in each {
                *value += (*total as f64 * unit).round_ties_even() as i64;
            }),
            (Some(gain), None) => vectorised!(for ((place, total), value) in each {
                let scale = f64::from(gain[place - first]) * unit;
                *value += (*total as f64 * scale).round_ties_even() as i64;
            }),
            (_, Some(centre)) => vectorised!(for ((place, total), value) in each {
                let gain = gain.map_or(1.0, |gain| f64::from(gain[place - first]));
                let taken = centre.taken(place, self.factors);
                *value += (*total as f64 * (gain * unit) - taken).round_ties_even() as i64;
            }),
        }
    }
}
