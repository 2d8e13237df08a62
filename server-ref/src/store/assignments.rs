//! Table `assignments`: permissions to release, which are the privacy charges.

use adafed_wire::{DeviceId, TaskId};
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, text, unsigned};
use crate::Error;
use crate::account::{Charge, Charges};

/// Permits a device to release in a round, and charges it.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    round: u64,
    device: DeviceId,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- assignments::insert
        INSERT INTO assignments (task, round, device, assigned_ms) VALUES ($1, $2, $3, $4)";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round));
    query.bind(device.to_string()).bind(signed(now_ms)).execute(tx.connection()).await?;
    Ok(())
}

/// What every device of a task has been charged; `warmup` is the plan's number of
/// warm-up rounds.
pub(crate) async fn charges(tx: &mut Tx, task: &TaskId, warmup: u64) -> Result<Vec<Charge>, Error> {
    let sql = "-- assignments::charges
        SELECT device, SUM(CASE WHEN round < $2 THEN 1 ELSE 0 END) AS warmup, COUNT(*) AS rounds
        FROM assignments WHERE task = $1 GROUP BY device ORDER BY device";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(warmup));
    let rows = query.fetch_all(tx.connection()).await?;
    let charge = |row| Ok(Charge { device: text(row, "device")?, charges: charges_of(row)? });
    rows.iter().map(charge).collect()
}

/// The distinct charges of a task's devices.
pub(crate) async fn distinct(
    tx: &mut Tx,
    task: &TaskId,
    warmup: u64,
) -> Result<Vec<Charges>, Error> {
    let sql = "-- assignments::distinct
        SELECT DISTINCT SUM(CASE WHEN round < $2 THEN 1 ELSE 0 END) AS warmup, COUNT(*) AS rounds
        FROM assignments WHERE task = $1 GROUP BY device";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(warmup));
    let rows = query.fetch_all(tx.connection()).await?;
    rows.iter().map(charges_of).collect()
}

/// When a device was seated last in a task.
pub(crate) async fn last_ms(
    tx: &mut Tx,
    task: &TaskId,
    device: DeviceId,
) -> Result<Option<u64>, Error> {
    let sql = "-- assignments::last_ms
        SELECT MAX(assigned_ms) AS last_ms FROM assignments WHERE device = $1 AND task = $2";
    let query = sqlx::query(sql).bind(device.to_string()).bind(task.as_str());
    maybe_unsigned(&query.fetch_one(tx.connection()).await?, "last_ms")
}

/// What one device has been charged in a task; `warmup` is the plan's number of warm-up rounds.
pub(crate) async fn of_device(
    tx: &mut Tx,
    task: &TaskId,
    device: DeviceId,
    warmup: u64,
) -> Result<Charges, Error> {
    let sql = "-- assignments::of_device
        SELECT COALESCE(SUM(CASE WHEN round < $3 THEN 1 ELSE 0 END), 0) AS warmup,
               COUNT(*) AS rounds
        FROM assignments WHERE device = $1 AND task = $2";
    let query = sqlx::query(sql).bind(device.to_string()).bind(task.as_str());
    let row = query.bind(signed(warmup)).fetch_one(tx.connection()).await?;
    charges_of(&row)
}

/// Charges from counts of warm-up rounds and of all rounds.
fn charges_of(row: &AnyRow) -> Result<Charges, Error> {
    let (warmup, rounds) = (unsigned(row, "warmup")?, unsigned(row, "rounds")?);
    Ok(Charges { warmup, main: rounds.saturating_sub(warmup) })
}
