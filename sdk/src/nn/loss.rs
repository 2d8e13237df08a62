//! Cross-entropy of softmax against integer labels, as a candle op.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::tape::{Values, tensor, values};
use crate::kernels::{exp, log_sum_exp};

/// `loss = log(sum e^z) - z[label]`: `[batch, classes] -> [batch]`.
pub(super) struct CrossEntropy {
    /// One label an example, each below the number of classes.
    pub(super) labels: Arc<[u32]>,
}

impl CrossEntropy {
    /// Each example's label with its row of `values` `[batch, classes]`.
    fn rows<'a>(&'a self, values: &'a [f32]) -> impl Iterator<Item = (usize, &'a [f32])> {
        let classes = values.len() / self.labels.len().max(1);
        let rows = values.chunks_exact(classes.max(1));
        self.labels.iter().map(|label| *label as usize).zip(rows)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = values(storage, layout)?;
        let loss = |(label, row): (usize, &[f32])| {
            let (largest, sum) = log_sum_exp(row);
            sum.ln() - (row[label] - largest)
        };
        let losses: Vec<f32> = self.rows(logits).map(loss).collect();
        Ok((CpuStorage::F32(losses), Shape::from(self.labels.len())))
    }

    // d loss / d z_c = softmax(z)_c - [c = label].
    fn bwd(&self, logits: &Tensor, _losses: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (logits, gradient) = (Values::of(logits), Values::of(gradient));
        let mut result = Vec::with_capacity(logits.get()?.len());
        for ((label, row), scale) in self.rows(logits.get()?).zip(gradient.get()?) {
            let (largest, sum) = log_sum_exp(row);
            result.extend(row.iter().enumerate().map(|(class, value)| {
                let target = if class == label { 1.0 } else { 0.0 };
                scale * (exp(value - largest) / sum - target)
            }));
        }
        tensor(result, self.labels.len()).map(Some)
    }
}
