//! The networks of the experiments.

use adafed::nn::{
    Embedding, GroupNorm, LayerNorm, LayerSpec, Linear, Loss, ModelSpec, SelfAttention,
};
use serde::{Deserialize, Serialize};

use crate::source::TOKEN_WORDS;

/// Values of a hidden layer, of the perceptron and of the transformer's feed-forward part.
const HIDDEN: usize = 64;

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
    /// One hidden layer of 64 with tanh.
    Mlp,
    /// A residual convolutional network with group normalisation, for images: 28,554 parameters
    /// for grey ones and ten classes.
    Residual,
    /// One block of a transformer encoder, 32 wide with 4 heads and 64 hidden units, for words
    /// as tokens; mean over positions. It does not know where a word stands.
    Transformer,
    /// Group normalisation without weights, then one linear layer, from zero, for scattering
    /// maps (after Tramer and Boneh 2021, arXiv 2011.11660).
    ScatterLinear,
    /// Group normalisation without weights, then two convolutions with tanh, for scattering maps
    /// (after the same paper).
    ScatterCnn,
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
            Self::Mlp => ModelSpec::perceptron(shape.iter().product(), HIDDEN, classes),
            Self::Residual => classifier(shape, residual(shape[0], classes)),
            Self::Transformer => classifier(shape, transformer(classes)),
            Self::ScatterLinear => classifier(shape, scatter_linear(shape, classes)),
            Self::ScatterCnn => classifier(shape, scatter_cnn(shape, classes)),
        }
    }

    /// Whether training starts at zero rather than at random weights: a linear layer has no
    /// symmetry to break.
    pub(crate) const fn starts_at_zero(self) -> bool {
        matches!(self, Self::Linear | Self::LinearHead | Self::ScatterLinear)
    }
}

fn linear(shape: &[usize], classes: usize, bias: bool) -> ModelSpec {
    let layer = Linear::new(shape.iter().product(), classes).bias(bias);
    classifier(shape, vec![LayerSpec::Flatten, LayerSpec::Linear(layer)])
}

fn classifier(shape: &[usize], layers: Vec<LayerSpec>) -> ModelSpec {
    ModelSpec { input: shape.to_vec(), features: None, layers, loss: Loss::CrossEntropy }
}

fn residual(channels: usize, classes: usize) -> Vec<LayerSpec> {
    let (mut layers, mut inputs) = (Vec::new(), channels);
    for outputs in [16, 32] {
        let convolution = |inputs| LayerSpec::conv2d(inputs, outputs, 3, 1, 1);
        let norm = || LayerSpec::GroupNorm(GroupNorm::new(4, outputs));
        let kept = [convolution(outputs), norm(), LayerSpec::Relu, convolution(outputs), norm()];
        layers.extend([convolution(inputs), norm(), LayerSpec::Relu, LayerSpec::max_pool2d(2, 2)]);
        layers.extend([LayerSpec::Residual { layers: kept.into() }, LayerSpec::Relu]);
        inputs = outputs;
    }
    layers.extend([LayerSpec::GlobalAvgPool2d, LayerSpec::linear(inputs, classes)]);
    layers
}

fn transformer(classes: usize) -> Vec<LayerSpec> {
    const WIDTH: usize = 32;
    let norm = || LayerSpec::LayerNorm(LayerNorm::new(WIDTH));
    let attend = vec![norm(), LayerSpec::SelfAttention(SelfAttention::new(WIDTH, 4))];
    let (widen, narrow) = (LayerSpec::linear(WIDTH, HIDDEN), LayerSpec::linear(HIDDEN, WIDTH));
    vec![
        LayerSpec::Embedding(Embedding::new(usize::from(TOKEN_WORDS) + 1, WIDTH)),
        LayerSpec::Residual { layers: attend },
        LayerSpec::Residual { layers: vec![norm(), widen, LayerSpec::Gelu, narrow] },
        norm(),
        LayerSpec::MeanSequence,
        LayerSpec::linear(WIDTH, classes),
    ]
}

fn scatter_linear(shape: &[usize], classes: usize) -> Vec<LayerSpec> {
    let features = shape.iter().product();
    vec![scatter_norm(shape[0]), LayerSpec::Flatten, LayerSpec::linear(features, classes)]
}

fn scatter_cnn(shape: &[usize], classes: usize) -> Vec<LayerSpec> {
    let channels = shape[0];
    // The second convolution keeps the sides that pooling leaves.
    let area: usize = shape[1..].iter().map(|side| side / 2).product();
    vec![
        scatter_norm(channels),
        LayerSpec::conv2d(channels, 16, 3, 1, 1),
        LayerSpec::Tanh,
        LayerSpec::max_pool2d(2, 2),
        LayerSpec::conv2d(16, 32, 3, 1, 1),
        LayerSpec::Tanh,
        LayerSpec::Flatten,
        LayerSpec::linear(32 * area, classes),
    ]
}

/// 27 groups for the 81 maps of a channel over two scales and eight angles; of other numbers,
/// as many of those as divide them.
fn scatter_norm(channels: usize) -> LayerSpec {
    let groups =
        [27, 9, 3, 1].into_iter().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
    LayerSpec::GroupNorm(GroupNorm::new(groups, channels).trainable(false))
}

fn with_relu(mut spec: ModelSpec) -> ModelSpec {
    for layer in &mut spec.layers {
        if *layer == LayerSpec::Tanh {
            *layer = LayerSpec::Relu;
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use adafed::nn::Model;

    use super::*;

    fn parameters(network: Network, shape: &[usize], classes: usize) -> usize {
        Model::new(&network.spec(shape, classes)).unwrap().parameters()
    }

    #[test]
    fn networks_fit_the_shapes_that_they_are_made_for() {
        let cases: [(Network, &[usize], usize, usize); 8] = [
            (Network::Mlp, &[112], 2, 112 * 64 + 64 + 64 * 2 + 2),
            (Network::Residual, &[1, 28, 28], 10, 28_554),
            (Network::Residual, &[3, 32, 32], 10, 28_554 + 2 * 9 * 16),
            (Network::Residual, &[1, 5, 7], 3, 28_554 - 7 * 33),
            (Network::Transformer, &[40], 2, 1024 * 32 + 4 * 1056 + 4192 + 3 * 64 + 66),
            (Network::ScatterLinear, &[81, 7, 7], 10, 39_700),
            (Network::ScatterCnn, &[81, 7, 7], 10, 11_680 + 4_640 + 2_890),
            (Network::ScatterCnn, &[4, 2, 3], 2, 592 + 4_640 + 66),
        ];
        for (network, shape, classes, expected) in cases {
            let found = parameters(network, shape, classes);
            assert_eq!(found, expected, "{network:?} {shape:?}");
        }
    }

    #[test]
    fn a_network_for_images_refuses_other_inputs() {
        for network in [Network::Residual, Network::ScatterCnn, Network::ScatterLinear] {
            assert!(Model::new(&network.spec(&[40], 2)).is_err(), "{network:?}");
        }
    }
}
