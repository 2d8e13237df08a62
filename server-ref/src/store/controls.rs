//! Table `controls`: what operators, caps and replicas decide about a task.

use adafed_wire::{RoundPlan, TaskId, TaskSettings};
use sqlx::Row;

use super::Tx;
use crate::Error;
use crate::round::Rules;

/// What stands about a task that is not through its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Paused,
    Cancelled,
    Halted,
}

impl Status {
    const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Cancelled, Self::Halted];

    /// Name, as in the database and in messages.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Halted => "halted",
        }
    }

    /// Whether the task never goes on.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Halted)
    }
}

/// A task's controls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Control {
    pub(crate) settings: TaskSettings,
    pub(crate) status: Status,
}

impl Control {
    /// What the rounds of a task with this plan are run by.
    pub(crate) fn rules<'a>(&'a self, plan: &'a RoundPlan) -> Rules<'a> {
        Rules { plan, settings: &self.settings, seating: self.status == Status::Running }
    }
}

/// Stores the controls of a new task.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    settings: &TaskSettings,
) -> Result<(), Error> {
    let sql = "-- controls::insert
        INSERT INTO controls (task, settings, status) VALUES (?, ?, 'running')";
    let query = sqlx::query(sql).bind(task.as_str()).bind(json(settings)?);
    query.execute(tx.connection()).await?;
    Ok(())
}

/// The controls of a task.
pub(crate) async fn find(tx: &mut Tx, task: &TaskId) -> Result<Control, Error> {
    let sql = "-- controls::find
        SELECT settings, status FROM controls WHERE task = ?";
    let row = sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownTask { task: task.clone() })?;
    let corrupt = |reason: String| Error::Corrupt { what: "task's controls", reason };
    let name: &str = row.try_get("status")?;
    let status = Status::ALL.into_iter().find(|s| s.as_str() == name);
    let settings = serde_json::from_str(row.try_get("settings")?);
    Ok(Control {
        settings: settings.map_err(|e| corrupt(e.to_string()))?,
        status: status.ok_or_else(|| corrupt(format!("{name:?} is no status")))?,
    })
}

/// Replaces a task's settings.
pub(crate) async fn set_settings(
    tx: &mut Tx,
    task: &TaskId,
    settings: &TaskSettings,
) -> Result<(), Error> {
    let sql = "-- controls::set_settings
        UPDATE controls SET settings = ? WHERE task = ?";
    let query = sqlx::query(sql).bind(json(settings)?).bind(task.as_str());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Changes a task's status.
pub(crate) async fn set_status(tx: &mut Tx, task: &TaskId, status: Status) -> Result<(), Error> {
    let sql = "-- controls::set_status
        UPDATE controls SET status = ? WHERE task = ?";
    let query = sqlx::query(sql).bind(status.as_str()).bind(task.as_str());
    query.execute(tx.connection()).await?;
    Ok(())
}

fn json(settings: &TaskSettings) -> Result<String, Error> {
    let malformed =
        |e: serde_json::Error| Error::Malformed { what: "settings", reason: e.to_string() };
    serde_json::to_string(settings).map_err(malformed)
}
