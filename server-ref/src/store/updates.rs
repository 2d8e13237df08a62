//! Table `updates`: accepted updates.

use adafed_wire::{DeviceId, Digest, TaskId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{signed, text, unsigned};
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
        WHERE a.task = $1 AND a.round = $2 AND a.device = $3";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round)).bind(device.to_string());
    let Some(row) = query.fetch_optional(tx.connection()).await? else {
        return Ok(Standing::Stranger);
    };
    match row.try_get::<Option<&str>, _>("digest")? {
        Some(_) => Ok(Standing::Reported(text(&row, "digest")?)),
        None => Ok(Standing::Assigned),
    }
}

/// An update that the round machine accepted.
pub(crate) struct Accepted<'a> {
    /// Round it was made in.
    pub(crate) base: u64,
    /// Round into whose aggregate it goes.
    pub(crate) counted_in: u64,
    pub(crate) weight: u32,
    pub(crate) body: &'a [u8],
    pub(crate) digest: Digest,
}

/// Keeps an update. The primary key refuses a second one.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    device: DeviceId,
    update: Accepted<'_>,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- updates::insert
        INSERT INTO updates (task, round, device, digest, bytes, received_ms, counted_in, weight)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let Accepted { base, counted_in, weight, body, digest } = update;
    let query = sqlx::query(sql)
        .bind(task.as_str())
        .bind(signed(base))
        .bind(device.to_string())
        .bind(digest.to_string())
        .bind(body)
        .bind(signed(now_ms))
        .bind(signed(counted_in))
        .bind(i64::from(weight));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// A stored update.
pub(crate) struct StoredUpdate {
    pub(crate) base: u64,
    pub(crate) device: String,
    pub(crate) weight: u32,
    pub(crate) body: Vec<u8>,
}

/// At most `most` updates of round `counted_in`'s aggregate after `(base, device)`, in the order
/// of base rounds and names, which is the order of aggregation.
pub(crate) async fn after(
    tx: &mut Tx,
    task: &TaskId,
    counted_in: u64,
    (base, device): (u64, &str),
    most: u32,
) -> Result<Vec<StoredUpdate>, Error> {
    let sql = "-- updates::after
        SELECT round, device, weight, bytes FROM updates
        WHERE task = $1 AND counted_in = $2 AND (round, device) > ($3, $4) AND bytes IS NOT NULL
        ORDER BY round, device LIMIT $5";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(counted_in));
    let query = query.bind(signed(base)).bind(device).bind(i64::from(most));
    let stored = |row: &AnyRow| {
        Ok(StoredUpdate {
            base: unsigned(row, "round")?,
            weight: unsigned(row, "weight")? as u32,
            device: row.try_get("device")?,
            body: row.try_get("bytes")?,
        })
    };
    query.fetch_all(tx.connection()).await?.iter().map(stored).collect()
}

/// Drops the bytes of at most `most` updates of closed rounds, and says of how many; their
/// digests stay, so that a repetition is recognised.
pub(crate) async fn forget_some(tx: &mut Tx, most: u32) -> Result<u64, Error> {
    let sql = "-- updates::forget_some
        UPDATE updates SET bytes = NULL WHERE (task, round, device) IN (
            SELECT u.task, u.round, u.device
            FROM updates u JOIN rounds r ON r.task = u.task AND r.round = u.counted_in
            WHERE u.bytes IS NOT NULL AND r.closed_ms IS NOT NULL LIMIT $1)";
    let query = sqlx::query(sql).bind(i64::from(most));
    Ok(query.execute(tx.connection()).await?.rows_affected())
}
