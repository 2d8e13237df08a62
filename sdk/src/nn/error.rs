//! What can be wrong with a model description or with what is given to a model.

/// An error of the model layer, grouped by who is to blame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: the model description is not the JSON of a `ModelSpec`.
    #[error("the model description is not valid: {reason}; see `ModelSpec` for its form")]
    Json {
        /// What the JSON reader said, with line and column where known.
        reason: String,
    },
    /// Caller: a layer type that AdaFed does not have.
    #[error(
        "layer type `{layer_type}` is not supported; supported are {}", .supported.join(", ")
    )]
    UnknownLayer {
        /// The type asked for.
        layer_type: String,
        /// The types there are.
        supported: &'static [&'static str],
    },
    /// Caller: a layer whose output for one example depends on the other examples.
    #[error(
        "layer type `{layer_type}` mixes examples, so no gradient belongs to one example alone \
         and differential privacy cannot bound its influence; replace it by group_norm"
    )]
    MixesExamples {
        /// The type asked for.
        layer_type: String,
    },
    /// Caller: a setting of one layer has a value that means nothing.
    #[error("layer {layer} ({layer_type}): {setting} is {value}, expected {expected}")]
    Setting {
        /// Name of the layer: its position, such as `3_0`.
        layer: String,
        /// Type of the layer.
        layer_type: &'static str,
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Caller: a layer does not fit what comes out of the one before it.
    #[error("layer {layer} ({layer_type}) is given shape {found:?}, expected {expected}")]
    Shape {
        /// Name of the layer: its position, such as `3_0`.
        layer: String,
        /// Type of the layer, or of the loss.
        layer_type: &'static str,
        /// Shape of one example that reaches the layer.
        found: Vec<usize>,
        /// What the layer takes.
        expected: String,
    },
    /// Caller: the input shape has no dimension, or an empty one.
    #[error("the input shape {shape:?} holds no values; every dimension must be at least 1")]
    EmptyInput {
        /// The refused shape.
        shape: Vec<usize>,
    },
    /// Caller: nothing to train.
    #[error("the model has nothing to train; add a linear layer, or let one be trainable")]
    NoParameters,
    /// Caller: a model too large to address.
    #[error(
        "layer {layer} ({layer_type}) needs more than {limit} values for its parameters or for \
         one example, or the model has too many layers; use a smaller one"
    )]
    TooLarge {
        /// Name of the layer: its position, such as `3_0`.
        layer: String,
        /// Type of the layer.
        layer_type: &'static str,
        /// Most values allowed.
        limit: usize,
    },
    /// Caller: a parameter vector of another model.
    #[error("{found} parameters were given, the model has {expected}")]
    Parameters {
        /// Number given.
        found: usize,
        /// Number the layout calls for.
        expected: usize,
    },
    /// Caller: inputs that are not the stated number of whole examples.
    #[error("{found} input values were given for {examples} examples, expected {expected}")]
    Inputs {
        /// Values given.
        found: usize,
        /// Examples stated, or labels given.
        examples: usize,
        /// Values these examples have.
        expected: usize,
    },
    /// Caller: targets that are not a whole number of targets.
    #[error("{found} target values were given, expected {expected} for each example")]
    Targets {
        /// Values given.
        found: usize,
        /// Values of one target.
        expected: usize,
    },
    /// Caller: a label that the model has no output for.
    #[error(
        "example {example} has label {label}, expected a whole number from 0 to {}",
        .classes.saturating_sub(1)
    )]
    Label {
        /// Index of the example.
        example: usize,
        /// The refused label.
        label: f32,
        /// Number of classes of the model.
        classes: usize,
    },
    /// Caller: an input that names no row of an embedding.
    #[error(
        "layer {layer} (embedding): example {example}, position {position} holds {value}, \
         expected a whole number from 0 to {}", .rows.saturating_sub(1)
    )]
    Token {
        /// Name of the layer: its position.
        layer: String,
        /// Index of the example.
        example: usize,
        /// Position within the example.
        position: usize,
        /// The refused value.
        value: f32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// Caller: a parameter that is NaN or infinite.
    #[error("parameter {index}, in tensor `{tensor}`, is {value}; every parameter must be finite")]
    NotFiniteParameter {
        /// Name of its tensor.
        tensor: String,
        /// Flat index.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Caller: an example whose loss is NaN or infinite.
    #[error(
        "the loss of example {example} is {loss}: its input is not finite, or the parameters \
         have grown without bound; check the example, or lower the learning rate"
    )]
    NotFiniteLoss {
        /// Index of the example.
        example: usize,
        /// Its loss.
        loss: f32,
    },
    /// Environment or caller: a file of parameters that cannot be used.
    #[error("{file}: {reason}")]
    Weights {
        /// The file.
        file: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Caller or peer: features that cannot be had.
    #[error(transparent)]
    Features(#[from] crate::data::Error),
    /// Environment: a device that cannot be used, or that failed.
    #[error(transparent)]
    Device(#[from] super::device::Error),
}

impl Error {
    /// Stable name of the error, for logs and for callers of other languages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json { .. } => "nn.json",
            Self::UnknownLayer { .. } => "nn.unknown_layer",
            Self::MixesExamples { .. } => "nn.mixes_examples",
            Self::Setting { .. } => "nn.setting",
            Self::Shape { .. } => "nn.shape",
            Self::EmptyInput { .. } => "nn.empty_input",
            Self::NoParameters => "nn.no_parameters",
            Self::TooLarge { .. } => "nn.too_large",
            Self::Parameters { .. } => "nn.parameters",
            Self::Inputs { .. } => "nn.inputs",
            Self::Targets { .. } => "nn.targets",
            Self::Label { .. } => "nn.label",
            Self::Token { .. } => "nn.token",
            Self::NotFiniteParameter { .. } => "nn.not_finite_parameter",
            Self::NotFiniteLoss { .. } => "nn.not_finite_loss",
            Self::Weights { .. } => "nn.weights",
            Self::Features(error) => error.code(),
            Self::Device(_) => "nn.device",
        }
    }

    /// Whether the same call can succeed later: never, all of these are decided by
    /// their arguments.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}
