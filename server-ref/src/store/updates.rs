//! Table `updates`: accepted updates.

use adafed_wire::{DeviceId, Digest, TaskId};
use sqlx::Row;

use super::Tx;
use super::row::{signed, text};
use crate::Error;
use crate::round::Standing;

/// What a device has done in a round.
pub(crate) async fn standing(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
    device: DeviceId,
) -> Result<Standing, Error> {
    let sql = "-- updates::standing
        SELECT u.digest FROM assignments a LEFT JOIN updates u USING (task, round, device)
        WHERE a.task = ? AND a.round = ? AND a.device = ?";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round)).bind(device.to_string());
    let Some(row) = query.fetch_optional(tx.connection()).await? else {
        return Ok(Standing::Stranger);
    };
    match row.try_get::<Option<&str>, _>("digest")? {
        Some(_) => Ok(Standing::Reported(text(&row, "digest")?)),
        None => Ok(Standing::Assigned),
    }
}

/// Keeps an update. The primary key refuses a second one.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
    device: DeviceId,
    body: &[u8],
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- updates::insert
        INSERT INTO updates (task, round, device, digest, bytes, received_ms)
        VALUES (?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(task.as_str())
        .bind(signed(round))
        .bind(device.to_string())
        .bind(Digest::of(body).to_string())
        .bind(body)
        .bind(signed(now_ms));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// The next update of a round after `device` in the order of names, which is the order
/// of aggregation.
pub(crate) async fn after(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
    device: &str,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let sql = "-- updates::after
        SELECT device, bytes FROM updates
        WHERE task = ? AND round = ? AND device > ? AND bytes IS NOT NULL
        ORDER BY device LIMIT 1";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round)).bind(device);
    let row = query.fetch_optional(tx.connection()).await?;
    row.map(|row| Ok((row.try_get("device")?, row.try_get("bytes")?))).transpose()
}

/// Drops the bytes of a closed round's updates; their digests stay.
pub(crate) async fn forget_bytes(tx: &mut Tx, task: &TaskId, round: u64) -> Result<(), Error> {
    let sql = "-- updates::forget_bytes
        UPDATE updates SET bytes = NULL WHERE task = ? AND round = ?";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round));
    query.execute(tx.connection()).await?;
    Ok(())
}
