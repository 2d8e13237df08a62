//! Table `controls`: what operators, caps and replicas decide about a task.

use adafed_wire::{RoundPlan, TaskId, TaskSettings};
use sqlx::Row;

use super::row::{maybe_unsigned, signed};
use super::{Kind, Tx};
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
    /// The replica that closes the current round, and until when the others leave it alone.
    pub(crate) lease: Option<(String, u64)>,
}

impl Control {
    /// Whether this replica closes the round.
    pub(crate) fn is_leased_to(&self, replica: &str) -> bool {
        self.lease.as_ref().is_some_and(|(owner, _)| owner == replica)
    }

    /// Whether another replica closes the round, and may still be at it.
    pub(crate) fn is_leased_to_other(&self, replica: &str, now_ms: u64) -> bool {
        self.lease.as_ref().is_some_and(|(owner, until)| owner != replica && now_ms < *until)
    }

    /// What the rounds of a task with this plan are run by.
    pub(crate) fn rules<'a>(&'a self, plan: &'a RoundPlan) -> Rules<'a> {
        Rules { plan, settings: &self.settings, seating: self.status == Status::Running }
    }
}

/// Keeps other writers off a task until the transaction ends: what is read about it after this
/// is what they left.
pub(crate) async fn lock(tx: &mut Tx, task: &TaskId) -> Result<(), Error> {
    let sql = "-- controls::lock
        SELECT task FROM controls WHERE task = $1 FOR UPDATE";
    // SQLite has one writer, and its lock is taken already.
    if tx.kind == Kind::Postgres && !tx.locked.contains(task) {
        sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
        tx.locked.push(task.clone());
    }
    Ok(())
}

/// Stores the controls of a new task.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    settings: &TaskSettings,
) -> Result<(), Error> {
    let sql = "-- controls::insert
        INSERT INTO controls (task, settings, status) VALUES ($1, $2, 'running')";
    let query = sqlx::query(sql).bind(task.as_str()).bind(json(settings)?);
    query.execute(tx.connection()).await?;
    Ok(())
}

/// The controls of a task.
pub(crate) async fn find(tx: &mut Tx, task: &TaskId) -> Result<Control, Error> {
    let sql = "-- controls::find
        SELECT settings, status, lease_owner, lease_until_ms FROM controls WHERE task = $1";
    let row = sqlx::query(sql).bind(task.as_str()).fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownTask { task: task.clone() })?;
    let corrupt = |reason: String| Error::Corrupt { what: "task's controls", reason };
    let name: &str = row.try_get("status")?;
    let status = Status::ALL.into_iter().find(|s| s.as_str() == name);
    let settings = serde_json::from_str(row.try_get("settings")?);
    let owner: Option<String> = row.try_get("lease_owner")?;
    let until = maybe_unsigned(&row, "lease_until_ms")?;
    Ok(Control {
        lease: owner.zip(until),
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
        UPDATE controls SET settings = $1 WHERE task = $2";
    let query = sqlx::query(sql).bind(json(settings)?).bind(task.as_str());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Changes a task's status.
pub(crate) async fn set_status(tx: &mut Tx, task: &TaskId, status: Status) -> Result<(), Error> {
    let sql = "-- controls::set_status
        UPDATE controls SET status = $1 WHERE task = $2";
    let query = sqlx::query(sql).bind(status.as_str()).bind(task.as_str());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Takes the lease on closing the current round.
pub(crate) async fn set_lease(
    tx: &mut Tx,
    task: &TaskId,
    owner: &str,
    until_ms: u64,
) -> Result<(), Error> {
    let sql = "-- controls::set_lease
        UPDATE controls SET lease_owner = $1, lease_until_ms = $2 WHERE task = $3";
    let query = sqlx::query(sql).bind(owner).bind(signed(until_ms)).bind(task.as_str());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Lengthens the lease, unless it went to another replica.
pub(crate) async fn renew_lease(
    tx: &mut Tx,
    task: &TaskId,
    owner: &str,
    until_ms: u64,
) -> Result<(), Error> {
    let sql = "-- controls::renew_lease
        UPDATE controls SET lease_until_ms = $1 WHERE task = $2 AND lease_owner = $3";
    let query = sqlx::query(sql).bind(signed(until_ms)).bind(task.as_str()).bind(owner);
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Gives the lease up: the round is closed.
pub(crate) async fn drop_lease(tx: &mut Tx, task: &TaskId) -> Result<(), Error> {
    let sql = "-- controls::drop_lease
        UPDATE controls SET lease_owner = NULL, lease_until_ms = NULL WHERE task = $1";
    sqlx::query(sql).bind(task.as_str()).execute(tx.connection()).await?;
    Ok(())
}

fn json(settings: &TaskSettings) -> Result<String, Error> {
    let malformed =
        |e: serde_json::Error| Error::Malformed { what: "settings", reason: e.to_string() };
    serde_json::to_string(settings).map_err(malformed)
}
