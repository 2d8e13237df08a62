//! The description of a model: plain data that travels with a task.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::Error;
use super::builder::{Architecture, ModelBuilder, Value};
use super::graph::Primitive;
use super::layers::{
    Conv1d, Conv2d, Embedding, GroupNorm, Gru, Layer, LayerNorm, Linear, Lstm, RmsNorm,
    SelfAttention,
};
use crate::data::features::FeatureSpec;

/// Layer types that [`LayerSpec`] knows, as they are written in JSON.
pub const LAYER_TYPES: &[&str] = &[
    "linear",
    "conv1d",
    "conv2d",
    "embedding",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "self_attention",
    "lstm",
    "gru",
    "residual",
    "relu",
    "tanh",
    "gelu",
    "silu",
    "sigmoid",
    "softmax",
    "dropout",
    "max_pool1d",
    "max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "flatten",
    "mean_sequence",
    "last_step",
    "transpose_sequence",
];

/// Types refused by name, because they mix the examples of a batch.
const MIXING_TYPES: &[&str] =
    &["batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d", "sync_batch_norm"];

/// Residual blocks inside each other, at most: descriptions come from servers.
const MOST_NESTED: usize = 16;

/// A model: what goes in, fixed features of it, the layers in order, and what is minimised.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Shape of one example, such as `[channels, height, width]`, `[features]` or, for
    /// tokens, `[length]`: as an app has it, before any features.
    pub input: Vec<usize>,
    /// Fixed features, which the layers see in place of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureSpec>,
    /// The layers, first to last. Parameters are named by position: `0.weight`, and inside
    /// of a residual block `3_0.weight`.
    pub layers: Vec<LayerSpec>,
    /// What training minimises.
    pub loss: Loss,
}

/// What training minimises, one value an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loss {
    /// `-log softmax(logits)[label]`, output `[classes]`; the target is one label, a whole
    /// number from 0.
    CrossEntropy,
    /// The mean of the cross-entropy over positions, output `[t, classes]`; the target is
    /// one label a position.
    SequenceCrossEntropy,
    /// The mean over outputs of the cross-entropy of `sigmoid(output)`; the target is one
    /// number from 0 to 1 for each output.
    BceWithLogits,
    /// The mean over outputs of `(output - target)^2`; one target for each output.
    Mse,
}

impl Loss {
    /// The name as written in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::SequenceCrossEntropy => "sequence_cross_entropy",
            Self::BceWithLogits => "bce_with_logits",
            Self::Mse => "mse",
        }
    }

    /// The outputs that it takes, in words.
    pub(super) fn takes(self) -> &'static str {
        match self {
            Self::CrossEntropy => "[classes]; end with flatten and linear",
            Self::SequenceCrossEntropy => "[length, classes]; end with linear on a sequence",
            Self::BceWithLogits | Self::Mse => "[outputs] or [length, outputs]",
        }
    }
}

/// One layer. Shapes are those of one example; images are `[channels, height, width]`.
/// In JSON `inputs` and `outputs` are called `in` and `out`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LayerSpec {
    /// See [`Linear`].
    Linear(Linear),
    /// See [`Conv1d`].
    Conv1d(Conv1d),
    /// See [`Conv2d`].
    Conv2d(Conv2d),
    /// See [`Embedding`].
    Embedding(Embedding),
    /// See [`LayerNorm`].
    LayerNorm(LayerNorm),
    /// See [`GroupNorm`].
    GroupNorm(GroupNorm),
    /// See [`RmsNorm`].
    RmsNorm(RmsNorm),
    /// See [`SelfAttention`].
    SelfAttention(SelfAttention),
    /// See [`Lstm`].
    Lstm(Lstm),
    /// See [`Gru`].
    Gru(Gru),
    /// `x + f(x)`, f the layers inside, which keep the shape.
    Residual {
        /// The layers of f.
        layers: Vec<LayerSpec>,
    },
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x Phi(x)` with the exact (erf) normal distribution function (Hendrycks and Gimpel,
    /// Gaussian Error Linear Units, 2016).
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Softmax over the last dimension.
    Softmax,
    /// Zeroes values while training (Srivastava et al., 2014). Masks are drawn for each
    /// example from a public seed, so that a restored run draws them again.
    Dropout {
        /// Probability of a zero, in [0, 1).
        rate: f32,
    },
    /// Largest value of each window: `[c, t] -> [c, t']`, no padding.
    #[serde(rename = "max_pool1d")]
    MaxPool1d(Window),
    /// Largest value of each window: `[c, h, w] -> [c, h', w']`, no padding.
    #[serde(rename = "max_pool2d")]
    MaxPool2d(Window),
    /// Mean of each window: `[c, t] -> [c, t']`, no padding.
    #[serde(rename = "avg_pool1d")]
    AvgPool1d(Window),
    /// Mean of each window: `[c, h, w] -> [c, h', w']`, no padding.
    #[serde(rename = "avg_pool2d")]
    AvgPool2d(Window),
    /// Mean of each channel: `[c, h, w] -> [c]`.
    #[serde(rename = "global_avg_pool2d")]
    GlobalAvgPool2d,
    /// Largest value of each channel: `[c, h, w] -> [c]`.
    #[serde(rename = "global_max_pool2d")]
    GlobalMaxPool2d,
    /// `[..] -> [product]`, row-major.
    Flatten,
    /// `[t, dim] -> [dim]`: mean over positions.
    MeanSequence,
    /// `[t, dim] -> [dim]`: the last position.
    LastStep,
    /// `[a, b] -> [b, a]`.
    TransposeSequence,
}

/// A pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows (default: the kernel).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
}

impl Window {
    fn stride(self) -> usize {
        self.stride.unwrap_or(self.kernel)
    }
}

impl ModelSpec {
    /// Reads a description and checks it whole, shapes included.
    ///
    /// # Errors
    /// What [`ModelSpec::check`] refuses, and JSON of another form.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json = |error: serde_json::Error| Error::Json { reason: error.to_string() };
        let value: Json = serde_json::from_str(text).map_err(json)?;
        check_types(value.get("layers"))?;
        let spec: Self = serde_json::from_value(value).map_err(json)?;
        spec.check()?;
        Ok(spec)
    }

    /// Checks the limits of features, and every layer against the shape that reaches it.
    ///
    /// # Errors
    /// [`Error::Features`], [`Error::EmptyInput`], [`Error::Setting`], [`Error::Shape`],
    /// [`Error::TooLarge`].
    pub fn check(&self) -> Result<(), Error> {
        self.architecture().map(|_| ())
    }

    /// The parameters that training changes, in flat order.
    ///
    /// # Errors
    /// As [`ModelSpec::check`].
    pub fn layout(&self) -> Result<adafed_algorithm::Layout, Error> {
        Ok(self.architecture()?.0.layout(true))
    }

    /// The layers that are described; what goes into them are the features, where there are
    /// some.
    ///
    /// # Errors
    /// As [`ModelSpec::check`].
    pub fn architecture(&self) -> Result<Architecture, Error> {
        let seen = self.features.as_ref().map(|features| features.shape(&self.input));
        let mut model = ModelBuilder::new(seen.transpose()?.as_ref().unwrap_or(&self.input))?;
        let input = model.input();
        let output = apply_all(&self.layers, &mut model, "", 0, input)?;
        let architecture = model.finish(output, self.loss)?;
        if self.features.is_some() {
            check_takes_numbers(&architecture)?;
        }
        Ok(architecture)
    }
}

/// Refuses an embedding of features: they are no tokens.
fn check_takes_numbers(architecture: &Architecture) -> Result<(), Error> {
    let mut first = architecture.0.nodes.iter().filter(|node| node.inputs.first() == Some(&0));
    match first.find(|node| matches!(node.op, Primitive::Embedding { .. })) {
        Some(node) => Err(Error::Setting {
            layer: node.layer.clone(),
            layer_type: node.layer_type,
            setting: "input",
            value: "features".to_owned(),
            expected: "tokens, as an app has them",
        }),
        None => Ok(()),
    }
}

fn apply_all(
    layers: &[LayerSpec],
    model: &mut ModelBuilder,
    prefix: &str,
    depth: usize,
    input: Value,
) -> Result<Value, Error> {
    let named = layers.iter().enumerate().map(|(i, layer)| (format!("{prefix}{i}"), layer));
    named.into_iter().try_fold(input, |value, (name, layer)| layer.add(model, &name, depth, value))
}

impl LayerSpec {
    /// A linear layer with bias.
    #[must_use]
    pub fn linear(inputs: usize, outputs: usize) -> Self {
        Self::Linear(Linear::new(inputs, outputs))
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
        Self::Conv2d(Conv2d::new(inputs, outputs, kernel).stride(stride).padding(padding))
    }

    /// Max pooling of images.
    #[must_use]
    pub fn max_pool2d(kernel: usize, stride: usize) -> Self {
        Self::MaxPool2d(Window { kernel, stride: Some(stride) })
    }

    fn add(
        &self,
        m: &mut ModelBuilder,
        name: &str,
        depth: usize,
        x: Value,
    ) -> Result<Value, Error> {
        m.begin(name, self.type_name());
        Ok(match self {
            Self::Linear(layer) => layer.apply(m, name, x)?,
            Self::Conv1d(layer) => layer.apply(m, name, x)?,
            Self::Conv2d(layer) => layer.apply(m, name, x)?,
            Self::Embedding(layer) => layer.apply(m, name, x)?,
            Self::LayerNorm(layer) => layer.apply(m, name, x)?,
            Self::GroupNorm(layer) => layer.apply(m, name, x)?,
            Self::RmsNorm(layer) => layer.apply(m, name, x)?,
            Self::SelfAttention(layer) => layer.apply(m, name, x)?,
            Self::Lstm(layer) => layer.apply(m, name, x)?,
            Self::Gru(layer) => layer.apply(m, name, x)?,
            Self::Residual { layers } => residual(layers, m, name, depth, x)?,
            Self::Relu => m.relu(x),
            Self::Tanh => m.tanh(x),
            Self::Gelu => m.gelu(x),
            Self::Silu => m.silu(x),
            Self::Sigmoid => m.sigmoid(x),
            Self::Softmax => m.softmax(x)?,
            Self::Dropout { rate } => m.dropout(*rate, x)?,
            Self::MaxPool1d(window) => m.max_pool1d(window.kernel, window.stride(), x)?,
            Self::MaxPool2d(window) => m.max_pool2d(window.kernel, window.stride(), x)?,
            Self::AvgPool1d(window) => m.avg_pool1d(window.kernel, window.stride(), x)?,
            Self::AvgPool2d(window) => m.avg_pool2d(window.kernel, window.stride(), x)?,
            Self::GlobalAvgPool2d => m.global_avg_pool2d(x)?,
            Self::GlobalMaxPool2d => m.global_max_pool2d(x)?,
            Self::Flatten => m.flatten(x)?,
            Self::MeanSequence => m.mean_sequence(x)?,
            Self::LastStep => m.last_step(x)?,
            Self::TransposeSequence => m.transpose_sequence(x)?,
        })
    }

    /// The type as written in JSON, one of [`LAYER_TYPES`].
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Conv1d(_) => "conv1d",
            Self::Conv2d(_) => "conv2d",
            Self::Embedding(_) => "embedding",
            Self::LayerNorm(_) => "layer_norm",
            Self::GroupNorm(_) => "group_norm",
            Self::RmsNorm(_) => "rms_norm",
            Self::SelfAttention(_) => "self_attention",
            Self::Lstm(_) => "lstm",
            Self::Gru(_) => "gru",
            Self::Residual { .. } => "residual",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
            Self::Dropout { .. } => "dropout",
            Self::MaxPool1d(_) => "max_pool1d",
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AvgPool1d(_) => "avg_pool1d",
            Self::AvgPool2d(_) => "avg_pool2d",
            Self::GlobalAvgPool2d => "global_avg_pool2d",
            Self::GlobalMaxPool2d => "global_max_pool2d",
            Self::Flatten => "flatten",
            Self::MeanSequence => "mean_sequence",
            Self::LastStep => "last_step",
            Self::TransposeSequence => "transpose_sequence",
        }
    }

    /// Whether the layer has no settings.
    fn is_plain(&self) -> bool {
        serde_json::to_value(self).is_ok_and(|json| json.as_object().is_some_and(|o| o.len() == 1))
    }
}

fn residual(
    layers: &[LayerSpec],
    m: &mut ModelBuilder,
    name: &str,
    depth: usize,
    input: Value,
) -> Result<Value, Error> {
    if layers.is_empty() {
        return Err(m.setting("layers", "empty", "at least one layer"));
    }
    if depth >= MOST_NESTED {
        return Err(m.setting("layers", "nested too deep", "at most 16 blocks inside each other"));
    }
    let output = apply_all(layers, m, &format!("{name}_"), depth + 1, input)?;
    m.begin(name, "residual");
    m.add(input, output)
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
        let fields = Map::<String, Json>::deserialize(deserializer)?;
        if let Some(layer_type) = fields.get("type").and_then(Json::as_str) {
            check_type(layer_type).map_err(D::Error::custom)?;
        }
        let names: Vec<String> = fields.keys().cloned().collect();
        let layer = Self::deserialize(Json::Object(fields)).map_err(D::Error::custom)?;
        match names.iter().find(|name| *name != "type" && layer.is_plain()) {
            Some(name) => {
                let layer_type = layer.type_name();
                Err(D::Error::custom(format_args!("{layer_type} has no setting `{name}`")))
            }
            None => Ok(layer),
        }
    }
}

/// Checks the types of a list of layers before anything is read from them, for an error
/// that can be matched on.
fn check_types(layers: Option<&Json>) -> Result<(), Error> {
    for layer in layers.and_then(Json::as_array).into_iter().flatten() {
        if let Some(layer_type) = layer.get("type").and_then(Json::as_str) {
            check_type(layer_type)?;
        }
        check_types(layer.get("layers"))?;
    }
    Ok(())
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
