//! The networks of the experiments.

use adafed::nn::{LayerSpec, Linear, Loss, ModelSpec};
use serde::{Deserialize, Serialize};

/// A network, for whatever input and classes the data have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    /// 26,010 parameters for 28 x 28 grey images, tanh (Papernot et al. 2021).
    MnistCnn,
    /// The same with relu.
    MnistCnnRelu,
    /// 550,570 parameters for 32 x 32 colour images, tanh (Papernot et al. 2021).
    CifarCnn,
    /// The same with relu.
    CifarCnnRelu,
    /// One linear layer, from zero.
    Linear,
    /// One linear layer without bias, from zero, for features that hold a constant.
    LinearHead,
}

impl Network {
    /// Its description, for inputs of `shape`.
    pub(crate) fn spec(self, shape: &[usize], classes: usize) -> ModelSpec {
        match self {
            Self::MnistCnn => ModelSpec::mnist_cnn(),
            Self::MnistCnnRelu => with_relu(ModelSpec::mnist_cnn()),
            Self::CifarCnn => ModelSpec::cifar_cnn(),
            Self::CifarCnnRelu => with_relu(ModelSpec::cifar_cnn()),
            Self::Linear => linear(shape, classes, true),
            Self::LinearHead => linear(shape, classes, false),
        }
    }

    /// Whether training starts at zero rather than at random weights: a linear layer has no
    /// symmetry to break.
    pub(crate) const fn starts_at_zero(self) -> bool {
        matches!(self, Self::Linear | Self::LinearHead)
    }
}

fn linear(shape: &[usize], classes: usize, bias: bool) -> ModelSpec {
    let layer = Linear::new(shape.iter().product(), classes).bias(bias);
    let layers = vec![LayerSpec::Flatten, LayerSpec::Linear(layer)];
    ModelSpec { input: shape.to_vec(), features: None, layers, loss: Loss::CrossEntropy }
}

fn with_relu(mut spec: ModelSpec) -> ModelSpec {
    for layer in &mut spec.layers {
        if *layer == LayerSpec::Tanh {
            *layer = LayerSpec::Relu;
        }
    }
    spec
}
