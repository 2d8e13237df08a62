//! CPU kernels: the only module of the crate with `unsafe`, and that only around vector
//! instructions (`simd`, `gemm`).
//!
//! The matrix product is written once over a vector type and compiled for each instruction
//! set. Everything else is portable, branch-free Rust run through `vectorised!`, which the
//! compiler turns into vector code for the level in use; a stock x86-64 build does not run
//! scalar. No kernel starts a thread: parallelism is across micro-batches. Portable code
//! does not use `mul_add`, which is a library call where the processor has none.
//!
//! Kernels are called behind the shape check of a model; lengths that do not fit are a bug
//! of the caller inside this crate and are met by `assert!`.
#![allow(unsafe_code)]

mod activation;
mod gemm;
mod math;
mod reduce;
pub(crate) mod simd;

pub(crate) use activation::Activation;
pub(crate) use gemm::{
    Left, Matrix, Output, Right, Start, multiply, multiply_into, pack, pack_columns, pack_rows,
    packed_len, product,
};
pub(crate) use math::{exp, log_sum_exp, sigmoid, softmax, tanh};
pub(crate) use reduce::{centred_dot, column_sums, square_deviation, total};
pub use simd::SimdLevel;
pub(crate) use simd::vectorised;
