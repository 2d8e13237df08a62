//! The command line: the server itself, and everything that an operator asks of one.
//!
//! One file a noun; `client` speaks HTTP, `show` makes tables, `failure` holds the exit codes.

mod client;
mod config;
mod device;
mod duration;
mod evaluation;
mod failure;
mod forecast;
mod model;
mod operator;
mod parameters;
mod privacy;
mod round;
mod serve;
mod show;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod verdict;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use failure::{EXIT_CODES, Failure};

const EXAMPLE: &str = "Example:\n  adafed-server serve --config adafed.toml";

/// Reference aggregation server of AdaFed, and its operator's commands.
#[derive(Debug, Parser)]
#[command(name = "adafed-server", version, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve devices and people until ctrl-c or SIGTERM.
    Serve(serve::Serve),
    /// Check, show and explain the configuration of `serve`.
    Config(config::Config),
    /// Create, watch and steer tasks.
    Task(task::Task),
    /// Rounds of a task.
    Round(round::Round),
    /// Devices that have enrolled.
    Device(device::Device),
    /// Tokens that devices enrol with.
    Token(token::Token),
    /// Tokens of people and programs.
    Operator(operator::Operator),
    /// Loss and accuracy of a task's models.
    Evaluation(evaluation::Evaluation),
    /// What tasks cost their devices, and the privacy reports of devices.
    Privacy(privacy::Privacy),
    /// The model of a task.
    Model(model::Model),
    /// Print a completion script.
    #[command(after_help = "Example:\n  adafed-server completions bash > \
                            /etc/bash_completion.d/adafed-server")]
    Completions {
        /// Shell to complete in.
        shell: Shell,
    },
}

/// Where a command writes.
struct Terminal<'a> {
    /// What was asked for.
    out: &'a mut dyn Write,
    /// What is to be said beside it.
    err: &'a mut dyn Write,
}

impl Terminal<'_> {
    fn print(&mut self, text: &str) -> Result<(), Failure> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            // A reader that left early, such as `head`, has what it wanted.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|e| Failure::written("standard output", &e)),
        }
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "adafed-server: {text}");
    }
}

/// Runs the program named by the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()).into()
}

/// Runs the program named by `arguments`, the first of which is its own name; the exit code.
fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut terminal = Terminal { out, err };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => return usage(&e, &mut terminal),
    };
    cli.command.run(&mut terminal).unwrap_or_else(|failure| {
        let _ = write!(terminal.err, "{failure}");
        failure.exit_code()
    })
}

/// Prints help, or what is wrong with the command line.
fn usage(e: &clap::Error, terminal: &mut Terminal<'_>) -> u8 {
    let colour =
        if e.use_stderr() { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let text = e.render();
    let text = if colour { text.ansi().to_string() } else { text.to_string() };
    let to: &mut dyn Write = if e.use_stderr() { terminal.err } else { terminal.out };
    let _ = to.write_all(text.as_bytes());
    u8::try_from(e.exit_code()).unwrap_or(1)
}

impl Command {
    fn run(&self, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
        match self {
            Self::Serve(serve) => serve.run(terminal),
            Self::Config(config) => config.run(terminal),
            Self::Task(task) => task.run(terminal),
            Self::Round(round) => round.run(terminal),
            Self::Device(device) => device.run(terminal),
            Self::Token(token) => token.run(terminal),
            Self::Operator(operator) => operator.run(terminal),
            Self::Evaluation(evaluation) => evaluation.run(terminal),
            Self::Privacy(privacy) => match &privacy.command {
                privacy::Command::Verify(verify) => return Ok(verify.run()),
                privacy::Command::Report(report) => report.run(terminal),
            },
            Self::Model(model) => model.run(terminal),
            Self::Completions { shell } => completions(*shell, terminal),
        }
        .map(|()| 0)
    }
}

fn completions(shell: Shell, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "adafed-server", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))
}
