//! Per-example gradients against an independent framework.

use std::path::Path;

use adafed::nn::{LAYER_TYPES, Model, ModelSpec};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::{Case, Error, items, read_json};

/// Of the largest entry of each tensor, as the manifest states.
const TOLERANCE: f64 = 1e-4;

/// Runs the cases of `manifest.json`, at `path`, inside it or in its `gradients` folder.
///
/// # Errors
/// [`Error`] when a file cannot be read or has another form.
pub fn gradients(path: &Path) -> Result<Vec<Case>, Error> {
    let (path, manifest) = read_json(path, &["manifest.json", "gradients/manifest.json"])?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    items(&manifest["cases"]).map(|case| run(case, folder)).collect()
}

fn run(entry: &Value, folder: &Path) -> Result<Case, Error> {
    let name = entry["file"].as_str().unwrap_or("?");
    if let Some(reason) = unsupported(entry) {
        return Ok(Case::unsupported(name, reason));
    }
    let path = folder.join(name);
    let bytes =
        std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let malformed = |reason: String| Error::Malformed { path: path.clone(), reason };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
    compare(name, entry, &Tensors(tensors)).map_err(malformed)
}

/// What the case needs that is not there: layers by name, or a loss.
fn unsupported(entry: &Value) -> Option<String> {
    let layers = items(&entry["layers"]).filter_map(|l| l["type"].as_str());
    let mut missing: Vec<&str> = layers.filter(|t| !LAYER_TYPES.contains(t)).collect();
    missing.dedup();
    if !missing.is_empty() {
        return Some(format!("layers {} do not exist yet", missing.join(", ")));
    }
    let loss = entry["loss"].as_str().unwrap_or("?");
    (loss != "cross_entropy").then(|| format!("loss {loss} does not exist yet"))
}

struct Tensors<'a>(SafeTensors<'a>);

impl Tensors<'_> {
    fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.0.tensor(name).map_err(|e| e.to_string())?.shape().to_vec())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.0.tensor(name).map_err(|e| e.to_string())?;
        let (words, _) = tensor.data().as_chunks::<4>();
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }

    /// Labels, stored as 32- or 64-bit integers.
    fn labels(&self) -> Result<Vec<u32>, String> {
        let tensor = self.0.tensor("y").map_err(|e| e.to_string())?;
        let count: usize = tensor.shape().iter().product();
        let width = tensor.data().len() / count.max(1);
        let word = |w: &[u8]| w.iter().rev().fold(0_u64, |x, b| x << 8 | u64::from(*b)) as u32;
        Ok(tensor.data().chunks_exact(width).map(word).collect())
    }
}

fn compare(name: &str, entry: &Value, tensors: &Tensors<'_>) -> Result<Case, String> {
    let input = &tensors.shape("x")?[1..];
    let spec = json!({ "input": input, "layers": entry["layers"], "loss": entry["loss"] });
    let spec = ModelSpec::from_json(&spec.to_string()).map_err(|e| e.to_string())?;
    let model = Model::new(&spec).map_err(|e| e.to_string())?;
    let mut parameters = Vec::new();
    for tensor in &model.layout().tensors {
        parameters.extend(tensors.floats(&format!("param/{}", tensor.name))?);
    }
    let gradients = model
        .per_example_gradients(&parameters, &tensors.floats("x")?, &tensors.labels()?)
        .map_err(|e| e.to_string())?;
    let d = model.layout().len();
    let mut case = Case::new(name, TOLERANCE);
    for (tensor, range) in model.layout().ranges() {
        let expected = widen(&tensors.floats(&format!("grad/{}", tensor.name))?);
        let rows = gradients.chunks_exact(d).flat_map(|g| &g[range.clone()]);
        case.vectors(&tensor.name, &widen(&rows.copied().collect::<Vec<f32>>()), &expected);
    }
    Ok(case)
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}
