//! Computed features on disk: what a data set takes minutes to become is read in seconds.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use adafed::data::Examples;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};

use crate::Error;
use crate::source::Split;

/// A folder of features, one file for each program, data set and settings: another build of the
/// program does not take what this one made.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Of this program's own file.
    program: u64,
}

impl Cache {
    /// In a folder, which is made where it is needed.
    ///
    /// # Errors
    /// Where the program's own file cannot be read.
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Error> {
        let own =
            std::env::current_exe().map_err(Error::file("find", Path::new("this program")))?;
        let bytes = std::fs::read(&own).map_err(Error::file("read", &own))?;
        Ok(Self { folder, program: hash(&bytes) })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{:016x}.safetensors", hash(&(self.program, key))))
    }

    /// The inputs under `key` in place of those of `split`; none where there is no file.
    ///
    /// # Errors
    /// A file that cannot be read or is of other examples.
    pub(crate) fn read(&self, key: &str, split: &Split) -> Result<Option<Split>, Error> {
        let path = self.path(key);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
        let broken = |error| broken(&path, error);
        let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let part = |name, examples: &Examples| {
            let tensor = tensors.tensor(name).map_err(broken)?;
            let values = tensor.data().chunks_exact(4);
            let inputs = values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
            let shape = tensor.shape().iter().skip(1).copied().collect();
            Ok::<_, Error>(examples.with_inputs(shape, inputs)?)
        };
        let (train, test) = (part("train", &split.train)?, part("test", &split.test)?);
        Ok(Some(Split { train, test }))
    }

    /// Keeps the inputs of `split` under `key`.
    ///
    /// # Errors
    /// Where the file cannot be written; a partial one is not left.
    pub(crate) fn write(&self, key: &str, split: &Split) -> Result<(), Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::file("make", &self.folder))?;
        let path = self.path(key);
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let parts = [("train", &split.train), ("test", &split.test)].map(|(name, examples)| {
            let bytes: Vec<u8> = examples.inputs().iter().flat_map(|x| x.to_le_bytes()).collect();
            let shape: Vec<usize> =
                std::iter::once(examples.len()).chain(examples.shape().iter().copied()).collect();
            (name, shape, bytes)
        });
        let views = parts.iter().map(|(name, shape, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| broken(&path, e))?;
        serialize_to_file(views, None, &partial).map_err(|error| broken(&partial, error))?;
        std::fs::rename(&partial, &path).map_err(Error::file("write", &path))
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn broken(path: &Path, error: safetensors::SafeTensorError) -> Error {
    let reason = format!("{error}; remove it to compute the features again");
    Error::Experiment { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("new")).unwrap();
        let examples = |inputs: Vec<f32>| Examples::new(vec![2], inputs, vec![1, 0], 2).unwrap();
        let split = Split {
            train: examples(vec![1.0, -2.5, 0.1, 4.0]),
            test: examples(vec![5.0, 6.0, 7.0, 8.0]),
        };
        let raw = Split { train: examples(vec![0.0; 4]), test: examples(vec![0.0; 4]) };
        assert!(cache.read("a", &raw).unwrap().is_none());
        cache.write("a", &split).unwrap();
        let found = cache.read("a", &raw).unwrap().unwrap();
        assert!(found.train == split.train && found.test == split.test);
        assert!(cache.read("b", &raw).unwrap().is_none());
        std::fs::write(cache.path("a"), "x").unwrap();
        let error = cache.read("a", &raw).err().unwrap().to_string();
        assert!(error.contains("safetensors") && error.contains("remove it"), "{error}");
    }
}
