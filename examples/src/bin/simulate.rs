//! `simulate`: a fleet of devices against a real server, with every setting a flag.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use adafed_examples::{cli, settings::Settings};
use clap::Parser;

/// Simulates a fleet of devices that train one model under differential privacy,
/// against a real server with a real database.
///
/// Exit code 0: the run ended; 1: an error, which is printed; 2: flags that cannot be
/// read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    cli::main(Arguments::parse().settings)
}
