//! Files of data sets, plain or gzipped.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::Error;

/// No accepted file holds more data than this; MNIST holds 47 MB.
const MOST_BYTES: u64 = 1 << 30;
/// Deflate cannot shrink data by more than 1032 to 1 (zlib's technical notes, "Maximum
/// compression factor").
const MOST_DEFLATE_FACTOR: u64 = 1032;

/// First of the accepted `names` that exists.
pub(super) fn find(directory: &Path, names: &[String]) -> Result<PathBuf, Error> {
    let found = names.iter().map(|name| directory.join(name)).find(|path| path.exists());
    let (directory, looked_for) = (directory.to_owned(), names.to_vec());
    found.ok_or(Error::Missing { directory, looked_for })
}

/// Opens a file, unpacking it if it begins like gzip (whatever its name), together with
/// the most data bytes that a file of its size can hold.
pub(super) fn open(path: &Path) -> Result<(Box<dyn Read>, u64), Error> {
    let failed = |error: io::Error| read_error(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut start = Vec::with_capacity(2);
    (&mut file).take(2).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if start == [0x1f, 0x8b] {
        let most = size.saturating_mul(MOST_DEFLATE_FACTOR).min(MOST_BYTES);
        return Ok((Box::new(MultiGzDecoder::new(BufReader::new(file))), most));
    }
    Ok((Box::new(BufReader::new(file)), size.min(MOST_BYTES)))
}

/// The next `expected` bytes, which must be the last. Memory grows with what is read,
/// not with what is expected.
pub(super) fn read_exactly(
    path: &Path,
    stream: &mut dyn Read,
    expected: u64,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let outcome = stream.take(expected + 1).read_to_end(&mut bytes);
    let (path, found) = (path.to_owned(), bytes.len() as u64);
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(read_error(&path, &error))
        }
        _ if found > expected => Err(Error::Trailing { path, expected }),
        // A gzip stream may end too early even after the last byte: its check sum is missing.
        Err(_) => Err(Error::Truncated { path, found, expected }),
        Ok(_) if found < expected => Err(Error::Truncated { path, found, expected }),
        Ok(_) => Ok(bytes),
    }
}

/// A file of text, whole.
pub(super) fn read_text(path: &Path) -> Result<String, Error> {
    let (stream, most_bytes) = open(path)?;
    let mut bytes = Vec::new();
    stream
        .take(most_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| read_error(path, &error))?;
    if bytes.len() as u64 > most_bytes {
        return Err(Error::Read { path: path.to_owned(), kind: io::ErrorKind::FileTooLarge });
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error::Line { path: path.to_owned(), line, what: "UTF-8" }
    })
}

pub(super) fn read_error(path: &Path, error: &io::Error) -> Error {
    Error::Read { path: path.to_owned(), kind: error.kind() }
}
