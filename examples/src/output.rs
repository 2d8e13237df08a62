//! What a command prints.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line. That nobody reads any more, as behind `| head`, is no error: a command has
/// results to keep.
///
/// # Errors
/// What else keeps the line from being written, such as a full disk.
pub fn line(text: impl Display) -> io::Result<()> {
    line_to(&mut io::stdout(), text)
}

fn line_to(stdout: &mut impl Write, text: impl Display) -> io::Result<()> {
    match writeln!(stdout, "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_a_full_disk_is() {
        line_to(&mut Fails(ErrorKind::BrokenPipe), "line").expect("nobody reads");
        let full = line_to(&mut Fails(ErrorKind::StorageFull), "line").expect_err("full");
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
}
