//! `quickstart`: ten devices, one server, built-in data, a report.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use adafed_examples::{cli, settings::Settings};
use clap::Parser;

/// Ten devices train a digit classifier under differential privacy, over HTTP, against
/// a server with an SQLite file; ends with a table and a report.
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
    let mut settings = Arguments::parse().settings;
    settings.report.get_or_insert_with(|| PathBuf::from("report"));
    cli::main(settings)
}
