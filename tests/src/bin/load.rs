//! `cargo load`: many devices against a server.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use adafed_tests::load::{Settings, run, serve};
use clap::Parser;

const HELP: &str = "Scenarios:
  A, large updates:  cargo load -- --devices 10000 --coordinates 100000 --retention 1
  B, a masked round: cargo load -- --devices 10000 --coordinates 26010 --retention 0.6
     (its round 0 is the warm-up, which learns the mask; round 1 is the one to look at)

The server is this program in a process of its own; with --replicas, several of them on one
PostgreSQL database. A run is whole when the server counts every acknowledged upload and its
model is the one that the integer sum of all bodies gives.

Exit codes:
  0  every acknowledged upload is in the model
  1  the run failed
  2  wrong command line
  3  uploads were lost";

/// Load on the reference server: devices that enrol, check in and upload in one round.
#[derive(Debug, Parser)]
#[command(name = "load", after_help = HELP)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    // The run starts itself again as the server.
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let settings = Cli::parse().settings;
    let report = match run(&settings) {
        Ok(report) => report,
        Err(e) => {
            eprintln!("load: {e}");
            return ExitCode::FAILURE;
        }
    };
    match serde_json::to_string_pretty(&report) {
        Ok(json) if settings.json => println!("{json}"),
        _ => print!("{report}"),
    }
    ExitCode::from(if report.is_whole() { 0 } else { 3 })
}
