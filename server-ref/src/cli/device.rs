//! `device`: devices that have enrolled.

use adafed_wire::DeviceId;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Connection, parse, print};
use super::failure::Failure;
use super::show::{Table, fields, or_none, time, word};
use super::{EXIT_CODES, Terminal};
use crate::report::DeviceStatus;

/// Devices asked for at once.
const PAGE: u64 = 1_000;

/// Devices that have enrolled.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Device {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List devices by name.
    #[command(after_help = "Example:\n  adafed-server device list --limit 100")]
    List {
        /// Only devices after this one.
        #[arg(long, value_name = "DEVICE")]
        after: Option<DeviceId>,
        /// At most so many devices; all without.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Show one device.
    #[command(
        after_help = "Example:\n  adafed-server device show 0123456789abcdef0123456789abcdef"
    )]
    Show { device: DeviceId },
    /// Take no more requests of a device.
    #[command(after_help = "Example:\n  adafed-server device revoke \
                            0123456789abcdef0123456789abcdef --ban")]
    Revoke {
        device: DeviceId,
        /// Let its key never enrol again; without, it may with a new token.
        #[arg(long)]
        ban: bool,
    },
}

impl Device {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let body = match &self.command {
            Command::List { after, limit } => {
                let found = pages(&client, *after, *limit)?;
                let body = Value::Array(found).to_string().into_bytes();
                let text = |devices: Vec<DeviceStatus>| list(&devices);
                return print(terminal, self.connection.json, &body, text);
            }
            Command::Show { device } => client.get(&format!("/v1/devices/{device}"))?,
            Command::Revoke { device, ban } => {
                let path = format!("/v1/devices/{device}/revoke");
                client.send(Method::POST, &path, &json!({ "ban": ban }))?
            }
        };
        print(terminal, self.connection.json, &body, |device: DeviceStatus| show(&device))
    }
}

/// Page after page, until there is none or enough.
fn pages(
    client: &Client,
    mut after: Option<DeviceId>,
    limit: Option<u64>,
) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let left = limit.map_or(PAGE, |limit| PAGE.min(limit.saturating_sub(found.len() as u64)));
        if left == 0 {
            return Ok(found);
        }
        let from = after.map_or_else(String::new, |after| format!("&after={after}"));
        let page: Vec<Value> = parse(&client.get(&format!("/v1/devices?limit={left}{from}"))?)?;
        let last = page.last().and_then(|device| device["device"].as_str()?.parse().ok());
        found.extend(page);
        // A server that does not go on would keep the command asking for ever.
        if last.is_none() || last <= after {
            return Ok(found);
        }
        after = last;
    }
}

fn list(devices: &[DeviceStatus]) -> String {
    let mut table =
        Table::new(&["DEVICE", "STATE", "VERSION", "WEIGHT>", "ROUNDS>", "ENROLLED", "SEEN"]);
    for device in devices {
        table.row([
            device.device.to_string(),
            word(&device.state),
            or_none(device.version.as_ref()),
            device.weight.to_string(),
            device.rounds_charged.to_string(),
            time(device.enrolled_ms),
            or_none(device.seen_ms.map(time)),
        ]);
    }
    table.text("No device has enrolled.")
}

fn show(device: &DeviceStatus) -> String {
    fields(&[
        ("device", device.device.to_string()),
        ("state", word(&device.state)),
        ("enrolled", time(device.enrolled_ms)),
        ("seen", or_none(device.seen_ms.map(time))),
        ("version of the SDK", or_none(device.version.as_ref())),
        ("weight", device.weight.to_string()),
        ("rounds charged", device.rounds_charged.to_string()),
    ])
}
