//! `config`: check, show and explain the configuration of `serve`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Terminal;
use super::failure::{EXIT_CODES, Failure};
use super::serve::{Source, filter};
use crate::config::{self as configuration, Effective};
use crate::server::check_certificates;
use crate::{Database, Error};

/// Check, show and explain the configuration of `serve`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{}\n\n{EXIT_CODES}", configuration::variables()))]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything that `serve` would, certificates included, and say what is in force.
    #[command(after_help = "Example:\n  adafed-server config check --config adafed.toml")]
    Check(Shown),
    /// Print what is in force as TOML, each line with where it comes from, secrets hidden.
    #[command(after_help = "Example:\n  adafed-server config show --config adafed.toml")]
    Show(Shown),
    /// Print a commented file with every key and its default.
    #[command(after_help = "Example:\n  adafed-server config example > adafed.toml")]
    Example,
}

#[derive(Args, Debug)]
struct Shown {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        match &self.command {
            Command::Check(shown) => shown.check(terminal),
            Command::Show(shown) => shown.show(terminal),
            Command::Example => terminal.print(&configuration::example()),
        }
    }
}

impl Shown {
    fn show(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let effective = self.source.read()?;
        let json = json!({ "settings": configuration::effective_json(&effective) });
        let text = configuration::effective(&effective);
        terminal.print(&if self.json { format!("{json:#}\n") } else { text })
    }

    fn check(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let effective = self.source.read()?;
        let summary = check(&effective)?;
        let settings = configuration::effective_json(&effective);
        let json = json!({ "valid": true, "settings": settings });
        let text = configuration::effective(&effective) + "\n" + &summary;
        terminal.print(&if self.json { format!("{json:#}\n") } else { text })
    }
}

/// Everything that can be checked without starting, and what it comes to.
fn check(effective: &Effective) -> Result<String, Error> {
    let config = effective.server()?;
    filter(&effective.settings.log)?;
    let scheme = match &config.tls {
        Some(tls) => {
            check_certificates(tls)?;
            let clients = tls.client_authorities.is_some();
            if clients { "https, with certificates of clients" } else { "https" }
        }
        None => "http, unencrypted",
    };
    let database = match &config.database {
        Database::Sqlite(_) => "one SQLite file, for one server",
        Database::Postgres(_) => "PostgreSQL, for any number of servers",
    };
    let reading = if config.open_reading { "anybody" } else { "who has a token" };
    Ok(format!("valid: {scheme} on {}; {database}; reports are read by {reading}\n", config.listen))
}
