//! Windows of images: convolution and pooling as a selection of pixels.

use candle_core::{D, Device, Result, Tensor};

use super::super::graph::{Convolution, Graph, Node, Primitive};

/// Which pixels the windows of a node hold, in one channel.
#[derive(Debug)]
pub(super) struct Windows {
    /// Numbers of pixels, row-major; the number after the last stands for a zero of the
    /// padding. Convolution: `[kernel entry, window]`, pooling: `[window, kernel entry]`.
    pixels: Tensor,
    /// Whether a zero is selected.
    padded: bool,
    /// Entries of the kernel.
    entries: usize,
}

/// How windows lie on an image.
struct Grid {
    input: [usize; 2],
    output: [usize; 2],
    geometry: Convolution,
}

impl Windows {
    /// The windows of a convolution or of pooling.
    pub(super) fn of(graph: &Graph, node: &Node, device: &Device) -> Result<Option<Self>> {
        let geometry = match node.op {
            Primitive::Conv2d { geometry, .. } => geometry,
            Primitive::Pool { kernel, stride, .. } => pooling(kernel, stride),
            _ => return Ok(None),
        };
        let pooled = matches!(node.op, Primitive::Pool { .. });
        let (&[_, height, width], &[_, rows, columns]) =
            (graph.shape(node.inputs[0]), node.shape.as_slice())
        else {
            candle_core::bail!("layer {}: windows of what is not an image", node.layer);
        };
        let grid = Grid { input: [height, width], output: [rows, columns], geometry };
        Self::new(&grid, pooled, device).map(Some)
    }

    fn new(grid: &Grid, pooled: bool, device: &Device) -> Result<Self> {
        let windows: usize = grid.output.iter().product();
        let entries: usize = grid.geometry.kernel.iter().product();
        let zero: usize = grid.input.iter().product();
        let pixel = |index: usize| match pooled {
            true => grid.pixel(index / entries, index % entries),
            false => grid.pixel(index % windows, index / windows),
        };
        let pixels = (0..windows * entries).map(|index| pixel(index).unwrap_or(zero) as u32);
        let pixels: Vec<u32> = pixels.collect();
        let padded = pixels.contains(&(zero as u32));
        let length = pixels.len();
        Ok(Self { pixels: Tensor::from_vec(pixels, length, device)?, padded, entries })
    }

    /// `[batch, channels, h, w] -> [batch, channels * kernel entries, windows]`.
    pub(super) fn columns(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, channels, ..) = images.dims4()?;
        let selected = self.select(images)?;
        let windows = selected.dim(2)? / self.entries;
        selected.reshape((batch, channels * self.entries, windows))
    }

    /// Mean of each window: `[batch, channels, windows]`.
    pub(super) fn means(&self, images: &Tensor) -> Result<Tensor> {
        self.entries(images)?.mean(D::Minus1)
    }

    /// Largest value of each window: `[batch, channels, windows]`. The first of several
    /// takes the whole gradient: the derivative of the library's maximum gives it to each,
    /// and its `argmax` picks any of them on CUDA.
    pub(super) fn maxima(&self, images: &Tensor) -> Result<Tensor> {
        let values = self.entries(images)?;
        let fixed = values.detach();
        let largest = fixed.broadcast_eq(&fixed.max_keepdim(D::Minus1)?)?;
        // The earlier the entry, the higher its rank; all different, none zero.
        let ranks = (1..=self.entries as u32).rev().map(|rank| rank as f32);
        let ranks = Tensor::from_iter(ranks, values.device())?;
        let ranks = largest.to_dtype(values.dtype())?.broadcast_mul(&ranks)?;
        let first = ranks.broadcast_eq(&ranks.max_keepdim(D::Minus1)?)?;
        first.where_cond(&values, &values.zeros_like()?)?.sum(D::Minus1)
    }

    /// `[batch, channels, windows, kernel entries]`.
    fn entries(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, channels, ..) = images.dims4()?;
        let selected = self.select(images)?;
        let windows = selected.dim(2)? / self.entries;
        selected.reshape((batch, channels, windows, self.entries))
    }

    fn select(&self, images: &Tensor) -> Result<Tensor> {
        let pixels = images.flatten_from(2)?;
        let pixels = match self.padded {
            true => pixels.pad_with_zeros(2, 0, 1)?,
            false => pixels,
        };
        pixels.contiguous()?.index_select(&self.pixels, 2)
    }
}

impl Grid {
    /// The pixel under an entry of the kernel at a window; `None` in the padding.
    fn pixel(&self, window: usize, entry: usize) -> Option<usize> {
        let Self { input, output, geometry } = self;
        let windows = [window / output[1], window % output[1]];
        let entries = [entry / geometry.kernel[1], entry % geometry.kernel[1]];
        let position = |axis: usize| {
            let step = windows[axis] * geometry.stride[axis];
            let position = step + entries[axis] * geometry.dilation[axis];
            position.checked_sub(geometry.padding[axis]).filter(|p| *p < input[axis])
        };
        Some(position(0)? * input[1] + position(1)?)
    }
}

fn pooling(kernel: [usize; 2], stride: [usize; 2]) -> Convolution {
    let (padding, dilation) = ([0, 0], [1, 1]);
    Convolution { inputs: 1, outputs: 1, kernel, stride, padding, dilation, groups: 1 }
}
