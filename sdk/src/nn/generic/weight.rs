//! Parameter tensors, shared by the examples or copied for each.

use candle_core::{Device, Result, Tensor, Var};

/// A parameter tensor `[examples, ..]`: one copy an example, or one for all of them.
pub(super) enum Weight {
    /// `[1, ..]`.
    Shared(Tensor),
    /// `[batch, ..]`; gradients are taken.
    Copied(Var),
}

impl Weight {
    /// `values` of `shape`, copied so many times, or shared.
    pub(super) fn new(
        values: &[f32],
        shape: &[usize],
        copies: Option<usize>,
        device: &Device,
    ) -> Result<Self> {
        let tensor = Tensor::from_slice(values, shape, device)?.unsqueeze(0)?;
        let Some(copies) = copies else { return Ok(Self::Shared(tensor)) };
        let copied = tensor.broadcast_as([&[copies], shape].concat())?;
        Var::from_tensor(&copied).map(Self::Copied)
    }

    /// `[examples, ..]`.
    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Self::Shared(tensor) => tensor,
            Self::Copied(var) => var.as_tensor(),
        }
    }

    /// The copies, if there is one an example.
    pub(super) fn copies(&self) -> Option<&Tensor> {
        match self {
            Self::Shared(_) => None,
            Self::Copied(var) => Some(var.as_tensor()),
        }
    }

    /// A vector as `[examples, 1.., length]` of so many dimensions.
    pub(super) fn along_last(&self, rank: usize) -> Result<Tensor> {
        let (examples, length) = self.tensor().dims2()?;
        let mut shape = vec![1; rank];
        (shape[0], shape[rank - 1]) = (examples, length);
        self.tensor().reshape(shape)
    }

    /// A vector as `[examples, length, 1]`: one value a row.
    pub(super) fn along_rows(&self) -> Result<Tensor> {
        self.tensor().unsqueeze(2)
    }

    /// `W x` for each example and group of rows, W `[outputs, inputs / groups]`:
    /// `[batch, inputs, columns] -> [batch, outputs, columns]`.
    // W stands on the left, so that its gradient comes out of the product as it is stored.
    pub(super) fn product(&self, columns: &Tensor, groups: usize) -> Result<Tensor> {
        let var = match self {
            Self::Shared(tensor) => return shared_product(tensor, columns, groups),
            Self::Copied(var) if groups == 1 => return var.flatten_from(2)?.matmul(columns),
            Self::Copied(var) => var,
        };
        let (batch, inputs, length) = columns.dims3()?;
        let (outputs, depth) = (var.dim(1)?, inputs / groups);
        let columns = columns.reshape((batch * groups, depth, length))?;
        let product = var.reshape((batch * groups, outputs / groups, depth))?.matmul(&columns)?;
        product.reshape((batch, outputs, length))
    }

    /// Row `ids[b, t]` of W `[num, dim]` for each example b: `[batch, t, dim]`.
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let dim = self.tensor().dim(2)?;
        match self {
            Self::Copied(var) => {
                let ids = ids.unsqueeze(2)?.broadcast_as((batch, length, dim))?;
                var.gather(&ids.contiguous()?, 1)
            }
            Self::Shared(tensor) => {
                let rows = tensor.squeeze(0)?.index_select(&ids.flatten_all()?, 0)?;
                rows.reshape((batch, length, dim))
            }
        }
    }
}

/// [`Weight::product`] with all examples side by side: the library also computes the
/// gradient of what is constant, and so makes one of W, and not one of W an example.
fn shared_product(weight: &Tensor, columns: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, inputs, length) = columns.dims3()?;
    let (outputs, depth) = (weight.dim(1)?, inputs / groups);
    let columns = columns.reshape((batch, groups, depth, length))?.permute((1, 2, 0, 3))?;
    let columns = columns.reshape((groups, depth, batch * length))?;
    let product = weight.reshape((groups, outputs / groups, depth))?.matmul(&columns)?;
    let product = product.reshape((outputs, batch, length))?.permute((1, 0, 2))?;
    product.contiguous()
}
