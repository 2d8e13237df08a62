//! Gradients, outputs and losses that an independent framework computed in f64.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device as TensorDevice, Tensor};
use serde_json::Value;

use super::super::{Batch, GenericModel, Parameters};
use super::lower::Lowering;
use crate::nn::Loss;
use crate::nn::device::Device;
use crate::nn::graph::Graph;

/// Of the largest entry of each tensor, as the vectors' manifest demands.
const TOLERANCE: f32 = 1e-4;

/// Rounding of sums of f32 near 1, the size of all gradients here: what is left of a
/// gradient that is zero, as that of a key's bias, to which softmax is blind.
const ROUNDING: f32 = 1e-7;

/// A case of the vectors.
struct Case {
    graph: Graph,
    tensors: HashMap<String, Tensor>,
    name: String,
}

impl Case {
    fn values(&self, name: &str) -> Vec<f32> {
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("{}: {name}", self.name));
        let tensor = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all());
        tensor.and_then(|tensor| tensor.to_vec1()).expect("f32")
    }

    /// All parameter tensors of the graph that are trainable, or that are not.
    fn parameters(&self, trainable: bool) -> Vec<f32> {
        let layout = self.graph.layout(trainable);
        layout
            .tensors
            .iter()
            .flat_map(|tensor| self.values(&format!("param/{}", tensor.name)))
            .collect()
    }

    fn check(&self) {
        let model = GenericModel::new(&self.graph, Device::Cpu).expect("a model");
        let (trainable, frozen) = (self.parameters(true), self.parameters(false));
        let (inputs, targets) = (self.values("x"), self.values("y"));
        let parameters = Parameters { trainable: &trainable, frozen: &frozen };
        let size = self.tensors["loss"].elem_count();
        let batch = Batch { size, inputs: &inputs, targets: &targets, dropout: None };
        self.compare("output", &model.outputs(parameters, batch).expect("outputs"));
        self.compare("loss", &model.losses(parameters, batch).expect("losses"));
        let gradients = model.gradients(parameters, batch).expect("gradients");
        self.compare_gradients(&gradients, size);
    }

    fn compare_gradients(&self, gradients: &[f32], size: usize) {
        let layout = self.graph.layout(true);
        let row = gradients.len() / size;
        let mut start = 0;
        for tensor in &layout.tensors {
            let len: usize = tensor.shape.iter().product();
            let rows = gradients.chunks_exact(row);
            let found: Vec<f32> = rows.flat_map(|row| &row[start..start + len]).copied().collect();
            self.compare(&format!("grad/{}", tensor.name), &found);
            start += len;
        }
        assert_eq!(start, row, "{}: parameters", self.name);
    }

    fn compare(&self, tensor: &str, found: &[f32]) {
        let expected = self.values(tensor);
        assert_eq!(found.len(), expected.len(), "{} {tensor}", self.name);
        let largest = |values: &mut dyn Iterator<Item = f32>| {
            values.fold(0.0_f32, |max, value| if value.abs() > max { value.abs() } else { max })
        };
        let off = largest(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
        let scale = largest(&mut expected.iter().copied());
        println!("{:45} {tensor:20} {:.1e}", self.name, off / scale.max(ROUNDING));
        assert!(found.iter().all(|value| value.is_finite()), "{} {tensor}", self.name);
        assert!(off <= TOLERANCE * scale + ROUNDING, "{} {tensor}: {off:e} of {scale}", self.name);
    }
}

fn folder() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");
    std::env::var_os("ADAFED_VECTORS")
        .map_or_else(|| beside.into(), PathBuf::from)
        .join("gradients")
}

fn loss(name: &str) -> Loss {
    match name {
        "cross_entropy" => Loss::CrossEntropy,
        "sequence_cross_entropy" => Loss::SequenceCrossEntropy,
        "bce_with_logits" => Loss::BceWithLogits,
        "mse" => Loss::Mse,
        other => panic!("loss {other}"),
    }
}

/// All cases; none where the vectors are not there.
fn cases() -> Vec<Case> {
    let folder = folder();
    let Ok(manifest) = std::fs::read(folder.join("manifest.json")) else {
        println!("skipped: no gradient vectors in {}", folder.display());
        return Vec::new();
    };
    let manifest: Value = serde_json::from_slice(&manifest).expect("manifest.json");
    let cases = manifest["cases"].as_array().expect("cases").iter().map(|case| {
        let name = case["file"].as_str().expect("file").to_owned();
        let tensors = candle_core::safetensors::load(folder.join(&name), &TensorDevice::Cpu);
        let tensors = tensors.expect("safetensors");
        let loss = loss(case["loss"].as_str().expect("loss"));
        let graph = Lowering::of(&tensors["x"].dims()[1..], &case["layers"], loss);
        Case { graph, tensors, name }
    });
    cases.collect()
}

#[test]
fn vectors_are_met() {
    cases().iter().for_each(Case::check);
}

#[test]
fn frozen_tensors_change_no_gradient_of_the_others() {
    for mut case in cases() {
        for parity in [0, 1] {
            for (index, tensor) in case.graph.tensors.iter_mut().enumerate() {
                tensor.trainable = index % 2 == parity;
            }
            case.check();
        }
    }
}
