//! The server as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    adafed_server::cli::main()
}
