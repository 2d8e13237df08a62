//! CPU kernels of the layers: the only module of the crate with `unsafe`, and that only
//! around [`gemm`].
//!
//! Everything else is portable, branch-free Rust run through `vectorised!`, which the
//! compiler turns into vector code for the best instruction set found at run time; a
//! stock x86-64 build does not run scalar. No kernel starts a thread: parallelism is
//! across micro-batches. No kernel uses `mul_add`, which is a library call where the
//! processor has no fused multiply-add.
//!
//! Kernels are called behind the shape check of a model; lengths that do not fit are
//! a bug of the caller inside this crate and are met by `assert!`.
#![allow(unsafe_code)]

mod activation;
mod columns;
mod gemm;
mod math;
mod pool;
mod reduce;
mod window;

pub(crate) use activation::Activation;
pub(crate) use columns::{Columns, Unfolding};
pub(crate) use gemm::{Matrix, multiply};
pub(crate) use math::{exp, log_sum_exp};
pub(crate) use pool::{average_pool, average_pool_gradient, max_pool, max_pool_gradient};
pub(crate) use reduce::{outer_product, row_sums};
pub(crate) use window::Window;

/// Values that kernels move at a time: one AVX register.
const LANES: usize = 8;

/// Runs a block compiled for the best instruction set of this processor. Only what is
/// inlined into the block is compiled for it: its callees must be `#[inline(always)]`.
macro_rules! vectorised {
    ($kernel:expr) => {{
        let once = $crate::kernels::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _once = once;
                $kernel
            },
        )
    }};
}
use vectorised;

/// Moved into the closure of `vectorised!`, so that it can be called once only: a closure
/// that could be called again is reached through a shim, which is not always inlined.
struct Once;

/// The [`LANES`] values from `start`; buffers of kernels have that much slack at the end.
#[inline(always)]
fn lanes(values: &[f32], start: usize) -> &[f32; LANES] {
    values[start..].first_chunk().expect("buffers end with slack")
}

/// As [`lanes`], to write.
#[inline(always)]
fn lanes_mut(values: &mut [f32], start: usize) -> &mut [f32; LANES] {
    values[start..].first_chunk_mut().expect("buffers end with slack")
}

/// All bits set in the first `count` lanes, none in the others.
#[inline(always)]
fn mask(count: usize) -> [u32; LANES] {
    let mut mask = [0; LANES];
    for (lane, bits) in mask.iter_mut().enumerate() {
        *bits = 0_u32.wrapping_sub(u32::from(lane < count));
    }
    mask
}

/// The values whose mask is set, zero for the others, NaN too.
#[inline(always)]
fn masked(values: [f32; LANES], mask: [u32; LANES]) -> [f32; LANES] {
    let mut kept = values;
    for (value, mask) in kept.iter_mut().zip(mask) {
        *value = f32::from_bits(value.to_bits() & mask);
    }
    kept
}
