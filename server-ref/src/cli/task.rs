//! `task`: create, watch and steer tasks.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use adafed_wire::{CreateTask, TaskId, TaskPlan, TaskSettings, encode};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::client::{Client, Connection, parse, print};
use super::failure::Failure;
use super::show::{Table, epsilon, fields, or_none, time, word};
use super::{EXIT_CODES, Terminal, forecast, parameters};
use crate::report::{Forecast, TaskStatus};

const CREATE: &str = "Examples:\n  \
    adafed-server task create plan.json --zeros --dry-run\n  \
    adafed-server task create plan.json --parameters model.safetensors --settings settings.json";

/// Create, watch and steer tasks.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Task {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a task, or with --dry-run say what it would cost.
    #[command(after_help = CREATE)]
    Create(Create),
    /// List all tasks.
    #[command(after_help = "Example:\n  adafed-server task list --json")]
    List,
    /// Show one task at length.
    #[command(after_help = "Example:\n  adafed-server task show digits")]
    Show { task: TaskId },
    /// Seat no more devices until the task is resumed; seated ones may still report.
    #[command(after_help = "Example:\n  adafed-server task pause digits")]
    Pause { task: TaskId },
    /// Seat devices again.
    #[command(after_help = "Example:\n  adafed-server task resume digits")]
    Resume { task: TaskId },
    /// End a task for good; its model stays as it is.
    #[command(after_help = "Example:\n  adafed-server task cancel digits")]
    Cancel { task: TaskId },
    /// Print a task's settings as JSON, or replace them.
    #[command(after_help = "Example:\n  adafed-server task settings digits > settings.json\n  \
                            adafed-server task settings digits settings.json")]
    Settings {
        task: TaskId,
        /// JSON file with the new settings, `-` for standard input; what it leaves out goes
        /// back to its default.
        file: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// The task's plan, a JSON file; `-` for standard input.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// The model's first parameters: a safetensors file with the tensors that the plan names,
    /// or a JSON array in a file whose name ends in .json.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["zeros", "dry_run"])]
    parameters: Option<PathBuf>,
    /// Begin with zeros, which most models cannot learn from.
    #[arg(long)]
    zeros: bool,
    /// How the task is run, a JSON file; defaults without.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Create nothing: say what the task would cost, and whether it is possible.
    #[arg(long)]
    dry_run: bool,
}

impl Task {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        // Files first: what is wrong with them needs no server.
        let new = match &self.command {
            Command::Create(create) => Some(create.read()?),
            _ => None,
        };
        let client = self.connection.open(terminal)?;
        let json = self.connection.json;
        let body = match (&self.command, new) {
            (Command::Create(create), Some(new)) => {
                return create.send(&client, &new, json, terminal);
            }
            (Command::List, _) => {
                let body = client.get("/v1/tasks")?;
                return print(terminal, json, &body, |tasks: Vec<TaskStatus>| list(&tasks));
            }
            (Command::Settings { task, file }, _) => {
                return settings(&client, task, file.as_deref(), json, terminal);
            }
            (Command::Pause { task }, _) => client.post(&path(task, "/pause"))?,
            (Command::Resume { task }, _) => client.post(&path(task, "/resume"))?,
            (Command::Cancel { task }, _) => client.post(&path(task, "/cancel"))?,
            (Command::Show { task }, _) => client.get(&path(task, ""))?,
            (Command::Create(_), None) => return Ok(()),
        };
        print(terminal, json, &body, |task: TaskStatus| show(&task))
    }
}

fn path(task: &TaskId, rest: &str) -> String {
    format!("/v1/tasks/{task}{rest}")
}

impl Create {
    fn read(&self) -> Result<CreateTask, Failure> {
        let plan: TaskPlan = json_file(&self.plan)?;
        plan.check().map_err(|e| Failure::file(&self.plan, format!("{e} [{}]", e.code())))?;
        let settings = self.settings.as_deref().map(|path| settings_file(path, &plan));
        let settings = settings.transpose()?.unwrap_or_default();
        let parameters = match &self.parameters {
            Some(path) => parameters::read(path, &plan.layout)?,
            None => vec![0.0; plan.layout.len()],
        };
        let zeros = self.zeros || (self.dry_run && self.parameters.is_none());
        if !zeros && parameters.iter().all(|value| *value == 0.0) {
            return Err(Failure::Input(
                "every parameter is zero, which most models cannot learn from; give --zeros if \
                 that is meant"
                    .to_owned(),
            ));
        }
        Ok(CreateTask { plan, parameters, settings })
    }

    fn send(
        &self,
        client: &Client,
        new: &CreateTask,
        json: bool,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), Failure> {
        let body = encode(new).map_err(|e| Failure::Input(format!("{e} [{}]", e.code())))?;
        if self.dry_run {
            let body = client.post_encoded("/v1/tasks?dry_run=true", body)?;
            return print(terminal, json, &body, |f: Forecast| forecast::text(&f));
        }
        let body = client.post_encoded("/v1/tasks", body)?;
        print(terminal, json, &body, |task: TaskStatus| show(&task))
    }
}

fn settings(
    client: &Client,
    task: &TaskId,
    file: Option<&Path>,
    json: bool,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let Some(file) = file else {
        let status: serde_json::Value = parse(&client.get(&path(task, ""))?)?;
        return terminal.print(&format!("{:#}\n", status["settings"]));
    };
    let settings: TaskSettings = json_file(file)?;
    let body = client.send(Method::PUT, &path(task, "/settings"), &settings)?;
    print(terminal, json, &body, |task: TaskStatus| show(&task))
}

fn settings_file(path: &Path, plan: &TaskPlan) -> Result<TaskSettings, Failure> {
    let settings: TaskSettings = json_file(path)?;
    let checked = settings.check(&plan.rounds);
    checked.map_err(|e| Failure::file(path, format!("{e} [{}]", e.code())))?;
    Ok(settings)
}

/// A JSON file; `-` is standard input.
fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let read = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    let bytes = read.map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::file(path, e))
}

fn list(tasks: &[TaskStatus]) -> String {
    let mut table = Table::new(&[
        "TASK", "STATE", "ROUND>", "OF>", "PHASE", "SEATED>", "REPORTS>", "EPSILON>", "AT END>",
    ]);
    for task in tasks {
        table.row([
            task.task.to_string(),
            word(&task.state),
            task.round.to_string(),
            task.rounds.to_string(),
            word(&task.phase),
            task.participants.to_string(),
            task.reports.to_string(),
            epsilon(task.epsilon),
            epsilon(task.epsilon_all_rounds),
        ]);
    }
    table.text("No task yet.")
}

fn show(task: &TaskStatus) -> String {
    let settings = &task.settings;
    fields(&[
        ("task", task.task.to_string()),
        ("state", word(&task.state)),
        ("round", format!("{} of {}, {}", task.round, task.rounds, word(&task.phase))),
        ("devices seated", task.participants.to_string()),
        ("reports", task.reports.to_string()),
        ("active coordinates", format!("{} of {}", task.active_coordinates, task.parameters)),
        ("delta", format!("{:e}", task.delta)),
        ("epsilon", format!("{} (largest of any device)", epsilon(task.epsilon))),
        ("  after one more round", epsilon(task.epsilon_next_round)),
        ("  after all rounds", epsilon(task.epsilon_all_rounds)),
        ("accountant", word(&task.accountant)),
        ("cap of a device", or_none(settings.device_epsilon_cap)),
        ("cap of the task", or_none(settings.task_epsilon_cap)),
        ("starts", or_none(settings.start_ms.map(time))),
        ("stops", or_none(settings.stop_ms.map(time))),
        ("plan", task.plan.to_string()),
        ("model", task.model.to_string()),
    ])
}
