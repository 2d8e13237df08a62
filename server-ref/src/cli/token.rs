//! `token`: tokens that devices enrol with.

use std::time::Duration;

use adafed_wire::Digest;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{Connection, parse, print};
use super::failure::Failure;
use super::show::{Table, or_none, printable, time};
use super::{EXIT_CODES, Terminal, duration};
use crate::report::TokenStatus;

/// Tokens that devices enrol with.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Token {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token, and print it. It is not shown again.
    #[command(after_help = "Example:\n  adafed-server token create --uses 100 --expires 7d")]
    Create {
        /// Devices that may enrol with it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// How long it is good, such as 7d, 12h, 30m or 10s; for ever without.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        expires: Option<Duration>,
        /// How much the updates of these devices count where a task weighs devices.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
    },
    /// List the tokens that are good, by their digests.
    #[command(after_help = "Example:\n  adafed-server token list")]
    List,
    /// Take a token back; devices that used it stay.
    #[command(after_help = "Example:\n  adafed-server token revoke DIGEST")]
    Revoke {
        /// Digest of the token, as `token list` has it.
        digest: Digest,
    },
}

/// A token that was made.
#[derive(Deserialize)]
pub(super) struct Created {
    token: String,
    #[serde(default)]
    expires_ms: Option<u64>,
}

impl Token {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let json = self.connection.json;
        match &self.command {
            Command::Create { uses, expires, weight } => {
                let expires_in_s = expires.map(|time| time.as_secs());
                let new = json!({ "uses": uses, "expires_in_s": expires_in_s, "weight": weight });
                let body = client.send(Method::POST, "/v1/tokens", &new)?;
                created(terminal, json, &body)
            }
            Command::List => {
                let body = client.get("/v1/tokens")?;
                print(terminal, json, &body, |tokens: Vec<TokenStatus>| list(&tokens))
            }
            Command::Revoke { digest } => client.delete(&format!("/v1/tokens/{digest}")),
        }
    }
}

/// The token alone where a program reads it, and beside it what is to be known.
pub(super) fn created(terminal: &mut Terminal<'_>, json: bool, body: &[u8]) -> Result<(), Failure> {
    if !json {
        let Created { expires_ms, .. } = parse(body)?;
        let until =
            expires_ms.map_or_else(|| "for ever".to_owned(), |ms| "until ".to_owned() + &time(ms));
        terminal.note(&format!("the token is good {until}, and is not shown again"));
    }
    print(terminal, json, body, |created: Created| printable(&created.token) + "\n")
}

fn list(tokens: &[TokenStatus]) -> String {
    let mut table = Table::new(&["DIGEST", "USES LEFT>", "WEIGHT>", "CREATED", "EXPIRES"]);
    for token in tokens {
        table.row([
            token.digest.clone(),
            token.uses_left.to_string(),
            token.weight.to_string(),
            time(token.created_ms),
            or_none(token.expires_ms.map(time)),
        ]);
    }
    table.text("No token is good.")
}
