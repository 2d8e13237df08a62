//! Sums of products of 16-bit integers in 32 bits, two examples an instruction.
//!
//! Integers: every instruction set gives the same sums, modulo 2^32.

/// Products that one step adds to: a vector of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;
/// Rows and vectors of columns of a block of sums, which stays in registers.
pub(super) const ROWS: usize = 4;
const VECTORS: usize = 4;
/// Columns of a block.
pub(super) const COLS: usize = LANES * VECTORS;

/// Factors of two examples in one row or column.
pub(super) type Pair = [i16; 2];

/// The factors of one block: `left[pair][row]`, `right[pair][vector][lane]`.
pub(super) type LeftRow = [Pair; ROWS];
pub(super) type RightRow = [[Pair; LANES]; VECTORS];

/// `sums[lane] += right[lane][0] left[0] + right[lane][1] left[1]`.
trait AddPairs: Copy {
    fn add(self, sums: &mut [i32; LANES], right: &[Pair; LANES], left: Pair);
}

#[derive(Clone, Copy)]
struct Portable;

impl AddPairs for Portable {
    #[inline(always)]
    fn add(self, sums: &mut [i32; LANES], right: &[Pair; LANES], left: Pair) {
        for (sum, right) in sums.iter_mut().zip(right) {
            let [first, second] = [0, 1].map(|i| i32::from(right[i]) * i32::from(left[i]));
            *sum = sum.wrapping_add(first.wrapping_add(second));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use pulp::x86::{V3, V4};

    use super::{AddPairs, LANES, Pair};

    /// Both factors in one 32-bit lane.
    #[inline(always)]
    fn joined(left: Pair) -> i32 {
        i32::from(left[0] as u16) | i32::from(left[1]) << 16
    }

    impl AddPairs for V4 {
        #[inline(always)]
        fn add(self, sums: &mut [i32; LANES], right: &[Pair; LANES], left: Pair) {
            let left = self.avx512f._mm512_set1_epi32(joined(left));
            let products = self.avx512bw._mm512_madd_epi16(pulp::cast(*right), left);
            *sums = pulp::cast(self.avx512f._mm512_add_epi32(pulp::cast(*sums), products));
        }
    }

    impl AddPairs for V3 {
        #[inline(always)]
        fn add(self, sums: &mut [i32; LANES], right: &[Pair; LANES], left: Pair) {
            let left = self.avx._mm256_set1_epi32(joined(left));
            let (sums, _) = sums.as_chunks_mut::<{ LANES / 2 }>();
            for (sums, right) in sums.iter_mut().zip(right.as_chunks::<{ LANES / 2 }>().0) {
                let products = self.avx2._mm256_madd_epi16(pulp::cast(*right), left);
                *sums = pulp::cast(self.avx2._mm256_add_epi32(pulp::cast(*sums), products));
            }
        }
    }
}

/// Adds products of factors to sums `[rows, cols]`.
pub(super) struct Products<'a> {
    pub(super) sums: &'a mut [i32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `[rows / ROWS, stride]` and `[cols / COLS, stride]`, of which the first `pairs` of
    /// each block count.
    pub(super) left: &'a [LeftRow],
    pub(super) right: &'a [RightRow],
    pub(super) stride: usize,
    pub(super) pairs: usize,
}

impl Products<'_> {
    /// With the best instructions of this processor.
    pub(super) fn add(self) {
        match pulp::Arch::new() {
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V4(simd) => simd.vectorize(With(simd, self)),
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V3(simd) => simd.vectorize(With(simd, self)),
            _ => self.add_with(Portable),
        }
    }

    #[inline(always)]
    fn add_with<S: AddPairs>(self, simd: S) {
        let Self { sums, rows, cols, left, right, stride, pairs } = self;
        for (block, right) in right.chunks_exact(stride).enumerate() {
            let (col, right) = (block * COLS, &right[..pairs]);
            for (block, left) in left.chunks_exact(stride).enumerate() {
                let row = block * ROWS;
                let found = block_sums(simd, &left[..pairs], right);
                let to = sums[row * cols..].chunks_mut(cols).take(ROWS.min(rows - row));
                for (to, from) in to.zip(&found) {
                    add_row(&mut to[col..cols.min(col + COLS)], from);
                }
            }
        }
    }
}

#[inline(always)]
fn block_sums<S: AddPairs>(
    simd: S,
    left: &[LeftRow],
    right: &[RightRow],
) -> [[[i32; LANES]; VECTORS]; ROWS] {
    let mut sums = [[[0; LANES]; VECTORS]; ROWS];
    for (left, right) in left.iter().zip(right) {
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sums, right) in sums.iter_mut().zip(right) {
                simd.add(sums, right, *left);
            }
        }
    }
    sums
}

#[inline(always)]
fn add_row(to: &mut [i32], from: &[[i32; LANES]; VECTORS]) {
    for (to, from) in to.iter_mut().zip(from.as_flattened()) {
        *to = to.wrapping_add(*from);
    }
}

struct With<'a, S>(S, Products<'a>);

impl<S: AddPairs> pulp::NullaryFnOnce for With<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.1.add_with(self.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A factor of example `example` at `place`, over the whole range of 16 bits.
    fn factor(example: usize, place: usize, seed: usize) -> i16 {
        let mixed = (example * 1_000_003 + place * 7919 + seed).wrapping_mul(0x9E37_79B9);
        (mixed >> 11) as i16
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_instruction_set_gives_the_naive_sums(
            rows in 1_usize..10, cols in 1_usize..150, pairs in 0_usize..5, seed in 0_usize..99,
        ) {
            const STRIDE: usize = 6;
            let pair = |p: usize, place: usize, seed| [0, 1].map(|i| factor(2 * p + i, place, seed));
            let mut left = vec![[[0; 2]; ROWS]; rows.div_ceil(ROWS) * STRIDE];
            for (index, row) in left.iter_mut().enumerate() {
                let (block, p) = (index / STRIDE, index % STRIDE);
                *row = std::array::from_fn(|i| pair(p, block * ROWS + i, seed));
            }
            let mut right = vec![[[[0; 2]; LANES]; VECTORS]; cols.div_ceil(COLS) * STRIDE];
            for (index, row) in right.iter_mut().enumerate() {
                let (first, p) = (index / STRIDE * COLS, index % STRIDE);
                let at = |v: usize, lane: usize| pair(p, first + v * LANES + lane, seed + 1);
                *row = std::array::from_fn(|v| std::array::from_fn(|lane| at(v, lane)));
            }
            let mut naive = vec![5_i32; rows * cols];
            for (place, sum) in naive.iter_mut().enumerate() {
                for e in 0..2 * pairs {
                    let l = i32::from(factor(e, place / cols, seed));
                    *sum = sum.wrapping_add(l * i32::from(factor(e, place % cols, seed + 1)));
                }
            }
            let sums = |run: &dyn Fn(Products<'_>)| {
                let mut sums = vec![5; rows * cols];
                let (left, right, sums_of) = (&left[..], &right[..], &mut sums[..]);
                run(Products { sums: sums_of, rows, cols, left, right, stride: STRIDE, pairs });
                sums
            };
            prop_assert_eq!(&sums(&|products| products.add()), &naive);
            prop_assert_eq!(&sums(&|products| products.add_with(Portable)), &naive);
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                prop_assert_eq!(&sums(&|products| simd.vectorize(With(simd, products))), &naive);
            }
        }
    }
}
