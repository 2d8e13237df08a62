//! `privacy`: what a task has cost its devices, and the reports of devices.

use adafed_wire::TaskId;
use clap::{Args, Subcommand};

use super::client::{Connection, print};
use super::failure::Failure;
use super::show::{Table, epsilon, fields, or_none, word};
use super::verify::{self, Verify};
use super::{EXIT_CODES, Terminal};
use crate::report::PrivacyReport;

const VERIFY: &str = "Check a device's privacy report, without device, server or network.\n\n\
    Verifies the signature, that the device's name belongs to the key, that the plans are \
    those the device agreed to, and computes every epsilon again, by two accountants, from \
    the events in the report.";

/// What tasks cost their devices, and the privacy reports of devices.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Privacy {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What a task has cost its devices so far.
    #[command(after_help = "Example:\n  adafed-server privacy report digits --devices")]
    Report(Report),
    /// Check a device's privacy report, without device, server or network.
    #[command(long_about = VERIFY, after_help = verify::EXIT_CODES)]
    Verify(Verify),
}

#[derive(Args, Debug)]
pub(super) struct Report {
    task: TaskId,
    /// List every device too.
    #[arg(long)]
    devices: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Report {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let body = client.get(&format!("/v1/tasks/{}/privacy", self.task))?;
        print(terminal, self.connection.json, &body, |report: PrivacyReport| {
            let devices = if self.devices { devices(&report) } else { String::new() };
            summary(&report) + &distribution(&report) + &devices
        })
    }
}

fn summary(report: &PrivacyReport) -> String {
    fields(&[
        ("task", report.task.to_string()),
        ("protects", format!("one {}, {}", word(&report.unit), word(&report.adjacency))),
        ("delta", format!("{:e}", report.delta)),
        ("epsilon", format!("{} (largest of any device)", epsilon(report.epsilon))),
        ("accountant", word(&report.accountant)),
        ("  by Renyi", epsilon(report.epsilon_rdp)),
        ("  by loss distribution", or_none(report.epsilon_pld.map(epsilon))),
        ("after one more round", epsilon(report.epsilon_next_round)),
        ("after all rounds", epsilon(report.epsilon_all_rounds)),
        ("cap of a device", or_none(report.device_epsilon_cap)),
        ("cap of the task", or_none(report.task_epsilon_cap)),
        ("devices charged", report.devices.len().to_string()),
        ("devices at their cap", report.halted_devices.to_string()),
    ])
}

fn distribution(report: &PrivacyReport) -> String {
    let mut quantiles = Table::new(&["SHARE>", "EPSILON AT MOST>"]);
    for q in &report.quantiles {
        quantiles.row([format!("{:.0} %", 100.0 * q.share), epsilon(q.epsilon)]);
    }
    let mut histogram = Table::new(&["ABOVE>", "AT MOST>", "DEVICES>"]);
    for bucket in &report.histogram {
        histogram.row([
            format!("{:.4}", bucket.from),
            epsilon(bucket.to),
            bucket.devices.to_string(),
        ]);
    }
    if report.devices.is_empty() {
        return String::new();
    }
    format!("\n{}\n{}", quantiles.text(""), histogram.text(""))
}

fn devices(report: &PrivacyReport) -> String {
    let mut table = Table::new(&["DEVICE", "ROUNDS>", "EPSILON>", "AT CAP"]);
    for device in &report.devices {
        let at_cap = if device.halted { "yes" } else { "no" };
        table.row([
            device.device.to_string(),
            device.rounds_charged.to_string(),
            epsilon(device.epsilon),
            at_cap.to_owned(),
        ]);
    }
    "\n".to_owned() + &table.text("No device has been charged.")
}
