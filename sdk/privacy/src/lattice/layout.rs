//! Which coordinates a sum has, and the public constants that take it to grid steps.

use std::ops::Range;
use std::sync::Arc;

use super::centre::Centre;
use super::outer::OuterShape;
use super::{ClipFactor, Lattice, NormBound};
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
    pub(super) lattice: Lattice,
    pub(super) each: usize,
    pub(super) outers: Vec<OuterShape>,
    /// Of the outer products alone; none where it is 1.
    pub(super) gain: Option<Vec<f32>>,
    pub(super) centre: Option<Centre>,
}

impl SumLayout {
    /// `d` coordinates that are rounded example by example.
    pub(super) fn plain(lattice: Lattice, d: usize) -> Self {
        Self { lattice, each: d, outers: Vec::new(), gain: None, centre: None }
    }

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

    /// Takes `centre` `[d]` off in the sum, on the coordinates of `late` and on those of
    /// the outer products: there, contributions are added without it. `gain` `[d]`
    /// is that of all coordinates.
    ///
    /// # Errors
    /// [`Error::Length`] for a centre of another length.
    pub fn centred(
        mut self,
        gain: Option<&[f32]>,
        centre: &[f32],
        late: Range<usize>,
    ) -> Result<Self, Error> {
        let (found, expected) = (centre.len(), self.len());
        if found != expected || gain.is_some_and(|gain| gain.len() != expected) {
            return Err(Error::Length { what: "centre", found, expected });
        }
        let is_late = |j: usize| j >= self.each || late.contains(&j);
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
    /// [`Error::Length`] where one lies beyond the coordinates, or stands there twice.
    pub fn places(self: &Arc<Self>, active: Vec<u32>) -> Result<Places, Error> {
        let (found, reach) = (self.len(), active.iter().max().map_or(0, |j| *j as usize + 1));
        if reach > found {
            return Err(Error::Length { what: "sum", found, expected: reach });
        }
        let mut is_there = vec![false; found];
        active.iter().for_each(|j| is_there[*j as usize] = true);
        let (found, expected) = (is_there.iter().filter(|there| **there).count(), active.len());
        if found != expected {
            return Err(Error::Length { what: "different active coordinates", found, expected });
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
    pub(super) layout: Arc<SumLayout>,
    pub(super) active: Vec<u32>,
    pub(super) runs: Vec<Run>,
}

/// Neighbours in the order of a release that lie in one region of the sum.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Past the last of them.
    pub(super) end: usize,
    pub(super) outer: Option<usize>,
    pub(super) region: Range<usize>,
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
