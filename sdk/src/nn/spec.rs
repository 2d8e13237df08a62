//! The description of a model: plain data that travels with a task.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Error;

/// Layer types that [`LayerSpec`] knows, as they are written in JSON.
pub const LAYER_TYPES: &[&str] = &[
    "linear",
    "conv2d",
    "relu",
    "tanh",
    "gelu",
    "silu",
    "sigmoid",
    "max_pool2d",
    "avg_pool2d",
    "flatten",
];

/// Types refused by name, because they mix the examples of a batch.
const MIXING_TYPES: &[&str] = &["batch_norm", "batch_norm1d", "batch_norm2d", "sync_batch_norm"];

/// A model: what goes in, the layers in order, and what is minimised.
///
/// ```
/// use adafed::nn::{Model, ModelSpec};
///
/// let spec = ModelSpec::from_json(
///     r#"{"input": [4], "layers": [{"type": "linear", "in": 4, "out": 3}],
///         "loss": "cross_entropy"}"#,
/// )?;
/// assert_eq!(Model::new(&spec)?.parameters(), 4 * 3 + 3);
/// # Ok::<(), adafed::nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Shape of one example, such as `[channels, height, width]` or `[features]`.
    pub input: Vec<usize>,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// What training minimises.
    pub loss: Loss,
}

/// What training minimises, one value an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loss {
    /// `-log softmax(logits)[label]`, labels from 0 to the number of outputs less 1.
    CrossEntropy,
    /// x
    SequenceCrossEntropy,
    /// x
    BceWithLogits,
    /// x
    Mse,
}

/// One layer. Shapes are those of one example; images are `[channels, height, width]`.
/// In JSON `inputs` and `outputs` are called `in` and `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LayerSpec {
    /// `y = x W^T + b` on the last dimension: `[.., in] -> [.., out]`, W `[out, in]`.
    Linear {
        /// Length of the last dimension of the input.
        #[serde(rename = "in")]
        inputs: usize,
        /// Length of the last dimension of the output.
        #[serde(rename = "out")]
        outputs: usize,
        /// Whether b is there (default: yes).
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Cross-correlation with square kernels, W `[out, in, kernel, kernel]`:
    /// `[in, h, w] -> [out, h', w']`, `h' = (h + 2 padding - kernel) / stride + 1`.
    Conv2d {
        /// Channels of the input.
        #[serde(rename = "in")]
        inputs: usize,
        /// Channels of the output.
        #[serde(rename = "out")]
        outputs: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Step between positions (default: 1).
        #[serde(default = "one")]
        stride: usize,
        /// Zeros added on each side, less than the kernel (default: 0).
        #[serde(default)]
        padding: usize,
        /// Whether there is one bias a channel (default: yes).
        #[serde(default = "yes")]
        bias: bool,
    },
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x Phi(x)` with the exact (erf) normal distribution function.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Largest value of each window: `[c, h, w] -> [c, h', w']`, no padding.
    #[serde(rename = "max_pool2d")]
    MaxPool2d {
        /// Side of the window.
        kernel: usize,
        /// Step between windows (default: the kernel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// Mean of each window: `[c, h, w] -> [c, h', w']`, no padding.
    #[serde(rename = "avg_pool2d")]
    AvgPool2d {
        /// Side of the window.
        kernel: usize,
        /// Step between windows (default: the kernel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// `[..] -> [product]`, row-major.
    Flatten,
}

impl ModelSpec {
    /// Reads a description and checks it whole, shapes included.
    ///
    /// # Errors
    /// What [`ModelSpec::check`] refuses, and JSON of another form.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json = |error: serde_json::Error| Error::Json { reason: error.to_string() };
        let value: Value = serde_json::from_str(text).map_err(json)?;
        let layers = value.get("layers").and_then(Value::as_array).into_iter().flatten();
        for layer_type in layers.filter_map(|layer| layer.get("type").and_then(Value::as_str)) {
            check_type(layer_type)?;
        }
        let spec: Self = serde_json::from_value(value).map_err(json)?;
        spec.check()?;
        Ok(spec)
    }

    /// The 26,010-parameter network of the private-learning literature for 28 x 28
    /// grey images and ten classes (Papernot et al., Tempered Sigmoid Activations, 2021).
    #[must_use]
    pub fn mnist_cnn() -> Self {
        let pool = LayerSpec::MaxPool2d { kernel: 2, stride: Some(1) };
        Self {
            input: vec![1, 28, 28],
            layers: vec![
                LayerSpec::conv2d(1, 16, 8, 2, 3),
                LayerSpec::Tanh,
                pool,
                LayerSpec::conv2d(16, 32, 4, 2, 0),
                LayerSpec::Tanh,
                pool,
                LayerSpec::Flatten,
                LayerSpec::linear(512, 32),
                LayerSpec::Tanh,
                LayerSpec::linear(32, 10),
            ],
            loss: Loss::CrossEntropy,
        }
    }

    /// A perceptron with one hidden tanh layer: `[inputs] -> hidden -> classes`.
    #[must_use]
    pub fn perceptron(inputs: usize, hidden: usize, classes: usize) -> Self {
        Self {
            input: vec![inputs],
            layers: vec![
                LayerSpec::linear(inputs, hidden),
                LayerSpec::Tanh,
                LayerSpec::linear(hidden, classes),
            ],
            loss: Loss::CrossEntropy,
        }
    }
}

impl LayerSpec {
    /// A linear layer with bias.
    #[must_use]
    pub fn linear(inputs: usize, outputs: usize) -> Self {
        Self::Linear { inputs, outputs, bias: true }
    }

    /// A convolution with bias.
    #[must_use]
    pub fn conv2d(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        Self::Conv2d { inputs, outputs, kernel, stride, padding, bias: true }
    }

    /// The type as written in JSON, one of [`LAYER_TYPES`].
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Conv2d { .. } => "conv2d",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::MaxPool2d { .. } => "max_pool2d",
            Self::AvgPool2d { .. } => "avg_pool2d",
            Self::Flatten => "flatten",
        }
    }
}

impl Serialize for LayerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

// By hand, because the derived reader names neither the reason for refusing BatchNorm
// nor fields that a layer without settings does not have.
impl<'de> Deserialize<'de> for LayerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        if let Some(layer_type) = fields.get("type").and_then(Value::as_str) {
            check_type(layer_type).map_err(D::Error::custom)?;
        }
        let names: Vec<String> = fields.keys().cloned().collect();
        let layer = Self::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        match names.iter().find(|name| layer.is_plain() && *name != "type") {
            Some(name) => {
                let layer_type = layer.type_name();
                Err(D::Error::custom(format_args!("{layer_type} has no setting `{name}`")))
            }
            None => Ok(layer),
        }
    }
}

impl LayerSpec {
    /// Whether the layer has no settings.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Relu | Self::Tanh | Self::Gelu | Self::Silu | Self::Sigmoid | Self::Flatten
        )
    }
}

fn check_type(layer_type: &str) -> Result<(), Error> {
    if MIXING_TYPES.contains(&layer_type) {
        return Err(Error::MixesExamples { layer_type: layer_type.to_owned() });
    }
    if !LAYER_TYPES.contains(&layer_type) {
        let layer_type = layer_type.to_owned();
        return Err(Error::UnknownLayer { layer_type, supported: LAYER_TYPES });
    }
    Ok(())
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}
