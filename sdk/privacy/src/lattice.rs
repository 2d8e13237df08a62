//! Clipping onto an integer lattice, so that floating point cannot break a guarantee.
//!
//! A contribution is clipped to an L2 ball and rounded to a grid of step
//! g = C / 2^bits. Sums of integers are exact and do not depend on order or thread
//! count, and the support of a release does not depend on the data.

use serde::{Deserialize, Serialize};

/// Moved into the closure of `vectorised!`, so that it can be called once only: a closure
/// that could be called again is reached through a shim, which is not always inlined.
struct Once;

/// Runs a block compiled for the best instruction set of this processor. Only what is
/// inlined into the block is compiled for it: its callees must be `#[inline(always)]`.
macro_rules! vectorised {
    ($kernel:expr) => {{
        let once = $crate::lattice::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _once = once;
                $kernel
            },
        )
    }};
}

mod centre;
mod integers;
mod layout;
mod outer;
mod products;
mod sum;
mod totals;

pub use layout::{Places, SumLayout};
pub use outer::OuterShape;
pub use sum::{ClippedSum, Contribution};
pub(crate) use totals::add_totals;

use crate::{Adjacency, ClipNorm, Error, Sensitivity};

/// Grid steps in one clip norm, as a power of two: C = 2^bits grid steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ResolutionBits(u8);

impl ResolutionBits {
    /// Fine enough that rounding costs less than 1 % of C up to a million active
    /// coordinates.
    pub const DEFAULT: Self = Self(18);

    /// Checks and wraps a number of bits in 8..=20. The upper end keeps every clipped
    /// value below 2^22, as rounding to integers needs it.
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
/// Its L2 norm is at most [`Lattice::norm_steps`] grid steps: the sum of squares was
/// checked in exact integer arithmetic.
pub struct Clipped<'a>(&'a [i32]);

/// How many coordinates of a release are rounded to the grid, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounded {
    /// Example by example.
    pub each: usize,
    /// Once, in the exact sum of a step.
    pub once: usize,
}

impl From<usize> for Rounded {
    /// All of them example by example.
    fn from(each: usize) -> Self {
        Self { each, once: 0 }
    }
}

/// The lattice of one step: clip norm, grid step, and the radius to which contributions are
/// clipped before they are rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    steps_per_clip: u32,
    grid: f64,
    radius: f64,
}

impl Lattice {
    /// A lattice for vectors whose non-zero coordinates are at most those of `active`.
    ///
    /// Rounding a contribution moves each of its coordinates by at most half a step, hence
    /// the whole vector by at most sqrt(each)/2 steps in L2. Rounding an exact sum once can
    /// widen the distance of two sums by at most 1.125 steps a coordinate
    /// ([`SumLayout`]), hence by 1.125 sqrt(once) in L2. The clip radius shrinks by both, and
    /// by 2^-21 of itself for the f32 arithmetic before the rounding.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the rounding would eat more than half of C.
    pub fn new(
        clip: ClipNorm,
        bits: ResolutionBits,
        active: impl Into<Rounded>,
    ) -> Result<Self, Error> {
        let (active, steps) = (active.into(), f64::from(bits.steps_per_clip()));
        let rounding = (active.each as f64).sqrt() / 2.0 + 1.125 * (active.once as f64).sqrt();
        let radius = steps * (1.0 - f64::exp2(-21.0)) - rounding;
        if radius < steps / 2.0 {
            let expected = "few enough for the resolution; raise resolution_bits";
            let value = (active.each + active.once) as f64;
            return Err(Error::Parameter { name: "active coordinates", value, expected });
        }
        let steps_per_clip = bits.steps_per_clip();
        Ok(Self { steps_per_clip, grid: clip.value() / steps, radius })
    }

    /// Bound on the L2 norm of what one example adds to a sum, in grid steps.
    #[must_use]
    pub const fn norm_steps(&self) -> u32 {
        self.steps_per_clip
    }

    /// L2 sensitivity of a sum of clipped contributions.
    #[must_use]
    pub const fn sensitivity(&self, adjacency: Adjacency) -> Sensitivity {
        Sensitivity { adjacency, steps: self.steps_per_clip * adjacency.distance() }
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
    /// | a clip norm or gradients at the ends of f32, so that no factor of f32 clips them | the zero vector |
    pub fn clip<'s>(&self, example: PerExample<'_>, scratch: &'s mut Vec<i32>) -> Clipped<'s> {
        scratch.resize(example.0.len(), 0);
        // Rounding of a sum in f64 over at most 2^28 terms, in lanes of their own.
        let relative = example.0.len() as f64 * f64::EPSILON;
        let squares = vectorised!(square_sum(example.0));
        let factor = self.factor(NormBound::of_squares(squares, relative));
        if factor.is_zero() {
            scratch.fill(0);
            return Clipped(scratch);
        }
        let squares = vectorised!(round_to_lattice(example.0, factor.0, scratch));
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

opaque!(PerExample<'_>, Clipped<'_>, ClippedSum, Contribution<'_>, NormBound, ClipFactor);

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

/// The integer nearest to `value * factor`, where that is below 2^22.
///
/// Adding 1.5 * 2^23 leaves it in the low mantissa bits, on every instruction set and without
/// a library call. No fused multiply-add: every processor gives the same integers.
#[inline(always)]
fn rounded_product(value: f32, factor: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    ((value * factor + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
}

/// Rounds `values * factor` to integers; returns the exact sum of their squares.
#[inline(always)]
fn round_to_lattice(values: &[f32], factor: f32, out: &mut [i32]) -> u64 {
    let mut lanes = [0_u64; LANES];
    let mut round = |lane: usize, x: f32| {
        let q = rounded_product(x, factor);
        lanes[lane] = lanes[lane].saturating_add((i64::from(q) * i64::from(q)) as u64);
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
    lanes.into_iter().fold(0, u64::saturating_add)
}

/// An upper bound on the L2 norm of one example's standardised, masked gradient.
///
/// The clip is only as good as this number: who makes one answers for it.
#[derive(Clone, Copy)]
pub struct NormBound(f64);

impl NormBound {
    /// That of no coordinates at all.
    pub const NONE: Self = Self(0.0);

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
            let bound = u64::from(lattice.norm_steps()).pow(2);
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
    fn a_clip_norm_below_single_precision_releases_zeros() {
        for values in [vec![0.0; 1 << 18], vec![1e-42; 32]] {
            assert!(clip(&lattice(1e-40, values.len()), &values).iter().all(|q| *q == 0));
        }
        // Where a factor of f32 does clip, it clips.
        let q = clip(&lattice(1e-40, 2), &[1.0, -1e30]);
        assert!(q[1] < -260_000 && norm_squared(&q) <= 1 << 36);
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
        let whole = ClippedSum::reveal(vec![&mut sum(0..20_000)]);
        let (mut first, mut second) = (sum(12_345..20_000), sum(0..12_345));
        assert_eq!(whole, ClippedSum::reveal(vec![&mut first, &mut second]));
    }
}
