//! The report's files, with its errors.

use std::fs;
use std::path::Path;

use super::Error;
use crate::files;

pub(super) fn make_directory(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory)
        .map_err(|source| Error::Write { path: directory.to_owned(), source })
}

pub(super) fn write_whole(directory: &Path, name: &str, content: &str) -> Result<(), Error> {
    files::write_whole(directory, name, content)
        .map_err(|source| Error::Write { path: directory.join(name), source })
}
