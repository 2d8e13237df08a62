//! MNIST as uncompressed IDX files where it is at hand, else built-in digits.

use std::path::{Path, PathBuf};

use adafed::data::{Examples, digits, load_mnist_like};
use adafed_tests::fixture::Failure;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mnist");

/// Where the files are.
pub(crate) struct Images {
    pub(crate) images: PathBuf,
    pub(crate) labels: PathBuf,
}

impl Images {
    /// Writes that many examples into a folder.
    pub(crate) fn write(folder: &Path, count: usize) -> Result<Self, Failure> {
        let examples = examples(count)?;
        let side = 28_u32;
        let numbers = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
        };
        let mut pixels = numbers(&[0x803, count as u32, side, side]);
        // The inverse of `scale_pixel`.
        pixels.extend(examples.inputs().iter().map(|x| ((x * 0.3 + 0.1) * 255.0).round() as u8));
        let mut marks = numbers(&[0x801, count as u32]);
        marks.extend(examples.labels().iter().map(|label| *label as u8));
        let paths = Self { images: folder.join("images"), labels: folder.join("labels") };
        std::fs::write(&paths.images, pixels)?;
        std::fs::write(&paths.labels, marks)?;
        Ok(paths)
    }
}

/// The first examples of a set.
fn examples(count: usize) -> Result<Examples, Failure> {
    let folder = Path::new(FOLDER);
    if !folder.is_dir() {
        return Ok(digits(1, count));
    }
    let indices: Vec<usize> = (0..count).collect();
    Ok(load_mnist_like(folder)?.0.subset(&indices))
}
