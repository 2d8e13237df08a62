//! Table `rounds`: current and past rounds.

use adafed_wire::{Digest, TaskId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, text, unsigned};
use crate::Error;
use crate::report::RoundReport;
use crate::round::{Phase, Round};

/// A round with what its devices work on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundRow {
    pub(crate) number: u64,
    pub(crate) round: Round,
    pub(crate) model: Digest,
    pub(crate) mask: Digest,
    pub(crate) scale: Digest,
    pub(crate) active: usize,
}

impl RoundRow {
    fn of_row(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            number: unsigned(row, "round")?,
            round: Round {
                phase: phase(row)?,
                assigned: unsigned(row, "assigned")? as u32,
                reports: unsigned(row, "reports")? as u32,
                stale_reports: unsigned(row, "stale_reports")? as u32,
                deadline_ms: maybe_unsigned(row, "deadline_ms")?,
                goal_ms: maybe_unsigned(row, "goal_ms")?,
            },
            model: text(row, "model")?,
            mask: text(row, "mask")?,
            scale: text(row, "scale")?,
            active: unsigned(row, "active")? as usize,
        })
    }
}

/// Opens a round.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    row: &RoundRow,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- rounds::insert
        INSERT INTO rounds (task, round, phase, model, mask, scale, active, assigned, reports,
                            opened_ms, bytes_up, bytes_down)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, 0, 0)";
    let query = sqlx::query(sql)
        .bind(task.as_str())
        .bind(signed(row.number))
        .bind(row.round.phase.as_str())
        .bind(row.model.to_string())
        .bind(row.mask.to_string())
        .bind(row.scale.to_string())
        .bind(signed(row.active as u64))
        .bind(signed(now_ms));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// A round by number.
pub(crate) async fn find(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
) -> Result<Option<RoundRow>, Error> {
    let sql = "-- rounds::find
        SELECT round, phase, assigned, reports, stale_reports, deadline_ms, goal_ms, model, mask,
               scale, active
        FROM rounds WHERE task = $1 AND round = $2";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round));
    query.fetch_optional(tx.connection()).await?.as_ref().map(RoundRow::of_row).transpose()
}

/// Whether a task's open round waits for aggregation or has passed its deadline.
pub(crate) async fn is_due(tx: &mut Tx, task: &TaskId, now_ms: u64) -> Result<bool, Error> {
    let sql = "-- rounds::is_due
        SELECT round FROM rounds
        WHERE task = $1 AND closed_ms IS NULL AND (phase = 'aggregating' OR deadline_ms <= $2)";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(now_ms));
    Ok(query.fetch_optional(tx.connection()).await?.is_some())
}

/// The last round that was opened: the current one, unless the task has ended.
pub(crate) async fn latest(tx: &mut Tx, task: &TaskId) -> Result<Option<RoundRow>, Error> {
    let sql = "-- rounds::latest
        SELECT round, phase, assigned, reports, stale_reports, deadline_ms, goal_ms, model, mask,
               scale, active
        FROM rounds WHERE task = $1 ORDER BY round DESC LIMIT 1";
    let query = sqlx::query(sql).bind(task.as_str());
    query.fetch_optional(tx.connection()).await?.as_ref().map(RoundRow::of_row).transpose()
}

/// Stores what a step of the machine changed. `now_ms` is when a closed round closed.
pub(crate) async fn update(
    tx: &mut Tx,
    task: &TaskId,
    number: u64,
    round: Round,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- rounds::update
        UPDATE rounds SET phase = $1, assigned = $2, reports = $3, stale_reports = $4,
                          deadline_ms = $5, goal_ms = $6, closed_ms = $7
        WHERE task = $8 AND round = $9";
    let query = sqlx::query(sql)
        .bind(round.phase.as_str())
        .bind(i64::from(round.assigned))
        .bind(i64::from(round.reports))
        .bind(i64::from(round.stale_reports))
        .bind(round.deadline_ms.map(signed))
        .bind(round.goal_ms.map(signed))
        .bind(round.phase.is_closed().then_some(signed(now_ms)))
        .bind(task.as_str())
        .bind(signed(number));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Counts bytes of update bodies and of bodies sent to devices.
pub(crate) async fn add_bytes(
    tx: &mut Tx,
    task: &TaskId,
    number: u64,
    up: u64,
    down: u64,
) -> Result<(), Error> {
    let sql = "-- rounds::add_bytes
        UPDATE rounds SET bytes_up = bytes_up + $1, bytes_down = bytes_down + $2
        WHERE task = $3 AND round = $4";
    let query = sqlx::query(sql).bind(signed(up)).bind(signed(down));
    query.bind(task.as_str()).bind(signed(number)).execute(tx.connection()).await?;
    Ok(())
}

/// Tasks whose open round waits for aggregation or has passed its deadline.
pub(crate) async fn due(tx: &mut Tx, now_ms: u64) -> Result<Vec<TaskId>, Error> {
    let sql = "-- rounds::due
        SELECT task FROM rounds
        WHERE closed_ms IS NULL AND (phase = 'aggregating' OR deadline_ms <= $1)";
    let rows = sqlx::query(sql).bind(signed(now_ms)).fetch_all(tx.connection()).await?;
    rows.iter().map(|row| text(row, "task")).collect()
}

/// Every round of a task over a model of `parameters` parameters, in order.
pub(crate) async fn history(
    tx: &mut Tx,
    task: &TaskId,
    parameters: usize,
) -> Result<Vec<RoundReport>, Error> {
    let sql = "-- rounds::history
        SELECT round, phase, assigned, reports, stale_reports, deadline_ms, goal_ms, active,
               opened_ms, closed_ms, bytes_up, bytes_down
        FROM rounds WHERE task = $1 ORDER BY round";
    let rows = sqlx::query(sql).bind(task.as_str()).fetch_all(tx.connection()).await?;
    rows.iter().map(|row| report(row, parameters)).collect()
}

/// Bytes of a parameter as a dense float.
const FLOAT_BYTES: u64 = 4;

fn report(row: &AnyRow, parameters: usize) -> Result<RoundReport, Error> {
    let (phase, reports) = (phase(row)?, unsigned(row, "reports")? as u32);
    let participants = unsigned(row, "assigned")? as u32;
    let stale_reports = unsigned(row, "stale_reports")? as u32;
    let updates = u64::from(reports) + u64::from(stale_reports);
    Ok(RoundReport {
        round: unsigned(row, "round")?,
        phase,
        opened_ms: unsigned(row, "opened_ms")?,
        deadline_ms: maybe_unsigned(row, "deadline_ms")?,
        closed_ms: maybe_unsigned(row, "closed_ms")?,
        participants,
        reports,
        stale_reports,
        dropped: if phase.is_closed() { participants - reports.min(participants) } else { 0 },
        goal_ms: maybe_unsigned(row, "goal_ms")?,
        active_coordinates: unsigned(row, "active")?,
        bytes_up: unsigned(row, "bytes_up")?,
        bytes_dense: updates * parameters as u64 * FLOAT_BYTES,
        bytes_down: unsigned(row, "bytes_down")?,
    })
}

fn phase(row: &AnyRow) -> Result<Phase, Error> {
    let name: &str = row.try_get("phase")?;
    let unknown = || Error::Corrupt { what: "phase", reason: format!("{name:?} is none") };
    Phase::of_name(name).ok_or_else(unknown)
}
