//! IDX files, the format of MNIST and of its drop-in replacements, plain or gzipped.
//!
//! Layout: big-endian magic `0x0000_TTDD` (`TT` element type, `DD` dimensions), one
//! big-endian u32 per dimension, then the elements row-major. A header is a claim by
//! whoever wrote the file: it is compared with what the file can hold before any
//! memory is taken for it.

use std::io::{self, Read};
use std::path::Path;

use super::file::{find, open, read_error, read_exactly};
use super::{Error, Examples, scale_pixel};

const UNSIGNED_BYTE: u32 = 0x08;
const CLASSES: usize = 10;

/// Reads the training and the test set of MNIST, Fashion-MNIST or any set laid out like
/// them: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`,
/// `t10k-labels-idx1-ubyte`, each also with `.gz`. Examples have shape
/// `[1, rows, columns]`, pixels go through [`scale_pixel`], classes are ten.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Read`] about the environment; [`Error::Magic`],
/// [`Error::ElementType`], [`Error::Promise`], [`Error::Truncated`],
/// [`Error::Trailing`], [`Error::Counts`] or [`Error::Label`] about a file.
pub fn load_mnist_like(directory: &Path) -> Result<(Examples, Examples), Error> {
    // All four are found before the first is unpacked, so a missing one is told at once.
    let mut paths = Vec::with_capacity(4);
    for set in ["train", "t10k"] {
        for role in ["images-idx3", "labels-idx1"] {
            let name = format!("{set}-{role}-ubyte");
            let dotted = name.replace("-idx", ".idx");
            let names =
                [name.clone(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")];
            paths.push(find(directory, &names)?);
        }
    }
    Ok((read_pair(&paths[0], &paths[1])?, read_pair(&paths[2], &paths[3])?))
}

fn read_pair(images_path: &Path, labels_path: &Path) -> Result<Examples, Error> {
    let images = read_idx(images_path, 3)?;
    let labels = read_idx(labels_path, 1)?;
    if images.sides[0] != labels.sides[0] {
        return Err(Error::Counts {
            images_path: images_path.to_owned(),
            images: images.sides[0],
            labels_path: labels_path.to_owned(),
            labels: labels.sides[0],
        });
    }
    let inputs = images.bytes.iter().map(|&byte| scale_pixel(byte)).collect();
    let labels = labels.bytes.iter().map(|&byte| u32::from(byte)).collect();
    Examples::new(vec![1, images.sides[1], images.sides[2]], inputs, labels, CLASSES)
}

/// An unpacked IDX file of unsigned bytes.
#[derive(Debug)]
struct Idx {
    sides: Vec<usize>,
    bytes: Vec<u8>,
}

fn read_idx(path: &Path, dimensions: u8) -> Result<Idx, Error> {
    let (mut stream, most_bytes) = open(path)?;
    check_magic(path, read_u32(path, &mut stream)?, dimensions)?;
    let mut sides = Vec::with_capacity(usize::from(dimensions));
    for _ in 0..dimensions {
        sides.push(read_u32(path, &mut stream)?);
    }
    let promised = sides.iter().fold(1u64, |size, &side| size.saturating_mul(side.into()));
    if promised > most_bytes {
        let path = path.to_owned();
        return Err(Error::Promise { path, promised, possible: most_bytes });
    }
    let bytes = read_exactly(path, &mut stream, promised)?;
    Ok(Idx { sides: sides.into_iter().map(|side| side as usize).collect(), bytes })
}

fn check_magic(path: &Path, found: u32, dimensions: u8) -> Result<(), Error> {
    let expected = UNSIGNED_BYTE << 8 | u32::from(dimensions);
    let path = path.to_owned();
    match (found >> 16, found >> 8 & 0xff, found & 0xff) {
        _ if found == expected => Ok(()),
        (0, element @ (0x09 | 0x0b..=0x0e), sides) if sides == u32::from(dimensions) => {
            Err(Error::ElementType { path, found: element as u8 })
        }
        _ => Err(Error::Magic { path, found, expected, dimensions }),
    }
}

fn read_u32(path: &Path, stream: &mut dyn Read) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    match stream.read_exact(&mut bytes) {
        Ok(()) => Ok(u32::from_be_bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::Truncated { path: path.to_owned(), found: 0, expected: 4 })
        }
        Err(error) => Err(read_error(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn idx(magic: u32, sides: &[u32], bytes: &[u8]) -> Vec<u8> {
        let header = std::iter::once(&magic).chain(sides).flat_map(|x| x.to_be_bytes());
        header.chain(bytes.iter().copied()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(file: &[u8], dimensions: u8) -> Result<Idx, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, file).unwrap();
        read_idx(&path, dimensions)
    }

    /// Two training images and one test image of 1 x 2 pixels, with one file replaced.
    fn set_with(name: &str, file: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, file: &[u8]| {
            std::fs::write(directory.path().join(name), file).unwrap();
        };
        write("train-images-idx3-ubyte", &idx(2051, &[2, 1, 2], &[0, 255, 255, 0]));
        write("train-labels-idx1-ubyte", &idx(2049, &[2], &[9, 0]));
        write("t10k-images.idx3-ubyte", &idx(2051, &[1, 1, 2], &[0, 0]));
        write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(2049, &[1], &[5])));
        write(name, file);
        directory
    }

    #[test]
    fn plain_packed_and_dotted_names_are_read() {
        let directory = set_with("readme", b"");
        let (train, test) = load_mnist_like(directory.path()).unwrap();
        assert_eq!(train.shape(), [1, 1, 2]);
        let (blank, ink) = (scale_pixel(0), scale_pixel(255));
        assert_eq!(train.inputs(), [blank, ink, ink, blank]);
        assert_eq!((train.labels(), test.labels()), (&[9, 0][..], &[5][..]));
        assert_eq!(train.classes(), 10);
    }

    #[test]
    fn a_missing_file_is_named_with_what_was_looked_for() {
        let directory = set_with("readme", b"");
        std::fs::remove_file(directory.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
        let error = load_mnist_like(directory.path()).unwrap_err();
        let shown = error.to_string();
        assert!(shown.starts_with("t10k-labels-idx1-ubyte is not in"), "{shown}");
        assert!(shown.contains("t10k-labels-idx1-ubyte.gz"), "{shown}");
    }

    #[test]
    fn images_and_labels_must_be_as_many() {
        let directory = set_with("train-labels-idx1-ubyte", &idx(2049, &[3], &[1, 2, 3]));
        let error = load_mnist_like(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Counts { images: 2, labels: 3, .. }), "{error}");
    }

    #[test]
    fn a_label_past_the_ten_classes_is_refused() {
        let directory = set_with("train-labels-idx1-ubyte", &idx(2049, &[2], &[3, 10]));
        let error = load_mnist_like(directory.path()).unwrap_err();
        assert_eq!(error, Error::Label { example: 1, label: 10, classes: 10 });
    }

    #[test]
    fn an_image_without_pixels_is_refused() {
        let directory = set_with("t10k-images.idx3-ubyte", &idx(2051, &[1, 0, 2], &[]));
        let error = load_mnist_like(directory.path()).unwrap_err();
        assert_eq!(error, Error::Shape { shape: vec![1, 0, 2] });
    }

    #[test]
    fn a_file_of_another_role_is_refused_by_its_magic() {
        let error = read(&idx(2049, &[1], &[1]), 3).unwrap_err();
        assert!(matches!(error, Error::Magic { found: 2049, expected: 2051, .. }), "{error}");
        let error = read(b"<html>no such page", 1).unwrap_err();
        assert!(matches!(error, Error::Magic { .. }), "{error}");
    }

    #[test]
    fn elements_other_than_unsigned_bytes_are_refused() {
        let error = read(&idx(0x0d03, &[1, 1, 1], &[0; 4]), 3).unwrap_err();
        assert!(matches!(error, Error::ElementType { found: 0x0d, .. }), "{error}");
    }

    #[test]
    fn a_header_is_not_believed_beyond_the_size_of_the_file() {
        let huge = idx(2051, &[u32::MAX, u32::MAX, u32::MAX], &[0; 64]);
        for file in [huge.clone(), gzip(&huge)] {
            let error = read(&file, 3).unwrap_err();
            assert!(matches!(error, Error::Promise { promised: u64::MAX, .. }), "{error}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = idx(2051, &[2, 2, 2], &[7; 8]);
        let packed = gzip(&whole);
        for file in [&whole, &packed] {
            assert!(read(file, 3).is_ok());
            for end in 0..file.len() {
                assert!(read(&file[..end], 3).is_err(), "{end} of {} bytes", file.len());
            }
        }
    }

    #[test]
    fn a_damaged_gzip_file_is_refused() {
        let mut packed = gzip(&idx(2049, &[600], &[3; 600]));
        let sum = packed.len() - 6;
        packed[sum] ^= 1;
        assert!(matches!(read(&packed, 1).unwrap_err(), Error::Read { .. }));
    }

    #[test]
    fn bytes_after_the_data_are_refused() {
        let long = idx(2049, &[2], &[1, 2, 3]);
        for file in [long.clone(), gzip(&long)] {
            let error = read(&file, 1).unwrap_err();
            assert!(matches!(error, Error::Trailing { expected: 2, .. }), "{error}");
        }
    }
}
