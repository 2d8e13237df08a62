//! Where the time of training goes: off unless asked for, and then summed over threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

static ON: AtomicBool = AtomicBool::new(false);
static GEMM: AtomicU64 = AtomicU64::new(0);
static PER_EXAMPLE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Nanoseconds that this thread has spent in matrix products.
    static PRODUCTS: Cell<u64> = const { Cell::new(0) };
}

/// Time spent since the last [`reset`], summed over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// In matrix products.
    pub gemm: Duration,
    /// In the per-example pass, less its matrix products: parameter gradients, norms, clip,
    /// rounding, sum.
    pub per_example: Duration,
}

/// Starts to measure, from zero. It costs a few percent of a small model's speed.
pub fn reset() {
    GEMM.store(0, Ordering::Relaxed);
    PER_EXAMPLE.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

/// Stops to measure; what was measured.
#[must_use]
pub fn stop() -> Shares {
    ON.store(false, Ordering::Relaxed);
    let of = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
    Shares { gemm: of(&GEMM), per_example: of(&PER_EXAMPLE) }
}

/// Runs a matrix product.
#[inline(always)]
pub(crate) fn gemm<R>(work: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let spent = start.elapsed().as_nanos() as u64;
    GEMM.fetch_add(spent, Ordering::Relaxed);
    PRODUCTS.set(PRODUCTS.get() + spent);
    result
}

/// Runs a part of the per-example pass.
pub(crate) fn per_example<R>(work: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let (start, products) = (Instant::now(), PRODUCTS.get());
    let result = work();
    let spent = start.elapsed().as_nanos() as u64;
    let own = spent.saturating_sub(PRODUCTS.get() - products);
    PER_EXAMPLE.fetch_add(own, Ordering::Relaxed);
    result
}
