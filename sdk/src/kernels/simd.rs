//! Instruction sets: found once at run time, or forced, and a vector of f32 for each.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for. Results of different levels
/// differ by rounding; results of one level never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SimdLevel {
    /// Plain Rust, without fused multiply-add: the specification of the others.
    Portable = 1,
    /// AVX2 with FMA, 8 values.
    Avx2 = 2,
    /// AVX-512 (F, BW, DQ, VL), 16 values.
    Avx512 = 3,
    /// NEON, 4 values.
    Neon = 4,
}

const NAMES: [(SimdLevel, &str); 4] = [
    (SimdLevel::Portable, "portable"),
    (SimdLevel::Avx2, "avx2"),
    (SimdLevel::Avx512, "avx512"),
    (SimdLevel::Neon, "neon"),
];

/// The level in use; 0 before the first kernel runs.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl SimdLevel {
    /// The levels that this processor can run, portable first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        NAMES.iter().map(|(level, _)| *level).filter(|level| level.is_available()).collect()
    }

    /// The level in use: the best available one, unless one was forced.
    #[must_use]
    #[inline]
    pub fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            1 => Self::Portable,
            2 => Self::Avx2,
            3 => Self::Avx512,
            4 => Self::Neon,
            _ => Self::detect(),
        }
    }

    /// Uses this level from now on, in the whole process. For comparisons: it takes speed
    /// and changes last bits. False, and nothing changed, where the processor lacks it.
    #[must_use]
    pub fn force(self) -> bool {
        let available = self.is_available();
        if available {
            CURRENT.store(self as u8, Ordering::Relaxed);
        }
        available
    }

    #[cold]
    fn detect() -> Self {
        let best = Self::available().pop().unwrap_or(Self::Portable);
        CURRENT.store(best as u8, Ordering::Relaxed);
        best
    }

    // Miri runs portable code only.
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            Self::Neon => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(level, _)| level == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for SimdLevel {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(level, _)| *level).ok_or_else(|| {
            format!("unknown SIMD level `{name}`, expected portable, avx2, avx512 or neon")
        })
    }
}

/// Runs a block compiled for the level in use. Only what is inlined into the block is
/// compiled for it: its callees must be `#[inline(always)]`.
macro_rules! vectorised {
    ($kernel:expr) => {{
        let once = $crate::kernels::simd::Once;
        $crate::kernels::simd::dispatch(
            #[inline(always)]
            || {
                let _once = once;
                $kernel
            },
        )
    }};
}
pub(crate) use vectorised;

/// Moved into the closure of `vectorised!`, so that it can be called once only: a closure
/// that could be called again is reached through a shim, which is not always inlined.
pub(crate) struct Once;

/// Runs `kernel` inside a function compiled for the level in use.
#[inline(always)]
pub(crate) fn dispatch<R>(kernel: impl FnOnce() -> R) -> R {
    match SimdLevel::current() {
        // SAFETY: `current` is a level that `is_available` found on this processor.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { with_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { with_avx2(kernel) },
        // NEON is part of every aarch64 target: the portable build uses it.
        _ => kernel(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn with_avx512<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

/// A vector register of f32.
///
/// # Safety
/// Every method may be called only where the instruction set of the implementing type is
/// available. Pointers must be good for `LANES` values, or for `count` of them.
pub(super) trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` values, zeros after them.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store_first(self, to: *mut f32, count: usize);
    /// `self * factor + sum`, fused where the level has it.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Vector for Portable {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is good for 8 values; f32 arrays have f32's alignment.
        Self(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut values = [0.0; 8];
        // SAFETY: good for `count` values by the contract, and `count` is at most LANES.
        unsafe { std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), count.min(8)) };
        Self(values)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: as for `load_first`.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count.min(8)) };
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        let mut result = sum.0;
        for (sum, (value, factor)) in result.iter_mut().zip(self.0.iter().zip(&factor.0)) {
            *sum += value * factor;
        }
        Self(result)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    #[inline(always)]
    fn first16(count: usize) -> __mmask16 {
        (1_u32 << count.min(16)).wrapping_sub(1) as __mmask16
    }

    // SAFETY of every block below: the trait's contract gives the instruction set and the
    // pointers; masked-off lanes are not accessed.
    impl Vector for Avx512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_maskz_loadu_ps(first16(count), from) })
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: see above.
            unsafe { _mm512_mask_storeu_ps(to, first16(count), self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, sum.0) })
        }
    }

    /// All bits set in the first `count` lanes.
    #[inline(always)]
    unsafe fn first8(count: usize) -> __m256i {
        // SAFETY: AVX2 by the contract of the callers.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes)
        }
    }

    impl Vector for Avx2 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_maskload_ps(from, first8(count)) })
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: see above.
            unsafe { _mm256_maskstore_ps(to, first8(count), self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, sum.0) })
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Vector;

    #[derive(Clone, Copy)]
    pub(crate) struct Neon(float32x4_t);

    // SAFETY of every block below: NEON is part of the target; pointers by the contract.
    impl Vector for Neon {
        const LANES: usize = 4;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { vdupq_n_f32(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { vld1q_f32(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { vst1q_f32(to, self.0) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            let mut values = [0.0; 4];
            // SAFETY: good for `count` values by the contract.
            unsafe {
                std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), count.min(4));
                Self(vld1q_f32(values.as_ptr()))
            }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            let mut values = [0.0; 4];
            // SAFETY: good for `count` values by the contract.
            unsafe {
                vst1q_f32(values.as_mut_ptr(), self.0);
                std::ptr::copy_nonoverlapping(values.as_ptr(), to, count.min(4));
            }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { vfmaq_f32(sum.0, self.0, factor.0) })
        }
    }
}
