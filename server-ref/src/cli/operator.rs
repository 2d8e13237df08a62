//! `operator`: tokens of people and programs.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::client::{Connection, print};
use super::failure::Failure;
use super::show::{Table, or_none, time, word};
use super::token::created;
use super::{EXIT_CODES, Terminal, duration};
use crate::report::{OperatorStatus, Scope};

/// Tokens of people and programs.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Operator {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token for somebody, and print it. It is not shown again.
    #[command(
        after_help = "Example:\n  adafed-server operator create dashboard --scope read --expires 90d"
    )]
    Create {
        /// Whose it is: 1 to 64 of a-z, 0-9, `.`, `-` and `_`; never used again.
        #[arg(value_parser = name)]
        name: String,
        /// What it allows; each scope holds those before it.
        #[arg(long, value_enum)]
        scope: Scope,
        /// How long it is good, such as 7d, 12h, 30m or 10s; for ever without.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        expires: Option<Duration>,
    },
    /// List the tokens of people and programs.
    #[command(after_help = "Example:\n  adafed-server operator list")]
    List,
    /// Take a token back; its name stays taken.
    #[command(after_help = "Example:\n  adafed-server operator revoke dashboard")]
    Revoke {
        /// Whose it is.
        #[arg(value_parser = name)]
        name: String,
    },
}

/// A name that can stand in a path as it is.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    // `.` and `..` are steps in a path.
    if (1..=64).contains(&text.len())
        && text.chars().all(fits)
        && !text.trim_matches('.').is_empty()
    {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 64 of a-z, 0-9, `.`, `-` and `_`, not dots alone".to_owned())
}

impl Operator {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let json = self.connection.json;
        match &self.command {
            Command::Create { name, scope, expires } => {
                let expires_in_s = expires.map(|time| time.as_secs());
                let new = json!({ "name": name, "scope": scope, "expires_in_s": expires_in_s });
                let body = client.send(Method::POST, "/v1/operators", &new)?;
                created(terminal, json, &body)
            }
            Command::List => {
                let body = client.get("/v1/operators")?;
                print(terminal, json, &body, |operators: Vec<OperatorStatus>| list(&operators))
            }
            Command::Revoke { name } => client.delete(&format!("/v1/operators/{name}")),
        }
    }
}

fn list(operators: &[OperatorStatus]) -> String {
    let mut table = Table::new(&["NAME", "SCOPE", "CREATED", "EXPIRES", "REVOKED"]);
    for operator in operators {
        table.row([
            operator.name.clone(),
            word(&operator.scope),
            time(operator.created_ms),
            or_none(operator.expires_ms.map(time)),
            or_none(operator.revoked_ms.map(time)),
        ]);
    }
    table.text("Only the configured token exists.")
}
