//! Shapes and parameters that follow from a description.

use adafed_algorithm::{Layout, TensorLayout};

use super::{Error, LayerSpec, Loss, ModelSpec};

/// Most values that one layer may have as parameters, or produce for one example.
/// Descriptions come from servers; this keeps every length far from overflow.
const MAX_VALUES: usize = 1 << 28;

impl ModelSpec {
    /// Checks every layer against the shape that reaches it.
    ///
    /// # Errors
    /// [`Error::EmptyInput`], [`Error::Setting`], [`Error::Shape`], [`Error::TooLarge`].
    pub fn check(&self) -> Result<(), Error> {
        self.shapes().map(|_| ())
    }

    /// Number of outputs (classes) of the model.
    ///
    /// # Errors
    /// As [`ModelSpec::check`].
    pub fn output_len(&self) -> Result<usize, Error> {
        let shapes = self.shapes()?;
        Ok(shapes.last().map_or(0, |shape| shape.iter().product()))
    }

    /// The parameters in flat order, named `<layer>.weight` and `<layer>.bias`.
    ///
    /// # Errors
    /// As [`ModelSpec::check`].
    pub fn layout(&self) -> Result<Layout, Error> {
        self.check()?;
        let named = |(index, layer): (usize, &LayerSpec)| {
            layer
                .tensors()
                .into_iter()
                .map(move |(name, shape)| TensorLayout { name: format!("{index}.{name}"), shape })
        };
        Ok(Layout { tensors: self.layers.iter().enumerate().flat_map(named).collect() })
    }

    /// Shape of one example before the first layer, and after each layer.
    pub(super) fn shapes(&self) -> Result<Vec<Vec<usize>>, Error> {
        if self.input.is_empty() || self.input.contains(&0) {
            return Err(Error::EmptyInput { shape: self.input.clone() });
        }
        check_size(0, "input", &self.input)?;
        let mut shapes = vec![self.input.clone()];
        for (index, layer) in self.layers.iter().enumerate() {
            let output = layer.output_shape(index, &shapes[index])?;
            check_size(index, layer.type_name(), &output)?;
            shapes.push(output);
        }
        self.check_loss(&shapes[self.layers.len()])?;
        Ok(shapes)
    }

    fn check_loss(&self, output: &[usize]) -> Result<(), Error> {
        match self.loss {
            Loss::CrossEntropy if output.len() == 1 => Ok(()),
            _ => Err(Error::Shape {
                layer: self.layers.len(),
                layer_type: "cross_entropy",
                found: output.to_vec(),
                expected: "[classes]; end with flatten and linear".to_owned(),
            }),
        }
    }
}

impl LayerSpec {
    /// Tensors of the layer in flat order, without the layer's number.
    pub(super) fn tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (weight, outputs, bias) = match *self {
            Self::Linear { inputs, outputs, bias } => (vec![outputs, inputs], outputs, bias),
            Self::Conv2d { inputs, outputs, kernel, bias, .. } => {
                (vec![outputs, inputs, kernel, kernel], outputs, bias)
            }
            _ => return Vec::new(),
        };
        let mut tensors = vec![("weight", weight)];
        if bias {
            tensors.push(("bias", vec![outputs]));
        }
        tensors
    }

    /// Shape of one example after the layer, given the one before it.
    fn output_shape(&self, layer: usize, input: &[usize]) -> Result<Vec<usize>, Error> {
        self.check_settings(layer)?;
        for (_, shape) in self.tensors() {
            check_size(layer, self.type_name(), &shape)?;
        }
        let output = match *self {
            Self::Linear { inputs, outputs, .. } => linear_shape(input, inputs, outputs),
            Self::Conv2d { inputs, outputs, kernel, stride, padding, .. } => {
                let output = image_shape(input, kernel, stride, padding);
                let output = output.filter(|_| input[0] == inputs);
                if let Some([_, height, width]) = output {
                    // The image laid out as columns is the largest buffer there is.
                    let columns = [inputs, kernel, kernel, height, width];
                    check_size(layer, self.type_name(), &columns)?;
                }
                output.map(|[_, height, width]| vec![outputs, height, width])
            }
            Self::MaxPool2d { kernel, stride } | Self::AvgPool2d { kernel, stride } => {
                image_shape(input, kernel, stride.unwrap_or(kernel), 0).map(Vec::from)
            }
            Self::Flatten => Some(vec![input.iter().product()]),
            Self::Relu | Self::Tanh | Self::Gelu | Self::Silu | Self::Sigmoid => {
                Some(input.to_vec())
            }
        };
        output.ok_or_else(|| Error::Shape {
            layer,
            layer_type: self.type_name(),
            found: input.to_vec(),
            expected: self.expected_shape(),
        })
    }

    /// The input shapes that the layer takes, in words.
    fn expected_shape(&self) -> String {
        match *self {
            Self::Linear { inputs, .. } => format!("[.., {inputs}]"),
            Self::Conv2d { inputs, kernel, padding, .. } => {
                let least = kernel.saturating_sub(2 * padding).max(1);
                format!("[{inputs}, {least} or more, {least} or more]")
            }
            Self::MaxPool2d { kernel, .. } | Self::AvgPool2d { kernel, .. } => {
                format!("[channels, {kernel} or more, {kernel} or more]")
            }
            _ => "any shape".to_owned(),
        }
    }

    fn check_settings(&self, layer: usize) -> Result<(), Error> {
        let refuse = |setting, value, expected| Error::Setting {
            layer,
            layer_type: self.type_name(),
            setting,
            value,
            expected,
        };
        for (setting, value) in self.positive_settings() {
            if value == 0 || value > MAX_VALUES {
                return Err(refuse(setting, value, "at least 1 and at most 2^28"));
            }
        }
        match *self {
            Self::Conv2d { padding, kernel, .. } if padding >= kernel => {
                Err(refuse("padding", padding, "less than the kernel"))
            }
            _ => Ok(()),
        }
    }

    /// Settings that must not be zero.
    fn positive_settings(&self) -> Vec<(&'static str, usize)> {
        match *self {
            Self::Linear { inputs, outputs, .. } => vec![("in", inputs), ("out", outputs)],
            Self::Conv2d { inputs, outputs, kernel, stride, .. } => {
                vec![("in", inputs), ("out", outputs), ("kernel", kernel), ("stride", stride)]
            }
            Self::MaxPool2d { kernel, stride } | Self::AvgPool2d { kernel, stride } => {
                vec![("kernel", kernel), ("stride", stride.unwrap_or(kernel))]
            }
            _ => Vec::new(),
        }
    }
}

fn linear_shape(input: &[usize], inputs: usize, outputs: usize) -> Option<Vec<usize>> {
    let (last, leading) = input.split_last()?;
    (*last == inputs).then(|| leading.iter().copied().chain([outputs]).collect())
}

/// `[channels, height, width]` of an image after a window moved over it.
fn image_shape(
    input: &[usize],
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Option<[usize; 3]> {
    let [channels, height, width] = *input else { return None };
    let side = |length: usize| positions(length + 2 * padding, kernel, stride);
    Some([channels, side(height)?, side(width)?])
}

/// Positions of a window along one side: `(length - kernel) / stride + 1`.
fn positions(length: usize, kernel: usize, stride: usize) -> Option<usize> {
    Some(length.checked_sub(kernel)? / stride + 1)
}

fn check_size(layer: usize, layer_type: &'static str, shape: &[usize]) -> Result<(), Error> {
    let product = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
    match product {
        Some(values) if values <= MAX_VALUES => Ok(()),
        _ => Err(Error::TooLarge { layer, layer_type, limit: MAX_VALUES }),
    }
}
