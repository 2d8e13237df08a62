//! Parameters in safetensors files, by name.

use std::borrow::Cow;
use std::path::Path;

use adafed_algorithm::{Layout, TensorLayout};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::Error;

/// Reads the tensors of `layout`, in flat order, from a safetensors file. It may hold
/// others too.
///
/// # Errors
/// [`Error::Weights`] where the file cannot be read or is no safetensors file, lacks a
/// tensor, or has it in another shape or type than float32, or with a value that is not
/// finite.
pub fn read_safetensors(path: &Path, layout: &Layout) -> Result<Vec<f32>, Error> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| refused(&name, format!("it cannot be read: {error}")))?;
    parse_safetensors(&bytes, layout, &name)
}

/// As [`read_safetensors`], from the bytes of a file; `name` stands for it in errors.
///
/// # Errors
/// As [`read_safetensors`].
pub fn parse_safetensors(bytes: &[u8], layout: &Layout, name: &str) -> Result<Vec<f32>, Error> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| refused(name, format!("it is no safetensors file: {error}")))?;
    let mut values = Vec::with_capacity(layout.len());
    for wanted in &layout.tensors {
        let found = tensors.tensor(&wanted.name).map_err(|_| missing(name, wanted, &tensors))?;
        append(&mut values, wanted, &found).map_err(|reason| refused(name, reason))?;
    }
    Ok(values)
}

fn append(
    values: &mut Vec<f32>,
    wanted: &TensorLayout,
    found: &TensorView<'_>,
) -> Result<(), String> {
    let TensorLayout { name, shape } = wanted;
    if found.dtype() != Dtype::F32 {
        return Err(format!("tensor `{name}` is {:?}, expected F32; convert it", found.dtype()));
    }
    if found.shape() != shape {
        let found = found.shape();
        return Err(format!("tensor `{name}` has shape {found:?}, the model's is {shape:?}"));
    }
    let start = values.len();
    let words = found.data().as_chunks::<4>().0;
    values.extend(words.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    match values[start..].iter().position(|value| !value.is_finite()) {
        Some(index) => Err(format!("tensor `{name}` holds {}", values[start + index])),
        None => Ok(()),
    }
}

/// Names that the message about a missing one lists.
const LISTED: usize = 8;

fn missing(file: &str, wanted: &TensorLayout, tensors: &SafeTensors<'_>) -> Error {
    let mut names = tensors.names();
    names.sort_unstable();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let listed = names.join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    refused(file, format!("it has no tensor `{}`; it has {listed}{more}", wanted.name))
}

/// Writes `values`, in the flat order of `layout`, to a safetensors file. The file is
/// there whole or not at all.
///
/// # Errors
/// [`Error::Parameters`] where the lengths differ, [`Error::Weights`] where the file
/// cannot be written.
pub fn write_safetensors(path: &Path, layout: &Layout, values: &[f32]) -> Result<(), Error> {
    let bytes = encode_safetensors(layout, values)?;
    let name = path.display().to_string();
    let failed = |error: std::io::Error| refused(&name, format!("it cannot be written: {error}"));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, bytes).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}

/// As [`write_safetensors`], the bytes of the file.
///
/// # Errors
/// [`Error::Parameters`] where the lengths differ.
pub fn encode_safetensors(layout: &Layout, values: &[f32]) -> Result<Vec<u8>, Error> {
    let (found, expected) = (values.len(), layout.len());
    if found != expected {
        return Err(Error::Parameters { found, expected });
    }
    let tensors = layout.ranges().map(|(tensor, range)| {
        let bytes: Vec<u8> = values[range].iter().flat_map(|value| value.to_le_bytes()).collect();
        (tensor.name.clone(), View { shape: tensor.shape.clone(), bytes })
    });
    serialize(tensors, None).map_err(|error| refused("memory", error.to_string()))
}

struct View {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl safetensors::View for View {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn refused(file: &str, reason: String) -> Error {
    Error::Weights { file: file.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Model, ModelSpec, test_values};

    fn refusal(bytes: &[u8], layout: &Layout) -> String {
        parse_safetensors(bytes, layout, "file").unwrap_err().to_string()
    }

    #[test]
    fn a_model_comes_back_from_its_file() {
        let model = Model::new(&ModelSpec::transformer_lora(1, 8, 2, 8, 4, 9, 2)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let frozen = test_values(model.frozen_layout().len(), 1);
        let model = model.with_frozen(frozen.clone()).unwrap();
        let parameters = test_values(model.parameters(), 2);
        model.save(&path, &parameters).unwrap();
        assert_eq!(model.load(&path), Ok(parameters));
        let fresh = Model::new(&ModelSpec::transformer_lora(1, 8, 2, 8, 4, 9, 2)).unwrap();
        assert_eq!(fresh.with_frozen_from(&path).unwrap().frozen(), frozen);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let layout = ModelSpec::mlp().layout().unwrap();
        let bytes = encode_safetensors(&layout, &vec![0.5; layout.len()]).unwrap();
        let mut other = layout.clone();
        other.tensors[0].shape = vec![1, 2];
        let said = refusal(&bytes, &other);
        assert!(said.contains("`0.weight` has shape [512, 784], the model's is [1, 2]"), "{said}");
        other.tensors[0].name = "first".to_owned();
        let said = refusal(&bytes, &other);
        assert!(said.contains("no tensor `first`; it has 0.bias, 0.weight, 2.bias"), "{said}");
        assert!(refusal(&bytes[..100], &layout).contains("no safetensors file"));
        let mut broken = bytes.clone();
        let last = broken.len();
        broken[last - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(refusal(&broken, &layout).contains("holds NaN"));
        let mut changed = bytes;
        let place = changed.windows(3).position(|w| w == b"F32").unwrap();
        changed[place] = b'I';
        assert!(refusal(&changed, &layout).contains("is I32, expected F32"));
    }
}
