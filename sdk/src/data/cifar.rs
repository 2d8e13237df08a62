//! CIFAR-10 in its binary form: six files of 10,000 records, plain or gzipped.
//!
//! A record is a label and 32 x 32 red, green and blue bytes, plane by plane (Krizhevsky,
//! Learning Multiple Layers of Features from Tiny Images, 2009).

use std::path::Path;

use super::file::{find, open, read_exactly};
use super::{Error, Examples};

const CLASSES: usize = 10;
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
/// Examples of one file.
const RECORDS: usize = 10_000;

/// Reads the training set (`data_batch_1.bin` to `data_batch_5.bin`) and the test set
/// (`test_batch.bin`) of CIFAR-10, each file also with `.gz`. Examples have shape
/// `[3, 32, 32]`, pixels go through [`scale_colour`].
///
/// # Errors
/// [`Error::Missing`], [`Error::Read`], [`Error::Truncated`], [`Error::Trailing`] or
/// [`Error::Label`], naming the file or the example.
pub fn load_cifar10(directory: &Path) -> Result<(Examples, Examples), Error> {
    let names = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    let file = |name: String| find(directory, &[name.clone(), format!("{name}.gz")]);
    // All are found before the first is unpacked, so a missing one is told at once.
    let training = names.map(file).collect::<Result<Vec<_>, _>>()?;
    let test = file("test_batch.bin".to_owned())?;
    let read = |paths: &[std::path::PathBuf]| -> Result<Examples, Error> {
        let batches = paths.iter().map(|path| read_batch(path)).collect::<Result<Vec<_>, _>>()?;
        examples(&batches.concat())
    };
    Ok((read(&training)?, read(&[test])?))
}

/// Maps a byte of a photograph `0..=255` to -2..=2: `(x / 255 - 0.5) / 0.25`. A guess about
/// photographs in general, made without looking at the examples.
#[must_use]
pub fn scale_colour(byte: u8) -> f32 {
    (f32::from(byte) / 255.0 - 0.5) / 0.25
}

fn read_batch(path: &Path) -> Result<Vec<u8>, Error> {
    let (mut stream, _) = open(path)?;
    read_exactly(path, &mut stream, (RECORDS * RECORD) as u64)
}

fn examples(records: &[u8]) -> Result<Examples, Error> {
    let records = records.chunks_exact(RECORD);
    let labels = records.clone().map(|record| u32::from(record[0])).collect();
    let inputs = records.flat_map(|record| record[1..].iter().map(|byte| scale_colour(*byte)));
    Examples::new(SHAPE.to_vec(), inputs.collect(), labels, CLASSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(label: u8) -> Vec<u8> {
        let mut record = vec![label];
        record.extend((0..PIXELS).map(|i| (i % 256) as u8));
        record.repeat(RECORDS)
    }

    fn folder(test: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            let path = folder.path().join(format!("data_batch_{number}.bin"));
            std::fs::write(path, batch(number)).unwrap();
        }
        std::fs::write(folder.path().join("test_batch.bin"), test).unwrap();
        folder
    }

    #[test]
    fn records_become_examples_in_the_order_of_the_files() {
        let (train, test) = load_cifar10(folder(&batch(9)).path()).unwrap();
        assert_eq!((train.len(), test.len(), train.shape()), (50_000, 10_000, &SHAPE[..]));
        assert_eq!((train.labels()[0], train.labels()[49_999], test.labels()[0]), (1, 5, 9));
        assert_eq!(train.inputs()[..3], [0, 1, 2].map(scale_colour));
        assert_eq!((scale_colour(0), scale_colour(255)), (-2.0, 2.0));
    }

    #[test]
    fn what_is_no_batch_is_named() {
        let short = load_cifar10(folder(&batch(9)[1..]).path()).unwrap_err();
        assert!(
            matches!(&short, Error::Truncated { path, .. } if path.ends_with("test_batch.bin"))
        );
        let label = load_cifar10(folder(&batch(10)).path()).unwrap_err();
        assert!(matches!(label, Error::Label { example: 0, label: 10, .. }), "{label}");
        let missing = load_cifar10(tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(missing.to_string().starts_with("data_batch_1.bin is not in"), "{missing}");
    }
}
