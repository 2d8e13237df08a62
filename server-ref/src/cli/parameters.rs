//! A model's first parameters, from a file.

use std::fs;
use std::path::Path;

use adafed_algorithm::{Layout, TensorLayout};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::failure::Failure;

/// Names that a message lists at most.
const LISTED: usize = 8;

/// The parameters of `layout` in flat order: from a JSON array where the file's name ends in
/// `.json`, else from a safetensors file, by the names of the tensors. That file may hold
/// others too.
///
/// # Errors
/// [`Failure::Input`] names what is missing, has another shape or type, or is not finite.
pub(super) fn read(path: &Path, layout: &Layout) -> Result<Vec<f32>, Failure> {
    let bytes = fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let values = if json { array(&bytes, layout) } else { tensors(&bytes, layout) };
    values.map_err(|reason| Failure::file(path, reason))
}

fn array(bytes: &[u8], layout: &Layout) -> Result<Vec<f32>, String> {
    let values: Vec<f32> = serde_json::from_slice(bytes)
        .map_err(|e| format!("it is no JSON array of numbers: {e}"))?;
    let (found, expected) = (values.len(), layout.len());
    if found != expected {
        return Err(format!("it has {found} numbers, the plan's layout has {expected} parameters"));
    }
    finite(&values, "the array")?;
    Ok(values)
}

fn tensors(bytes: &[u8], layout: &Layout) -> Result<Vec<f32>, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| format!("it is no safetensors file: {e}; a JSON array ends in .json"))?;
    let mut values = Vec::new();
    for wanted in &layout.tensors {
        let found = file.tensor(&wanted.name).map_err(|_| missing(wanted, &file))?;
        values.extend(tensor(wanted, &found)?);
    }
    Ok(values)
}

fn tensor(wanted: &TensorLayout, found: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let TensorLayout { name, shape } = wanted;
    if found.dtype() != Dtype::F32 {
        return Err(format!("tensor `{name}` is {:?}, expected F32; convert it", found.dtype()));
    }
    if found.shape() != shape {
        let found = found.shape();
        return Err(format!("tensor `{name}` has shape {found:?}, the plan's is {shape:?}"));
    }
    let words = found.data().as_chunks::<4>().0;
    let values: Vec<f32> = words.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    finite(&values, &format!("tensor `{name}`"))?;
    Ok(values)
}

fn finite(values: &[f32], what: &str) -> Result<(), String> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("{what} holds {value}, expected finite numbers")),
        None => Ok(()),
    }
}

fn missing(wanted: &TensorLayout, file: &SafeTensors<'_>) -> String {
    let mut names = file.names();
    names.sort_unstable();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has no tensor `{}`; it has {}{more}", wanted.name, names.join(", "))
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::serialize;

    use super::*;

    fn layout() -> Layout {
        let tensor = |name: &str, shape: &[usize]| TensorLayout {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        Layout { tensors: vec![tensor("b", &[2]), tensor("a", &[1, 2])] }
    }

    fn file(tensors: &[(&str, Dtype, &[usize], &[f32])]) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, dtype, shape, _), bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        serialize(views, None).unwrap()
    }

    #[test]
    fn tensors_come_by_name_in_the_order_of_the_layout() {
        let bytes = file(&[
            ("a", Dtype::F32, &[1, 2], &[3.0, 4.0]),
            ("b", Dtype::F32, &[2], &[1.0, 2.0]),
            ("other", Dtype::F32, &[1], &[9.0]),
        ]);
        assert_eq!(tensors(&bytes, &layout()), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(array(b"[1, 2, 3, 4]", &layout()), Ok(vec![1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let b: (&str, Dtype, &[usize], &[f32]) = ("b", Dtype::F32, &[2], &[1.0, 2.0]);
        for (bytes, parts) in [
            (file(&[b]), ["`a`", "it has b"]),
            (file(&[b, ("a", Dtype::F32, &[2], &[1.0; 2])]), ["[2]", "[1, 2]"]),
            (file(&[b, ("a", Dtype::I32, &[1, 2], &[1.0; 2])]), ["I32", "F32"]),
            (file(&[b, ("a", Dtype::F32, &[1, 2], &[1.0, f32::NAN])]), ["`a`", "NaN"]),
            (b"[1]".to_vec(), ["no safetensors", ".json"]),
        ] {
            let error = tensors(&bytes, &layout()).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        for (text, part) in [("[1, 2]", "4 parameters"), ("{}", "no JSON array"), ("[1e99]", "out")]
        {
            assert!(array(text.as_bytes(), &layout()).is_err(), "{text}: {part}");
        }
    }
}
