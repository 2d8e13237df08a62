//! `conformance gradients|adadpigu|accounting PATH`: golden vectors from any path.
//!
//! Exit code 0: every case within tolerance; 1: some case is not; 2: the vectors could
//! not be run.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use adafed_tests::conformance::{self, Case, Outcome};
use clap::{Parser, ValueEnum};

/// Runs golden vectors against the production code and prints each case's worst error.
///
/// Exit code 0: every case within tolerance (unsupported cases are listed by name);
/// 1: some case is not; 2: the vectors could not be run.
#[derive(Parser)]
struct Arguments {
    /// Which vectors.
    kind: Kind,
    /// The vector file, or the folder that holds it.
    path: PathBuf,
    /// Print the cases as one JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Per-example gradients of small models (manifest.json and safetensors).
    Gradients,
    /// Training mathematics (adadpigu.json).
    Adadpigu,
    /// Privacy accounting (accounting.json).
    Accounting,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cases = match arguments.kind {
        Kind::Gradients => conformance::gradients(&arguments.path),
        Kind::Adadpigu => conformance::adadpigu(&arguments.path),
        Kind::Accounting => conformance::accounting(&arguments.path),
    };
    match cases {
        Ok(cases) => report(&cases, arguments.json),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn report(cases: &[Case], json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::to_string_pretty(cases).unwrap_or_default());
    } else {
        cases.iter().for_each(print_case);
        print_summary(cases);
    }
    let failed = cases.iter().any(|c| matches!(c.outcome, Outcome::Failed { .. }));
    ExitCode::from(u8::from(failed || cases.is_empty()))
}

fn print_case(case: &Case) {
    let Case { name, values, worst, tolerance, outcome } = case;
    match outcome {
        Outcome::Passed => {
            println!("ok           {name}: {values} values, worst {worst:.2e} of {tolerance:.0e}");
        }
        Outcome::Failed { reason } => {
            println!("FAILED       {name}: {reason} over {tolerance:.0e}")
        }
        Outcome::Unsupported { reason } => println!("unsupported  {name}: {reason}"),
    }
}

fn print_summary(cases: &[Case]) {
    let count = |pick: fn(&Outcome) -> bool| cases.iter().filter(|c| pick(&c.outcome)).count();
    let passed = count(|o| matches!(o, Outcome::Passed));
    let failed = count(|o| matches!(o, Outcome::Failed { .. }));
    let unsupported = count(|o| matches!(o, Outcome::Unsupported { .. }));
    println!("{passed} passed, {failed} failed, {unsupported} unsupported");
}
