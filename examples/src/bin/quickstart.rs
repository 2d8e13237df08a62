//! `quickstart`: ten devices, one server, built-in data, a report.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use adafed_examples::{cli, settings::Settings};
use clap::{Args, Command, FromArgMatches};

/// Defaults that differ from a simulation's: a run of about a minute, with a report.
const DEFAULTS: [(&str, &str); 4] =
    [("rounds", "100"), ("learning_rate", "10"), ("evaluate_every", "10"), ("report", "report")];

const ABOUT: &str = "Ten devices train a digit classifier under differential privacy, over \
    HTTP, against a server with an SQLite file; ends with a table and a report.\n\n\
    Exit code 0: the run ended; 1: an error, which is printed; 2: flags that cannot be read.";

fn main() -> ExitCode {
    let command = Command::new("quickstart").version(env!("CARGO_PKG_VERSION")).about(ABOUT);
    let command = DEFAULTS.iter().fold(Settings::augment_args(command), |command, (id, value)| {
        command.mut_arg(*id, |argument| argument.default_value(*value))
    });
    match Settings::from_arg_matches(&command.get_matches()) {
        Ok(settings) => cli::main(settings),
        Err(e) => e.exit(),
    }
}
