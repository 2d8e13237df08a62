//! Models and their per-example gradients.
//!
//! A [`ModelSpec`] is plain data that travels with a task, fixed features included by their
//! settings; [`Model`] is that description, checked and ready to run on one flat parameter
//! vector, in the order of [`Model::layout`]. [`BoundModel::for_each_gradient`] is what private
//! training needs: the gradient of every single example, one after the other in one reused
//! buffer.
//!
//! A description, or a model written in Rust, is lowered to a graph of primitive
//! operations. On the CPU, AdaFed's own kernels run it forwards and backwards in buffers
//! that are kept. Behind the features `cuda` and `metal` the same graph runs on candle's
//! tensor operations.

mod builder;
pub(crate) mod cpu;
pub mod device;
mod error;
mod evaluate;
mod front;
#[cfg(feature = "candle")]
pub(crate) mod generic;
mod gradient;
pub(crate) mod graph;
mod layers;
mod model;
mod presets;
mod spec;
#[cfg(test)]
mod tests;
mod weights;

pub use builder::{Architecture, ModelBuilder, Value};
pub use device::Device;
pub use error::Error;
pub use layers::{
    Conv1d, Conv2d, Embedding, GroupNorm, Gru, Layer, LayerNorm, Linear, Lora, Lstm, RmsNorm,
    SelfAttention,
};
pub use model::{BoundModel, Model};
pub use spec::{LAYER_TYPES, LayerSpec, Loss, ModelSpec, Window};
pub use weights::{encode_safetensors, parse_safetensors, read_safetensors, write_safetensors};

#[cfg(test)]
pub(crate) use tests::{test_batch, test_values};
