//! Times training steps of the reference models: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use adafed_examples::bench;
use clap::Parser;

fn main() -> ExitCode {
    bench::main(&bench::Options::parse())
}
