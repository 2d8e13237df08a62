//! Clipping onto an integer lattice, so that floating point cannot break a guarantee.
//!
//! A contribution is clipped to an L2 ball and rounded to a grid of step
//! g = C / 2^bits. Sums of integers are exact and do not depend on order or thread
//! count, and the support of a release does not depend on the data (DESIGN G3).

use serde::{Deserialize, Serialize};

mod parts;

pub use parts::OuterPart;

/// Moved into the closure of `vectorised!`, so that it can be called once only: a closure
/// that could be called again is reached through a shim, which is not always inlined.
struct Once;

/// Runs a block compiled for the best instruction set of this processor. Only what is
/// inlined into the block is compiled for it: its callees must be `#[inline(always)]`.
macro_rules! vectorised {
    ($kernel:expr) => {{
        let once = Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _once = once;
                $kernel
            },
        )
    }};
}

use crate::{ClipNorm, Error};

/// Grid steps in one clip norm, as a power of two: C = 2^bits grid steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ResolutionBits(u8);

impl ResolutionBits {
    /// Fine enough that rounding costs less than 1 % of C up to a million active
    /// coordinates.
    pub const DEFAULT: Self = Self(18);

    /// Checks and wraps a number of bits in 8..=20. The upper end keeps every clipped
    /// value exactly representable where `round_to_i32` needs it.
    ///
    /// # Errors
    /// [`Error::Parameter`] outside that range.
    pub fn new(bits: u8) -> Result<Self, Error> {
        if (8..=20).contains(&bits) {
            return Ok(Self(bits));
        }
        let value = f64::from(bits);
        Err(Error::Parameter { name: "resolution bits", value, expected: "8 to 20" })
    }

    /// Grid steps in one clip norm.
    #[must_use]
    pub const fn steps_per_clip(self) -> u32 {
        1 << self.0
    }
}

impl TryFrom<u8> for ResolutionBits {
    type Error = Error;
    fn try_from(bits: u8) -> Result<Self, Error> {
        Self::new(bits)
    }
}

impl From<ResolutionBits> for u8 {
    fn from(bits: ResolutionBits) -> u8 {
        bits.0
    }
}

/// One example's standardised and masked gradient, not yet clipped.
///
/// The only thing that can be done with it is to clip it.
pub struct PerExample<'a>(&'a [f32]);

impl<'a> PerExample<'a> {
    /// Wraps a gradient of `d` entries, zero on frozen coordinates.
    #[must_use]
    pub fn new(values: &'a [f32]) -> Self {
        Self(values)
    }
}

/// One example's contribution on the lattice.
///
/// # Guarantee
/// Its L2 norm is at most [`Lattice::sensitivity`] grid steps: the sum of squares was
/// checked in exact integer arithmetic.
pub struct Clipped<'a>(&'a [i32]);

/// The lattice of one step: clip norm, grid step, and how many coordinates may be
/// non-zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    steps_per_clip: u32,
    grid: f64,
    radius: f64,
}

impl Lattice {
    /// A lattice for vectors with at most `active` non-zero coordinates.
    ///
    /// Rounding moves each active coordinate by at most half a step, hence the whole
    /// vector by at most sqrt(active)/2 steps in L2; the clip radius shrinks by that,
    /// and by 2^-21 of itself for the f32 arithmetic before the rounding.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the rounding would eat more than half of C.
    pub fn new(clip: ClipNorm, bits: ResolutionBits, active: usize) -> Result<Self, Error> {
        let steps = f64::from(bits.steps_per_clip());
        let radius = steps * (1.0 - f64::exp2(-21.0)) - (active as f64).sqrt() / 2.0;
        if radius < steps / 2.0 {
            let expected = "few enough for the resolution; raise resolution_bits";
            return Err(Error::Parameter {
                name: "active coordinates",
                value: active as f64,
                expected,
            });
        }
        let steps_per_clip = bits.steps_per_clip();
        Ok(Self { steps_per_clip, grid: clip.value() / steps, radius })
    }

    /// L2 sensitivity of a sum of clipped contributions under add/remove adjacency, in
    /// grid steps.
    #[must_use]
    pub const fn sensitivity(&self) -> u32 {
        self.steps_per_clip
    }

    /// Length g of one grid step, in the units of the standardised gradient.
    #[must_use]
    pub const fn grid(&self) -> f64 {
        self.grid
    }

    /// Clips a gradient to L2 norm C and rounds it to the lattice.
    ///
    /// # Edge cases
    /// | input | result |
    /// | --- | --- |
    /// | a NaN or an infinity anywhere | the zero vector |
    /// | the zero vector | the zero vector |
    /// | finite but huge entries | clipped like any other (the norm is taken in f64) |
    pub fn clip<'s>(&self, example: PerExample<'_>, scratch: &'s mut Vec<i32>) -> Clipped<'s> {
        scratch.resize(example.0.len(), 0);
        let norm = vectorised!(square_sum(example.0)).sqrt() / self.grid;
        if !norm.is_finite() {
            scratch.fill(0);
            return Clipped(scratch);
        }
        let to_steps = (self.radius / norm.max(self.radius) / self.grid) as f32;
        let squares = vectorised!(round_to_lattice(example.0, to_steps, scratch));
        // Unreachable by the bound above; kept because the guarantee rests on it and
        // an exact check costs less than an argument about floating point.
        if squares > u64::from(self.steps_per_clip).pow(2) {
            scratch.fill(0);
        }
        Clipped(scratch)
    }
}

/// Private values do not show themselves.
macro_rules! opaque {
    ($($name:ty),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(private)"))
            }
        }
    )*};
}

opaque!(PerExample<'_>, Clipped<'_>, ClippedSum, NormBound, ClipFactor, OuterPart<'_>);

const LANES: usize = 8;

/// Sum of squares in f64, in a fixed order: same bits on every machine and thread.
#[inline(always)]
fn square_sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    rest.iter().for_each(|&x| lanes[0] += f64::from(x) * f64::from(x));
    lanes.iter().sum()
}

/// Rounds `values * factor` to integers; returns the exact sum of their squares.
///
/// Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits of an f32
/// below 2^22, on every instruction set and without a library call.
#[inline(always)]
fn round_to_lattice(values: &[f32], factor: f32, out: &mut [i32]) -> u64 {
    const MAGIC: f32 = 12_582_912.0;
    let mut lanes = [0_u64; LANES];
    let mut round = |lane: usize, x: f32| {
        let q = ((x * factor + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        lanes[lane] = lanes[lane].wrapping_add((i64::from(q) * i64::from(q)) as u64);
        q
    };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    for (chunk, out) in chunks.iter().zip(out_chunks) {
        for lane in 0..LANES {
            out[lane] = round(lane, chunk[lane]);
        }
    }
    for (&x, out) in rest.iter().zip(out_rest) {
        *out = round(0, x);
    }
    lanes.iter().sum()
}

/// An upper bound on the L2 norm of one example's standardised, masked gradient.
///
/// The clip is only as good as this number: who makes one answers for it.
#[derive(Clone, Copy)]
pub struct NormBound(f64);

impl NormBound {
    /// From the sum of squares, computed with a relative error of at most `relative`.
    ///
    /// # Guarantee
    /// If the true sum is at most `sum_of_squares (1 + relative)`, the norm is at most the
    /// bound: the bound is raised by that and by the rounding of this function.
    #[must_use]
    pub fn of_squares(sum_of_squares: f64, relative: f64) -> Self {
        Self((sum_of_squares * (1.0 + relative)).sqrt() * (1.0 + f64::exp2(-50.0)))
    }
}

/// What takes one example's standardised gradient to clipped grid steps: at most
/// radius / norm, and 0 for an example that is not finite.
#[derive(Clone, Copy)]
pub struct ClipFactor(f32);

impl ClipFactor {
    /// Whether the example is dropped: its gradient was not finite.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0.0
    }
}

impl Lattice {
    /// The factor that clips an example of this norm.
    ///
    /// # Edge cases
    /// | norm | factor |
    /// | --- | --- |
    /// | NaN or infinite | 0: the example contributes nothing |
    /// | so large that the factor leaves the normal numbers of f32 | 0 |
    /// | at most C | 1 / grid: the example is only rounded |
    #[must_use]
    pub fn factor(&self, norm: NormBound) -> ClipFactor {
        let norm = norm.0 / self.grid;
        let factor = (self.radius / norm.max(self.radius) / self.grid) as f32;
        // Below the normal numbers of f32 a factor could be rounded up by a half.
        let usable = norm.is_finite() && factor.is_normal();
        ClipFactor(if usable { factor } else { 0.0 })
    }
}

/// Exact sum of clipped contributions, over `d` coordinates.
///
/// Contributions come whole ([`ClippedSum::add`]), or in parts that an engine never puts
/// together: then [`ClippedSum::reserve`] is called for a group of examples, and each of
/// their coordinates is added at most once, with the example's own [`ClipFactor`]. Either
/// way every example's contribution is rounded to the lattice by itself.
#[derive(Clone)]
pub struct ClippedSum {
    lattice: Lattice,
    // i32 partial sums are half the memory traffic; `room` says how many more
    // contributions fit before they are folded into the i64 totals.
    partial: Vec<i32>,
    room: u32,
    // Empty until the first fold.
    total: Vec<i64>,
}

impl ClippedSum {
    /// An empty sum over `d` coordinates.
    #[must_use]
    pub fn new(lattice: Lattice, d: usize) -> Self {
        let room = Self::capacity(&lattice);
        Self { lattice, partial: vec![0; d], room, total: Vec::new() }
    }

    fn capacity(lattice: &Lattice) -> u32 {
        (i32::MAX as u32) / lattice.steps_per_clip
    }

    /// Clips one example's gradient and adds it.
    ///
    /// # Errors
    /// [`Error::Length`] when the gradient does not have `d` entries.
    pub fn add(&mut self, example: PerExample<'_>, scratch: &mut Vec<i32>) -> Result<(), Error> {
        let (found, expected) = (example.0.len(), self.partial.len());
        if found != expected {
            return Err(Error::Length { what: "per-example gradient", found, expected });
        }
        self.reserve(1);
        let Clipped(quanta) = self.lattice.clip(example, scratch);
        vectorised!(for (sum, &q) in self.partial.iter_mut().zip(quanta) {
            *sum += q;
        });
        Ok(())
    }

    /// Makes room for the parts of `examples` more examples.
    ///
    /// # Panics
    /// Where `examples` is more than fit at once: 2^31 / 2^resolution bits.
    pub fn reserve(&mut self, examples: u32) {
        if self.room < examples {
            self.fold();
        }
        assert!(self.room >= examples, "{examples} examples at once are too many");
        self.room -= examples;
    }

    /// Adds a part of one example: `values` times `gain`, on the coordinates from `start`.
    pub fn add_part(
        &mut self,
        start: usize,
        values: &[f32],
        gain: Option<&[f32]>,
        factor: ClipFactor,
    ) {
        if factor.is_zero() {
            return;
        }
        let sums = &mut self.partial[start..start + values.len()];
        vectorised!(match gain {
            Some(gain) => parts::add_scaled(sums, values, gain, factor.0),
            None => parts::add(sums, values, factor.0),
        });
    }

    /// Adds the outer products `left[e, r] right[e, c]` times `gain[r, c]` of a group of
    /// examples e, on the coordinates `[rows, cols]` from `start`.
    pub fn add_outer(&mut self, start: usize, part: &OuterPart<'_>, scratch: &mut Vec<f32>) {
        let sums = &mut self.partial[start..start + part.rows * part.cols];
        part.lay_out(scratch);
        vectorised!(parts::add_outer(sums, part, scratch));
    }

    fn fold(&mut self) {
        self.total.resize(self.partial.len(), 0);
        for (total, partial) in self.total.iter_mut().zip(&mut self.partial) {
            *total += i64::from(std::mem::take(partial));
        }
        self.room = Self::capacity(&self.lattice);
    }

    /// Adds another sum over the same lattice and empties it. Exact, so the order of
    /// merging cannot be seen in the result.
    pub fn merge(&mut self, other: &mut Self) {
        assert_eq!(self.lattice, other.lattice, "sums of one step share one lattice");
        if !self.total.is_empty() || !other.total.is_empty() {
            self.fold();
        }
        if self.room < Self::capacity(&other.lattice) - other.room {
            self.fold();
        }
        self.room -= Self::capacity(&other.lattice) - other.room;
        vectorised!(for (sum, q) in self.partial.iter_mut().zip(&other.partial) {
            *sum += q;
        });
        self.total.iter_mut().zip(&other.total).for_each(|(a, b)| *a += b);
        other.clear();
    }

    /// Back to zero.
    pub fn clear(&mut self) {
        if self.room == Self::capacity(&self.lattice) && self.total.is_empty() {
            return;
        }
        self.partial.fill(0);
        self.total.fill(0);
        self.room = Self::capacity(&self.lattice);
    }

    /// The lattice the contributions were clipped to.
    #[must_use]
    pub(crate) const fn lattice(&self) -> &Lattice {
        &self.lattice
    }

    /// Number of coordinates.
    pub(crate) fn len(&self) -> usize {
        self.partial.len()
    }

    /// The exact total of one coordinate, still private: only the noise mechanism may see it.
    pub(crate) fn total(&self, coordinate: usize) -> i64 {
        let folded = self.total.get(coordinate).copied().unwrap_or(0);
        folded + i64::from(self.partial[coordinate])
    }

    /// The exact totals, in grid steps: private values, shown to tests only.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn reveal(&self) -> Vec<i64> {
        (0..self.len()).map(|coordinate| self.total(coordinate)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lattice(clip: f64, active: usize) -> Lattice {
        Lattice::new(ClipNorm::new(clip).unwrap(), ResolutionBits::DEFAULT, active).unwrap()
    }

    fn clip(lattice: &Lattice, values: &[f32]) -> Vec<i32> {
        let mut scratch = Vec::new();
        lattice.clip(PerExample::new(values), &mut scratch).0.to_vec()
    }

    fn norm_squared(q: &[i32]) -> u64 {
        q.iter().map(|&q| (i64::from(q).pow(2)) as u64).sum()
    }

    proptest! {
        #[test]
        fn clipping_never_exceeds_the_sensitivity(
            values in prop::collection::vec(-1e30_f32..1e30, 0..300),
            scale in -40_i32..40,
        ) {
            let values: Vec<f32> = values.iter().map(|x| x * (scale as f32).exp2()).collect();
            let lattice = lattice(0.7, values.len());
            let bound = u64::from(lattice.sensitivity()).pow(2);
            prop_assert!(norm_squared(&clip(&lattice, &values)) <= bound);
        }

        #[test]
        fn short_vectors_are_only_rounded(values in prop::collection::vec(-0.01_f32..0.01, 1..200)) {
            let lattice = lattice(1.0, values.len());
            for (q, x) in clip(&lattice, &values).iter().zip(&values) {
                prop_assert!((f64::from(*q) - f64::from(*x) / lattice.grid()).abs() <= 0.5 + 1e-3);
            }
        }
    }

    #[test]
    fn a_broken_example_contributes_zero() {
        let lattice = lattice(1.0, 9);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [0.3_f32; 9];
            values[8] = bad;
            assert_eq!(clip(&lattice, &values), [0; 9]);
        }
    }

    #[test]
    fn huge_finite_gradients_are_clipped_not_dropped() {
        let lattice = lattice(1.0, 3);
        let q = clip(&lattice, &[f32::MAX, 0.0, -f32::MAX]);
        assert!(q[0] > 180_000 && q[1] == 0 && q[2] == -q[0], "{q:?}");
    }

    #[test]
    fn too_coarse_a_resolution_is_refused() {
        let clip = ClipNorm::new(1.0).unwrap();
        assert!(Lattice::new(clip, ResolutionBits::new(8).unwrap(), 100_000).is_err());
    }

    #[test]
    fn sums_do_not_depend_on_order_or_grouping() {
        let lattice = lattice(0.5, 5);
        let examples: Vec<[f32; 5]> =
            (0..20_000).map(|i| std::array::from_fn(|j| ((i * 7 + j) % 13) as f32 - 6.0)).collect();
        let sum = |range: std::ops::Range<usize>| {
            let (mut sum, mut scratch) = (ClippedSum::new(lattice, 5), Vec::new());
            for e in &examples[range] {
                sum.add(PerExample::new(e), &mut scratch).unwrap();
            }
            sum
        };
        let whole = sum(0..20_000).reveal();
        let mut parts = sum(12_345..20_000);
        parts.merge(&mut sum(0..12_345));
        assert_eq!(whole, parts.reveal());
    }
}
