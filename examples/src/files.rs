//! Files that appear whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes under a temporary name in the same directory, then renames: a reader sees the
/// old content or the new, never half of it.
///
/// # Errors
/// Those of the operating system; no file is left over.
pub fn write_whole(directory: &Path, name: &str, content: &str) -> io::Result<()> {
    let path = directory.join(name);
    // The process id keeps two runs into one directory from sharing a temporary file.
    let temporary = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, &path));
    written.inspect_err(|_| {
        // Nothing more can be done about a left-over than to try to remove it.
        let _ = fs::remove_file(&temporary);
    })
}
