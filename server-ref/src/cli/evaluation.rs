//! `evaluation`: loss and accuracy of a task's models.

use adafed_wire::TaskId;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::client::{Connection, print};
use super::failure::Failure;
use super::show::{Table, time};
use super::{EXIT_CODES, Terminal};
use crate::report::Evaluation as Reported;

/// Loss and accuracy of a task's models.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Evaluation {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report how good a model is; a second report of the same round replaces the first.
    #[command(after_help = "Example:\n  adafed-server evaluation report digits --round 10 \
                            --loss 0.31 --accuracy 0.92 --examples 5000")]
    Report {
        task: TaskId,
        /// Rounds that the model has seen.
        #[arg(long)]
        round: u64,
        /// Mean loss over the examples.
        #[arg(long, allow_negative_numbers = true)]
        loss: f64,
        /// Share of the examples that the model gets right, 0 to 1.
        #[arg(long)]
        accuracy: Option<f64>,
        /// Number of the examples.
        #[arg(long)]
        examples: u64,
    },
    /// List the evaluations of a task.
    #[command(after_help = "Example:\n  adafed-server evaluation list digits")]
    List { task: TaskId },
}

impl Evaluation {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let json = self.connection.json;
        match &self.command {
            Command::Report { task, round, loss, accuracy, examples } => {
                let new = json!({
                    "round": round, "loss": loss, "accuracy": accuracy, "examples": examples,
                });
                let path = format!("/v1/tasks/{task}/evaluations");
                let body = client.send(Method::POST, &path, &new)?;
                print(terminal, json, &body, |one: Reported| list(&[one]))
            }
            Command::List { task } => {
                let body = client.get(&format!("/v1/tasks/{task}/evaluations"))?;
                print(terminal, json, &body, |all: Vec<Reported>| list(&all))
            }
        }
    }
}

fn list(evaluations: &[Reported]) -> String {
    let mut table =
        Table::new(&["ROUND>", "EVALUATOR", "LOSS>", "ACCURACY>", "EXAMPLES>", "REPORTED"]);
    for e in evaluations {
        let accuracy = e.accuracy.map_or_else(|| "-".to_owned(), |a| format!("{:.2} %", 100.0 * a));
        table.row([
            e.round.to_string(),
            e.evaluator.clone(),
            format!("{:.4}", e.loss),
            accuracy,
            e.examples.to_string(),
            time(e.reported_ms),
        ]);
    }
    table.text("No evaluation yet.")
}
