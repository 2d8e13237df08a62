//! Models and their per-example gradients.
//!
//! A [`ModelSpec`] is plain data that travels with a task; [`Model`] is that
//! description, checked and ready to run on one flat parameter vector, in the order of
//! [`Model::layout`]. [`BoundModel::for_each_gradient`] is what private training needs:
//! the gradient of every single example, one after the other in one reused buffer.
//!
//! Candle's autograd carries the activations backwards. Each layer is a custom op
//! (the tape) that computes its input gradient with AdaFed's own kernels and, if it has
//! parameters, keeps its input and the gradient of its output, from which the gradient
//! of one example follows; candle never forms a gradient of a parameter.

mod activation;
mod conv2d;
mod error;
mod evaluate;
mod gradient;
mod layer;
mod linear;
mod loss;
mod model;
mod pool;
mod shape;
mod spec;
mod tape;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use gradient::MICRO_BATCH;
pub use model::{BoundModel, Model};
pub use spec::{LAYER_TYPES, LayerSpec, Loss, ModelSpec};

#[cfg(test)]
pub(crate) use tests::test_values;
