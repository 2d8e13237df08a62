//! The flat order of a model's parameters.

use serde::{Deserialize, Serialize};

/// One named tensor inside the flat parameter vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorLayout {
    /// Name, such as `0.weight`.
    pub name: String,
    /// Shape in row-major order; the first dimension is the output row.
    pub shape: Vec<usize>,
}

impl TensorLayout {
    /// Number of entries; `usize::MAX` where there would be more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |n, &size| n.saturating_mul(size))
    }

    /// Whether the tensor has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of one output row: all dimensions but the first; `usize::MAX` where it would
    /// be longer, as in a tensor of no rows it can.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).fold(1, |n, &size| n.saturating_mul(size))
    }
}

/// Tensors in flat order, each following the one before without a gap. Mask,
/// importance, clipping, noise and wire all speak this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout {
    /// The tensors, in flat order.
    pub tensors: Vec<TensorLayout>,
}

impl Layout {
    /// Number d of parameters; `usize::MAX` where there would be more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.iter().fold(0, |d, tensor| d.saturating_add(tensor.len()))
    }

    /// Whether there is no parameter at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each tensor with the range of flat indices it takes.
    pub fn ranges(&self) -> impl Iterator<Item = (&TensorLayout, std::ops::Range<usize>)> {
        self.tensors.iter().scan(0, |offset, tensor| {
            let start = *offset;
            *offset += tensor.len();
            Some((tensor, start..*offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_saturate_whatever_a_shape_says() {
        let tensor = |shape: &[usize]| TensorLayout { name: "w".into(), shape: shape.to_vec() };
        assert_eq!(tensor(&[usize::MAX, 2]).len(), usize::MAX);
        let without_rows = tensor(&[0, usize::MAX, 2]);
        assert_eq!((without_rows.len(), without_rows.row_len()), (0, usize::MAX));
    }
}
