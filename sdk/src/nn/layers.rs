//! Layers with parameters. Each is plain data: a line of a model's description, and a
//! part for models written in Rust ([`ModelBuilder`](super::ModelBuilder)).

use serde::{Deserialize, Serialize};

use super::Error;
use super::builder::{ModelBuilder, Value};
use super::graph::{Convolution, Initial, Primitive};

/// What can be applied to a value of a model under construction.
pub trait Layer {
    /// Adds the layer under a name, which its parameters are called by: `<name>.weight`.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`], [`Error::TooLarge`], all naming the layer.
    fn apply(&self, model: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error>;
}

/// Low-rank adaptation (Hu et al., LoRA, 2021, section 4.1): the layer's own weight W is
/// frozen, and `W x + (alpha / rank) B A x` is used, A `[rank, in]`, B `[out, rank]`. B
/// starts at zero, so training starts from the pre-trained model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rank of the change.
    pub rank: usize,
    /// Scale of the change, divided by the rank.
    pub alpha: f32,
}

macro_rules! settings {
    ($type:ident: $($(#[$doc:meta])* $name:ident: $value:ty),*) => {
        impl $type {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $value) -> Self {
                self.$name = $name;
                self
            })*
        }
    };
}

/// `y = x W^T + b` on the last dimension: `[.., in] -> [.., out]`, W `[out, in]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    #[serde(rename = "in")]
    inputs: usize,
    #[serde(rename = "out")]
    outputs: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "yes")]
    trainable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora: Option<Lora>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tied: Option<String>,
}

settings!(Linear:
    /// Whether b is there (default: yes).
    bias: bool,
    /// Whether training changes the layer (default: yes).
    trainable: bool,
    /// Trains a low-rank change instead of the weight.
    lora: Option<Lora>,
    /// Uses the weight `[num, dim]` of the embedding of this name as W `[out, in]`.
    tied: Option<String>
);

impl Linear {
    /// With bias, trained.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, bias: true, trainable: true, lora: None, tied: None }
    }

    /// The layer with its tensors under a prefix, such as `q.`.
    fn add(&self, m: &mut ModelBuilder, prefix: &str, input: Value) -> Result<Value, Error> {
        let Self { inputs, outputs, bias, .. } = *self;
        m.positive(&[("in", inputs), ("out", outputs)])?;
        if m.shape(input).last() != Some(&inputs) {
            return Err(m.misfit(input, format!("[.., {inputs}]")));
        }
        let initial = uniform(inputs);
        let trained = self.trainable && self.lora.is_none();
        let weight = match &self.tied {
            Some(layer) => self.tied_weight(m, layer)?,
            None => m.tensor(&format!("{prefix}weight"), &[outputs, inputs], trained, initial)?,
        };
        let mut tensors = vec![weight];
        if bias {
            tensors.push(m.tensor(&format!("{prefix}bias"), &[outputs], trained, initial)?);
        }
        m.on_rows(input, |m, rows| {
            let base = linear(m, rows, outputs, tensors, bias)?;
            match self.lora {
                Some(lora) => self.adapt(m, prefix, lora, rows, base),
                None => Ok(base),
            }
        })
    }

    fn tied_weight(&self, m: &ModelBuilder, layer: &str) -> Result<usize, Error> {
        match m.weight_of(layer) {
            Some((tensor, shape)) if shape == [self.outputs, self.inputs] => Ok(tensor),
            _ => Err(m.setting("tied", layer, "an earlier embedding with num = out and dim = in")),
        }
    }

    fn adapt(
        &self,
        m: &mut ModelBuilder,
        prefix: &str,
        Lora { rank, alpha }: Lora,
        input: Value,
        base: Value,
    ) -> Result<Value, Error> {
        m.positive(&[("rank", rank)])?;
        if !alpha.is_finite() {
            return Err(m.setting("alpha", alpha, "a finite number"));
        }
        let (a, b) = (format!("{prefix}lora_a"), format!("{prefix}lora_b"));
        let a = m.tensor(&a, &[rank, self.inputs], self.trainable, uniform(self.inputs))?;
        let b = m.tensor(&b, &[self.outputs, rank], self.trainable, Initial::Constant(0.0))?;
        let low = linear(m, input, rank, vec![a], false)?;
        let change = linear(m, low, self.outputs, vec![b], false)?;
        m.add_scaled(base, change, alpha / rank as f32)
    }
}

impl Layer for Linear {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "linear");
        self.add(m, "", input)
    }
}

/// A linear operation on at most two dimensions.
fn linear(
    m: &mut ModelBuilder,
    input: Value,
    outputs: usize,
    tensors: Vec<usize>,
    bias: bool,
) -> Result<Value, Error> {
    let mut shape = m.shape(input).to_vec();
    let inputs = std::mem::replace(shape.last_mut().expect("no value is without shape"), outputs);
    m.node(Primitive::Linear { inputs, outputs, bias }, &[input], tensors, shape)
}

macro_rules! convolution {
    ($(#[$doc:meta])* $type:ident, $name:literal, $sides:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $type {
            #[serde(rename = "in")]
            inputs: usize,
            #[serde(rename = "out")]
            outputs: usize,
            kernel: usize,
            #[serde(default = "one")]
            stride: usize,
            #[serde(default)]
            padding: usize,
            #[serde(default = "one")]
            dilation: usize,
            #[serde(default = "one")]
            groups: usize,
            #[serde(default = "yes")]
            bias: bool,
            #[serde(default = "yes")]
            trainable: bool,
        }

        settings!($type:
            /// Step between positions (default: 1).
            stride: usize,
            /// Zeros added on each side, less than the kernel's reach (default: 0).
            padding: usize,
            /// Distance between the values under neighbouring kernel entries (default: 1).
            dilation: usize,
            /// Blocks of channels that do not see each other (default: 1); as many as
            /// channels: a depthwise convolution.
            groups: usize,
            /// Whether there is one bias a channel (default: yes).
            bias: bool,
            /// Whether training changes the layer (default: yes).
            trainable: bool
        );

        impl $type {
            /// Stride 1, no padding, with bias, trained.
            #[must_use]
            pub fn new(inputs: usize, outputs: usize, kernel: usize) -> Self {
                let (stride, padding, dilation, groups) = (1, 0, 1, 1);
                let (bias, trainable) = (true, true);
                Self {
                    inputs, outputs, kernel, stride, padding, dilation, groups, bias, trainable,
                }
            }

            fn tensors(&self, m: &mut ModelBuilder) -> Result<Vec<usize>, Error> {
                let Self { inputs, outputs, kernel, stride, padding, dilation, groups, .. } = *self;
                m.positive(&[
                    ("in", inputs), ("out", outputs), ("kernel", kernel), ("stride", stride),
                    ("dilation", dilation), ("groups", groups),
                ])?;
                if inputs % groups != 0 || outputs % groups != 0 {
                    return Err(m.setting("groups", groups, "a divisor of in and out"));
                }
                if padding > (kernel - 1).saturating_mul(dilation) {
                    return Err(m.setting("padding", padding, "less than the kernel's reach"));
                }
                let mut shape = vec![outputs, inputs / groups];
                shape.resize(2 + $sides, kernel);
                let fan_in = shape[1..].iter().fold(1_usize, |n, side| n.saturating_mul(*side));
                let mut tensors = vec![m.tensor("weight", &shape, self.trainable, uniform(fan_in))?];
                if self.bias {
                    tensors.push(m.tensor("bias", &[outputs], self.trainable, uniform(fan_in))?);
                }
                Ok(tensors)
            }
        }
    };
}

convolution!(
    /// Cross-correlation with square kernels, W `[out, in / groups, kernel, kernel]`:
    /// `[in, h, w] -> [out, h', w']`,
    /// `h' = (h + 2 padding - dilation (kernel - 1) - 1) / stride + 1`.
    Conv2d, "conv2d", 2
);

convolution!(
    /// Cross-correlation along a sequence, W `[out, in / groups, kernel]`:
    /// `[in, t] -> [out, t']`, t' as for [`Conv2d`].
    Conv1d, "conv1d", 1
);

impl Layer for Conv2d {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "conv2d");
        let Self { inputs, outputs, groups, .. } = *self;
        let tensors = self.tensors(m)?;
        let geometry = Convolution {
            inputs,
            outputs,
            kernel: [self.kernel; 2],
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            dilation: [self.dilation; 2],
            groups,
        };
        m.convolution(geometry, tensors, self.bias, input)
    }
}

impl Layer for Conv1d {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "conv1d");
        let Self { inputs, outputs, groups, .. } = *self;
        let tensors = self.tensors(m)?;
        let geometry = Convolution {
            inputs,
            outputs,
            kernel: [1, self.kernel],
            stride: [1, self.stride],
            padding: [0, self.padding],
            dilation: [1, self.dilation],
            groups,
        };
        m.as_image(input, |m, image| m.convolution(geometry, tensors, self.bias, image))
    }
}

/// Table look-up: whole numbers below `num`, `[t] -> [t, dim]`, weight `[num, dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    num: usize,
    dim: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

settings!(Embedding:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

impl Embedding {
    /// Trained.
    #[must_use]
    pub fn new(num: usize, dim: usize) -> Self {
        Self { num, dim, trainable: true }
    }
}

impl Layer for Embedding {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "embedding");
        let Self { num, dim, trainable } = *self;
        m.positive(&[("num", num), ("dim", dim)])?;
        if input != m.input() {
            return Err(m.misfit(input, "the model's input: whole numbers come from nowhere else"));
        }
        let [length] = *m.shape(input) else { return Err(m.misfit(input, "[length]")) };
        // Variance 1.
        let initial = Initial::Uniform { bound: 3_f32.sqrt() };
        let weight = m.tensor("weight", &[num, dim], trainable, initial)?;
        m.node(Primitive::Embedding { num, dim }, &[input], vec![weight], vec![length, dim])
    }
}

/// Mean 0 and variance 1 over the last dimension, eps 1e-5, then `weight x + bias` (Ba et
/// al., Layer Normalization, 2016): `[.., dim] -> [.., dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    dim: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

/// Mean square 1 over the last dimension, eps 1e-5, then `weight x` (Zhang and Sennrich,
/// Root Mean Square Layer Normalization, 2019): `[.., dim] -> [.., dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmsNorm {
    dim: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

settings!(LayerNorm:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

settings!(RmsNorm:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

impl LayerNorm {
    /// Trained.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { dim, trainable: true }
    }
}

impl RmsNorm {
    /// Trained.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { dim, trainable: true }
    }
}

impl Layer for LayerNorm {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "layer_norm");
        row_norm(m, Primitive::LayerNorm { dim: self.dim }, self.dim, self.trainable, input)
    }
}

impl Layer for RmsNorm {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "rms_norm");
        row_norm(m, Primitive::RmsNorm { dim: self.dim }, self.dim, self.trainable, input)
    }
}

fn row_norm(
    m: &mut ModelBuilder,
    op: Primitive,
    dim: usize,
    trainable: bool,
    input: Value,
) -> Result<Value, Error> {
    m.positive(&[("dim", dim)])?;
    if m.shape(input).last() != Some(&dim) {
        return Err(m.misfit(input, format!("[.., {dim}]")));
    }
    let bias = matches!(op, Primitive::LayerNorm { .. });
    let tensors = norm_tensors(m, dim, trainable, bias)?;
    m.on_rows(input, |m, rows| {
        let shape = m.shape(rows).to_vec();
        m.node(op, &[rows], tensors, shape)
    })
}

fn norm_tensors(
    m: &mut ModelBuilder,
    dim: usize,
    trainable: bool,
    bias: bool,
) -> Result<Vec<usize>, Error> {
    let mut tensors = vec![m.tensor("weight", &[dim], trainable, Initial::Constant(1.0))?];
    if bias {
        tensors.push(m.tensor("bias", &[dim], trainable, Initial::Constant(0.0))?);
    }
    Ok(tensors)
}

/// Mean 0 and variance 1 over each group of channels, eps 1e-5, then `weight x + bias` for
/// each channel (Wu and He, Group Normalization, 2018): `[channels, h, w]` or
/// `[channels, t]`, shape kept. Takes the place of batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    groups: usize,
    channels: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

settings!(GroupNorm:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

impl GroupNorm {
    /// Trained.
    #[must_use]
    pub fn new(groups: usize, channels: usize) -> Self {
        Self { groups, channels, trainable: true }
    }
}

impl Layer for GroupNorm {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "group_norm");
        let Self { groups, channels, trainable } = *self;
        m.positive(&[("groups", groups), ("channels", channels)])?;
        if channels % groups != 0 {
            return Err(m.setting("groups", groups, "a divisor of channels"));
        }
        if m.shape(input).first() != Some(&channels) || m.shape(input).len() < 2 {
            return Err(m.misfit(input, format!("[{channels}, height, width]")));
        }
        let tensors = norm_tensors(m, channels, trainable, true)?;
        let op = Primitive::GroupNorm { groups, channels };
        let apply = |m: &mut ModelBuilder, image| {
            let shape = m.shape(image).to_vec();
            m.node(op, &[image], tensors, shape)
        };
        if m.shape(input).len() == 3 { apply(m, input) } else { m.as_image(input, apply) }
    }
}

/// Multi-head self-attention (Vaswani et al., Attention Is All You Need, 2017, section
/// 3.2): `[t, dim] -> [t, dim]`, with linear layers q, k, v before and o after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfAttention {
    dim: usize,
    heads: usize,
    #[serde(default)]
    causal: bool,
    #[serde(default = "yes")]
    trainable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora: Option<Lora>,
}

settings!(SelfAttention:
    /// Whether a position sees only those up to itself (default: no).
    causal: bool,
    /// Whether training changes the layer (default: yes).
    trainable: bool,
    /// Trains low-rank changes of the four linear layers instead of their weights.
    lora: Option<Lora>
);

impl SelfAttention {
    /// Every position sees all others; trained.
    #[must_use]
    pub fn new(dim: usize, heads: usize) -> Self {
        Self { dim, heads, causal: false, trainable: true, lora: None }
    }
}

impl Layer for SelfAttention {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "self_attention");
        let Self { dim, heads, causal, trainable, lora } = *self;
        m.positive(&[("dim", dim), ("heads", heads)])?;
        if dim % heads != 0 {
            return Err(m.setting("heads", heads, "a divisor of dim"));
        }
        match *m.shape(input) {
            [length, found] if found == dim => m.check_size(&[heads, length, length])?,
            _ => return Err(m.misfit(input, format!("[length, {dim}]"))),
        }
        let projection = Linear::new(dim, dim).trainable(trainable).lora(lora);
        let q = projection.add(m, "q.", input)?;
        let k = projection.add(m, "k.", input)?;
        let v = projection.add(m, "v.", input)?;
        let shape = m.shape(input).to_vec();
        let seen = m.node(Primitive::Attend { heads, causal }, &[q, k, v], Vec::new(), shape)?;
        projection.add(m, "o.", seen)
    }
}

/// Long short-term memory (Hochreiter and Schmidhuber, 1997): `[t, in] -> [t, hidden]`,
/// gates in the order input, forget, cell, output; tensors w_ih `[4 hidden, in]`, w_hh
/// `[4 hidden, hidden]`, b_ih and b_hh `[4 hidden]`. Starts from zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lstm {
    #[serde(rename = "in")]
    inputs: usize,
    hidden: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

/// Gated recurrent unit (Cho et al., 2014): `[t, in] -> [t, hidden]`, gates in the order
/// reset, update, new, with the reset gate applied after the hidden product; tensors as
/// for [`Lstm`], with 3 in the place of 4. Starts from zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gru {
    #[serde(rename = "in")]
    inputs: usize,
    hidden: usize,
    #[serde(default = "yes")]
    trainable: bool,
}

settings!(Lstm:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

settings!(Gru:
    /// Whether training changes the layer (default: yes).
    trainable: bool
);

impl Lstm {
    /// Trained.
    #[must_use]
    pub fn new(inputs: usize, hidden: usize) -> Self {
        Self { inputs, hidden, trainable: true }
    }
}

impl Gru {
    /// Trained.
    #[must_use]
    pub fn new(inputs: usize, hidden: usize) -> Self {
        Self { inputs, hidden, trainable: true }
    }
}

impl Layer for Lstm {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "lstm");
        let Self { inputs, hidden, trainable } = *self;
        recurrent(m, Primitive::Lstm { hidden }, 4, [inputs, hidden], trainable, input)
    }
}

impl Layer for Gru {
    fn apply(&self, m: &mut ModelBuilder, name: &str, input: Value) -> Result<Value, Error> {
        m.begin(name, "gru");
        let Self { inputs, hidden, trainable } = *self;
        recurrent(m, Primitive::Gru { hidden }, 3, [inputs, hidden], trainable, input)
    }
}

fn recurrent(
    m: &mut ModelBuilder,
    op: Primitive,
    gates: usize,
    [inputs, hidden]: [usize; 2],
    trainable: bool,
    input: Value,
) -> Result<Value, Error> {
    m.positive(&[("in", inputs), ("hidden", hidden)])?;
    let length = match *m.shape(input) {
        [length, found] if found == inputs => length,
        _ => return Err(m.misfit(input, format!("[length, {inputs}]"))),
    };
    let (rows, initial) = (gates * hidden, uniform(hidden));
    let w_ih = m.tensor("w_ih", &[rows, inputs], trainable, initial)?;
    let w_hh = m.tensor("w_hh", &[rows, hidden], trainable, initial)?;
    let b_ih = m.tensor("b_ih", &[rows], trainable, initial)?;
    let b_hh = m.tensor("b_hh", &[rows], trainable, initial)?;
    let gates = linear(m, input, rows, vec![w_ih, b_ih], true)?;
    m.node(op, &[gates], vec![w_hh, b_hh], vec![length, hidden])
}

/// Uniform on `+-1 / sqrt(fan in)`.
fn uniform(fan_in: usize) -> Initial {
    Initial::Uniform { bound: 1.0 / (fan_in as f32).sqrt() }
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}
