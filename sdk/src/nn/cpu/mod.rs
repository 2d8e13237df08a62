//! The CPU engine: a graph made ready to run on micro-batches, forwards and backwards, in
//! buffers that are kept.
//!
//! A micro-batch runs on one thread; micro-batches run in parallel. Their size follows
//! from the model alone, and no value depends on its neighbours in the micro-batch, so the
//! results have the same bits on any number of threads.

mod attention;
mod block;
mod build;
mod conv;
mod depthwise;
mod elementwise;
mod embedding;
mod group_norm;
mod gru;
mod linear;
pub(crate) mod loss;
mod lstm;
mod norm;
pub(crate) mod op;
mod parts;
mod pool;
mod recurrent;
mod run;
mod sequence;

#[cfg(test)]
mod checking;

pub(crate) use build::Engine;
pub(crate) use embedding::GatheredRows;
pub(crate) use parts::{Part, PartKind};
pub(crate) use run::{Packed, Workspace};
