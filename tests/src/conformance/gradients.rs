//! Per-example gradients against an independent framework.

use std::path::Path;

use adafed::nn::{LAYER_TYPES, Model, ModelSpec};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::{Case, Error, items, read_json};

/// Of the largest entry of each tensor, as the manifest states.
const TOLERANCE: f64 = 1e-4;

/// Tensors whose gradient is zero in exact arithmetic (the bias of attention's keys) hold
/// rounding only: nothing is compared more finely than this share of the whole gradient.
const ROUNDING: f64 = 1e-4;

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
    (!missing.is_empty()).then(|| format!("layers {} do not exist", missing.join(", ")))
}

struct Tensors<'a>(SafeTensors<'a>);

impl Tensors<'_> {
    fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.0.tensor(name).map_err(|e| e.to_string())?.shape().to_vec())
    }

    /// Numbers; integers are whole numbers for a model.
    fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.0.tensor(name).map_err(|e| e.to_string())?;
        let (words, longs) = (tensor.data().as_chunks::<4>().0, tensor.data().as_chunks::<8>().0);
        match tensor.dtype() {
            Dtype::F32 => Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect()),
            Dtype::I32 => Ok(words.iter().map(|w| i32::from_le_bytes(*w) as f32).collect()),
            Dtype::I64 => Ok(longs.iter().map(|w| i64::from_le_bytes(*w) as f32).collect()),
            other => Err(format!("tensor {name} is {other:?}, expected F32, I32 or I64")),
        }
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
    let (x, y) = (tensors.floats("x")?, tensors.floats("y")?);
    let examples = tensors.shape("x")?[0];
    let said = |e: adafed::nn::Error| e.to_string();
    let gradients = model.per_example_gradients(&parameters, &x, &y).map_err(said)?;
    let outputs = model.predict(&parameters, &x, examples).map_err(said)?;
    let losses = model.losses(&parameters, &x, &y).map_err(said)?;
    let d = model.layout().len();
    let mut case = Case::new(name, TOLERANCE);
    case.vectors("output", &widen(&outputs), &widen(&tensors.floats("output")?));
    case.vectors("loss", &widen(&losses), &widen(&tensors.floats("loss")?));
    let norm = items(&entry["grad_norms"]).filter_map(Value::as_f64).fold(1e-300, f64::max);
    for (tensor, range) in model.layout().ranges() {
        let expected = widen(&tensors.floats(&format!("grad/{}", tensor.name))?);
        let rows = gradients.chunks_exact(d).flat_map(|g| &g[range.clone()]);
        let found = widen(&rows.copied().collect::<Vec<f32>>());
        case.vectors_above(&tensor.name, &found, &expected, ROUNDING * norm);
    }
    Ok(case)
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}
