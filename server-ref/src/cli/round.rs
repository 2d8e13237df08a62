//! `round`: rounds of a task.

use adafed_wire::TaskId;
use clap::{Args, Subcommand};

use super::client::{Connection, print};
use super::failure::Failure;
use super::show::{Table, bytes, fields, or_none, time, word};
use super::{EXIT_CODES, Terminal};
use crate::report::RoundReport;

/// Rounds of a task.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Round {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every round of a task.
    #[command(after_help = "Example:\n  adafed-server round list digits")]
    List { task: TaskId },
    /// Show one round at length.
    #[command(after_help = "Example:\n  adafed-server round show digits 3")]
    Show {
        task: TaskId,
        /// Number of the round, from 0.
        round: u64,
    },
}

impl Round {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let json = self.connection.json;
        match &self.command {
            Command::List { task } => {
                let body = client.get(&format!("/v1/tasks/{task}/rounds"))?;
                print(terminal, json, &body, |rounds: Vec<RoundReport>| list(&rounds))
            }
            Command::Show { task, round } => {
                let body = client.get(&format!("/v1/tasks/{task}/rounds/{round}"))?;
                print(terminal, json, &body, |round: RoundReport| show(&round))
            }
        }
    }
}

fn list(rounds: &[RoundReport]) -> String {
    let mut table = Table::new(&[
        "ROUND>", "PHASE", "SEATED>", "REPORTS>", "DROPPED>", "ACTIVE>", "UP>", "DOWN>", "OPENED",
        "CLOSED",
    ]);
    for r in rounds {
        table.row([
            r.round.to_string(),
            word(&r.phase),
            r.participants.to_string(),
            r.reports.to_string(),
            r.dropped.to_string(),
            r.active_coordinates.to_string(),
            bytes(r.bytes_up),
            bytes(r.bytes_down),
            time(r.opened_ms),
            or_none(r.closed_ms.map(time)),
        ]);
    }
    table.text("No round yet.")
}

fn show(r: &RoundReport) -> String {
    fields(&[
        ("round", r.round.to_string()),
        ("phase", word(&r.phase)),
        ("opened", time(r.opened_ms)),
        ("deadline", or_none(r.deadline_ms.map(time))),
        ("goal reached", or_none(r.goal_ms.map(time))),
        ("closed", or_none(r.closed_ms.map(time))),
        ("devices seated", r.participants.to_string()),
        ("reports", r.reports.to_string()),
        ("reports of earlier rounds", r.stale_reports.to_string()),
        ("devices dropped", r.dropped.to_string()),
        ("active coordinates", r.active_coordinates.to_string()),
        ("received", format!("{} (dense: {})", bytes(r.bytes_up), bytes(r.bytes_dense))),
        ("sent", bytes(r.bytes_down)),
    ])
}
