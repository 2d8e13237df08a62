//! Models and their per-example gradients.
//!
//! A [`ModelSpec`] is plain data that travels with a task; [`Model`] is that
//! description, checked and ready to run on one flat parameter vector, in the order of
//! [`Model::layout`]. [`BoundModel::for_each_gradient`] is what private training needs:
//! the gradient of every single example, one after the other in one reused buffer.
//!
//! A description, or a model written in Rust, is lowered to a graph of primitive
//! operations. On the CPU, AdaFed's own kernels run it forwards and backwards in buffers
//! that are kept. Behind the features `cuda` and `metal` the same graph runs on candle's
//! tensor operations.

pub(crate) mod cpu;
mod error;
mod evaluate;
mod gradient;
pub(crate) mod graph;
mod model;
mod shape;
mod spec;
mod stub;
mod weights;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use model::{BoundModel, Model};
pub use spec::{LAYER_TYPES, LayerSpec, Loss, ModelSpec};
pub use stub::Architecture;
pub use weights::{read_safetensors, write_safetensors};

#[cfg(test)]
pub(crate) use tests::test_values;
