//! Models put together layer by layer: shapes are checked as they grow.

use super::graph::{Convolution, Graph, Initial, Node, Primitive, Tensor, ValueId};
use super::{Error, Loss};
use crate::kernels::Activation;

/// Most values that one layer may have as parameters, or produce for one example.
/// Descriptions come from servers; this keeps every length far from overflow.
const MAX_VALUES: usize = 1 << 28;
/// Most operations of a model.
const MAX_NODES: usize = 1 << 14;

/// Puts a model together from layers, in Rust.
///
/// ```
/// use adafed::nn::{Conv2d, Layer, Linear, Loss, Model, ModelBuilder};
///
/// let mut m = ModelBuilder::new(&[1, 28, 28])?;
/// let x = m.input();
/// let x = Conv2d::new(1, 8, 3).padding(1).apply(&mut m, "first", x)?;
/// let y = m.relu(x);
/// let y = Conv2d::new(8, 8, 3).padding(1).apply(&mut m, "second", y)?;
/// let y = m.add(x, y)?;
/// let y = m.global_avg_pool2d(y)?;
/// let y = Linear::new(8, 10).apply(&mut m, "head", y)?;
/// let model = Model::of(m.finish(y, Loss::CrossEntropy)?)?;
/// assert_eq!(model.layout().tensors[0].name, "first.weight");
/// # Ok::<(), adafed::nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    graph: Graph,
    /// Name and type of the layer that nodes belong to.
    layer: (String, &'static str),
}

/// A value of a model that is being built: what goes in, or what a layer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(ValueId);

/// A complete model, its shapes checked; see [`Model::of`](super::Model::of).
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture(pub(crate) Graph);

impl ModelBuilder {
    /// A model of examples of one shape, such as `[channels, height, width]`, `[features]`
    /// or, for tokens, `[length]`.
    ///
    /// # Errors
    /// [`Error::EmptyInput`], [`Error::TooLarge`].
    pub fn new(input: &[usize]) -> Result<Self, Error> {
        if input.is_empty() || input.contains(&0) {
            return Err(Error::EmptyInput { shape: input.to_vec() });
        }
        let (input, nodes, tensors) = (input.to_vec(), Vec::new(), Vec::new());
        let graph = Graph { input, nodes, tensors, loss: Loss::CrossEntropy };
        let builder = Self { graph, layer: ("input".to_owned(), "input") };
        builder.check_size(&builder.graph.input)?;
        Ok(builder)
    }

    /// What goes in.
    #[must_use]
    pub fn input(&self) -> Value {
        Value(0)
    }

    /// Shape of one example of a value.
    #[must_use]
    pub fn shape(&self, value: Value) -> &[usize] {
        self.graph.shape(value.0)
    }

    /// The model whose output is `output`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the loss cannot take it, or it is not the last value made.
    pub fn finish(mut self, output: Value, loss: Loss) -> Result<Architecture, Error> {
        self.layer = ("output".to_owned(), loss.name());
        if output.0 != self.graph.nodes.len() || output.0 == 0 {
            return Err(self.misfit(output, "the value that was made last"));
        }
        // Once more for all nodes: those of activations are added without a check.
        self.check_size(&[])?;
        let fits = match loss {
            Loss::CrossEntropy => self.shape(output).len() == 1,
            Loss::SequenceCrossEntropy => self.shape(output).len() == 2,
            Loss::BceWithLogits | Loss::Mse => self.shape(output).len() <= 2,
        };
        if !fits {
            return Err(self.misfit(output, loss.takes()));
        }
        self.graph.loss = loss;
        Ok(Architecture(self.graph))
    }

    /// Names the layer that the next operations belong to.
    pub(super) fn begin(&mut self, name: &str, layer_type: &'static str) {
        self.layer = (name.to_owned(), layer_type);
    }

    pub(super) fn misfit(&self, value: Value, expected: impl Into<String>) -> Error {
        let (layer, layer_type) = self.layer.clone();
        let (found, expected) = (self.shape(value).to_vec(), expected.into());
        Error::Shape { layer, layer_type, found, expected }
    }

    pub(super) fn setting(
        &self,
        setting: &'static str,
        value: impl ToString,
        expected: &'static str,
    ) -> Error {
        let (layer, layer_type) = self.layer.clone();
        Error::Setting { layer, layer_type, setting, value: value.to_string(), expected }
    }

    /// Refuses settings that are zero or beyond any use.
    pub(super) fn positive(&self, settings: &[(&'static str, usize)]) -> Result<(), Error> {
        match settings.iter().find(|(_, value)| *value == 0 || *value > MAX_VALUES) {
            Some((name, value)) => Err(self.setting(name, value, "at least 1 and at most 2^28")),
            None => Ok(()),
        }
    }

    pub(super) fn check_size(&self, shape: &[usize]) -> Result<(), Error> {
        let product = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        match product {
            Some(values) if values <= MAX_VALUES && self.graph.nodes.len() < MAX_NODES => Ok(()),
            _ => {
                let (layer, layer_type) = self.layer.clone();
                Err(Error::TooLarge { layer, layer_type, limit: MAX_VALUES })
            }
        }
    }

    /// Adds a parameter tensor of the current layer; its index.
    pub(super) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        trainable: bool,
        initial: Initial,
    ) -> Result<usize, Error> {
        self.check_size(shape)?;
        let name = format!("{}.{name}", self.layer.0);
        if self.graph.tensors.iter().any(|tensor| tensor.name == name) {
            return Err(self.setting("name", &self.layer.0, "a name that no other layer has"));
        }
        self.graph.tensors.push(Tensor { name, shape: shape.to_vec(), trainable, initial });
        Ok(self.graph.tensors.len() - 1)
    }

    /// The tensor `<layer>.weight` of an earlier layer.
    pub(super) fn weight_of(&self, layer: &str) -> Option<(usize, &[usize])> {
        let name = format!("{layer}.weight");
        let found = self.graph.tensors.iter().position(|tensor| tensor.name == name)?;
        Some((found, &self.graph.tensors[found].shape))
    }

    /// Adds an operation.
    pub(super) fn node(
        &mut self,
        op: Primitive,
        inputs: &[Value],
        tensors: Vec<usize>,
        shape: Vec<usize>,
    ) -> Result<Value, Error> {
        self.check_size(&shape)?;
        let (layer, layer_type) = self.layer.clone();
        let inputs = inputs.iter().map(|value| value.0).collect();
        self.graph.nodes.push(Node { op, inputs, tensors, shape, layer, layer_type });
        Ok(Value(self.graph.nodes.len()))
    }

    /// Operations of one input that keep its shape and cannot fail: the size was checked.
    fn same(&mut self, layer_type: &'static str, op: Primitive, input: Value) -> Value {
        self.layer.1 = layer_type;
        let shape = self.shape(input).to_vec();
        let (layer, inputs) = (self.layer.0.clone(), vec![input.0]);
        self.graph.nodes.push(Node { op, inputs, tensors: Vec::new(), shape, layer, layer_type });
        Value(self.graph.nodes.len())
    }

    pub(super) fn reshape(&mut self, input: Value, shape: &[usize]) -> Result<Value, Error> {
        match self.shape(input) == shape {
            true => Ok(input),
            false => self.node(Primitive::Reshape, &[input], Vec::new(), shape.to_vec()),
        }
    }

    /// Applies an operation on rows: images `[a, b, c]` become `[a b, c]` for it.
    pub(super) fn on_rows(
        &mut self,
        input: Value,
        apply: impl FnOnce(&mut Self, Value) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let shape = self.shape(input).to_vec();
        let [a, b, c] = shape[..] else { return apply(self, input) };
        let rows = self.reshape(input, &[a * b, c])?;
        let output = apply(self, rows)?;
        let last = self.shape(output).last().copied().unwrap_or(1);
        self.reshape(output, &[a, b, last])
    }

    /// Value by value; see [`LayerSpec`](super::LayerSpec) for the formulas.
    pub(super) fn activation(
        &mut self,
        layer_type: &'static str,
        function: Activation,
        input: Value,
    ) -> Value {
        self.same(layer_type, Primitive::Activation(function), input)
    }

    /// `max(x, 0)`, value by value.
    pub fn relu(&mut self, input: Value) -> Value {
        self.activation("relu", Activation::Relu, input)
    }

    /// Hyperbolic tangent, value by value.
    pub fn tanh(&mut self, input: Value) -> Value {
        self.activation("tanh", Activation::Tanh, input)
    }

    /// `x Phi(x)` with the exact normal distribution function, value by value.
    pub fn gelu(&mut self, input: Value) -> Value {
        self.activation("gelu", Activation::Gelu, input)
    }

    /// `x sigmoid(x)`, value by value.
    pub fn silu(&mut self, input: Value) -> Value {
        self.activation("silu", Activation::Silu, input)
    }

    /// `1 / (1 + exp(-x))`, value by value.
    pub fn sigmoid(&mut self, input: Value) -> Value {
        self.activation("sigmoid", Activation::Sigmoid, input)
    }

    /// Over the last dimension.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn softmax(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "softmax";
        self.on_rows(input, |m, rows| Ok(m.same("softmax", Primitive::Softmax, rows)))
    }

    /// Zeroes values with probability `rate` while training, and scales the others up.
    ///
    /// # Errors
    /// [`Error::Setting`] for a rate outside of [0, 1).
    pub fn dropout(&mut self, rate: f32, input: Value) -> Result<Value, Error> {
        self.layer.1 = "dropout";
        if !(0.0..1.0).contains(&rate) {
            return Err(self.setting("rate", rate, "a number in [0, 1)"));
        }
        Ok(self.same("dropout", Primitive::Dropout { rate }, input))
    }

    /// `[..] -> [product]`, row-major.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn flatten(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "flatten";
        let len = self.shape(input).iter().product();
        self.reshape(input, &[len])
    }

    /// `a + b`, of one shape.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes differ.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.layer.1 = "residual";
        self.add_scaled(a, b, 1.0)
    }

    pub(super) fn add_scaled(&mut self, a: Value, b: Value, scale: f32) -> Result<Value, Error> {
        let shape = self.shape(a).to_vec();
        if self.shape(b) != shape {
            return Err(self.misfit(b, format!("{shape:?}, the shape of what it is added to")));
        }
        self.node(Primitive::Add { scale }, &[a, b], Vec::new(), shape)
    }

    /// `[t, dim] -> [dim]`: the mean over positions.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn mean_sequence(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "mean_sequence";
        self.shorten(Primitive::MeanSequence, input)
    }

    /// `[t, dim] -> [dim]`: the last position.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn last_step(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "last_step";
        self.shorten(Primitive::LastStep, input)
    }

    fn shorten(&mut self, op: Primitive, input: Value) -> Result<Value, Error> {
        match *self.shape(input) {
            [_, dim] => self.node(op, &[input], Vec::new(), vec![dim]),
            _ => Err(self.misfit(input, "[length, dim]")),
        }
    }

    /// `[a, b] -> [b, a]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn transpose_sequence(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "transpose_sequence";
        match *self.shape(input) {
            [a, b] => self.node(Primitive::Transpose, &[input], Vec::new(), vec![b, a]),
            _ => Err(self.misfit(input, "[length, dim]")),
        }
    }

    /// Largest value of each window: `[c, h, w] -> [c, h', w']`, no padding.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`].
    pub fn max_pool2d(&mut self, kernel: usize, stride: usize, x: Value) -> Result<Value, Error> {
        self.layer.1 = "max_pool2d";
        self.pool(false, [kernel; 2], [stride; 2], x)
    }

    /// Mean of each window: `[c, h, w] -> [c, h', w']`, no padding.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`].
    pub fn avg_pool2d(&mut self, kernel: usize, stride: usize, x: Value) -> Result<Value, Error> {
        self.layer.1 = "avg_pool2d";
        self.pool(true, [kernel; 2], [stride; 2], x)
    }

    /// Largest value of each window: `[c, t] -> [c, t']`, no padding.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`].
    pub fn max_pool1d(&mut self, kernel: usize, stride: usize, x: Value) -> Result<Value, Error> {
        self.layer.1 = "max_pool1d";
        self.as_image(x, |m, x| m.pool(false, [1, kernel], [1, stride], x))
    }

    /// Mean of each window: `[c, t] -> [c, t']`, no padding.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`].
    pub fn avg_pool1d(&mut self, kernel: usize, stride: usize, x: Value) -> Result<Value, Error> {
        self.layer.1 = "avg_pool1d";
        self.as_image(x, |m, x| m.pool(true, [1, kernel], [1, stride], x))
    }

    /// Mean of each channel: `[c, h, w] -> [c]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn global_avg_pool2d(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "global_avg_pool2d";
        self.pool_all(true, input)
    }

    /// Largest value of each channel: `[c, h, w] -> [c]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn global_max_pool2d(&mut self, input: Value) -> Result<Value, Error> {
        self.layer.1 = "global_max_pool2d";
        self.pool_all(false, input)
    }

    fn pool_all(&mut self, average: bool, input: Value) -> Result<Value, Error> {
        let [channels, height, width] = *self.shape(input) else {
            return Err(self.misfit(input, "[channels, height, width]"));
        };
        let pooled = self.pool(average, [height, width], [height, width], input)?;
        self.reshape(pooled, &[channels])
    }

    fn pool(
        &mut self,
        average: bool,
        kernel: [usize; 2],
        stride: [usize; 2],
        input: Value,
    ) -> Result<Value, Error> {
        self.positive(&[("kernel", kernel[0]), ("kernel", kernel[1])])?;
        self.positive(&[("stride", stride[0]), ("stride", stride[1])])?;
        let side = |length: usize, i: usize| Some(length.checked_sub(kernel[i])? / stride[i] + 1);
        let shape = match *self.shape(input) {
            [channels, height, width] => side(height, 0)
                .zip(side(width, 1))
                .map(|(height, width)| vec![channels, height, width]),
            _ => None,
        };
        let [height, width] = kernel;
        let Some(shape) = shape else {
            let expected = format!("[channels, {height} or more, {width} or more]");
            return Err(self.misfit(input, expected));
        };
        self.node(Primitive::Pool { average, kernel, stride }, &[input], Vec::new(), shape)
    }

    /// Applies an operation on images to `[c, t]`, as `[c, 1, t]`.
    pub(super) fn as_image(
        &mut self,
        input: Value,
        apply: impl FnOnce(&mut Self, Value) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let [channels, length] = *self.shape(input) else {
            return Err(self.misfit(input, "[channels, length]"));
        };
        let image = self.reshape(input, &[channels, 1, length])?;
        let output = apply(self, image)?;
        let [channels, _, length] = *self.shape(output) else { return Ok(output) };
        self.reshape(output, &[channels, length])
    }

    /// A convolution with its tensors; `weight` is the weight's shape.
    pub(super) fn convolution(
        &mut self,
        geometry: Convolution,
        tensors: Vec<usize>,
        bias: bool,
        input: Value,
    ) -> Result<Value, Error> {
        let Convolution { inputs, outputs, kernel, stride, padding, dilation, .. } = geometry;
        let side = |length: usize, i: usize| {
            let reach = (kernel[i] - 1).checked_mul(dilation[i])?;
            Some((length + 2 * padding[i]).checked_sub(reach + 1)? / stride[i] + 1)
        };
        let shape = match *self.shape(input) {
            [channels, height, width] if channels == inputs => side(height, 0)
                .zip(side(width, 1))
                .map(|(height, width)| vec![outputs, height, width]),
            _ => None,
        };
        let Some(shape) = shape else {
            let expected = format!("[{inputs}, height, width] that the kernel fits into");
            return Err(self.misfit(input, expected));
        };
        let padded = |i: usize| self.shape(input)[1 + i] + 2 * padding[i];
        self.check_size(&[padded(0), padded(1), inputs])?;
        self.node(Primitive::Conv2d { geometry, bias }, &[input], tensors, shape)
    }
}
