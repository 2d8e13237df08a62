//! Folders of data sets for tests: made up, and real where they are at hand.

use std::path::{Path, PathBuf};

/// A folder with these files, by name and text.
pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The folder `name` of the data sets, below `ADAFED_DATA` or `shared/data` beside the
/// repository; where `file` is not in it, says so.
pub(super) fn real(name: &str, file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("ADAFED_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if !folder.join(file).exists() {
        eprintln!("skipped: {file} is not in {}", folder.display());
        return None;
    }
    Some(folder)
}
