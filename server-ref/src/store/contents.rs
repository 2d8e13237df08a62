//! Table `contents`: models, masks and scale states by digest.

use adafed_wire::{Digest, TaskId};
use sqlx::Row;

use super::Tx;
use super::row::signed;
use crate::Error;

/// Keeps content for `round`; content that is there already just lives longer.
pub(crate) async fn keep(
    tx: &mut Tx,
    task: &TaskId,
    digest: Digest,
    round: u64,
    bytes: &[u8],
) -> Result<(), Error> {
    let sql = "-- contents::keep
        INSERT INTO contents (task, digest, last_round, bytes) VALUES ($1, $2, $3, $4)
        ON CONFLICT (task, digest) DO UPDATE SET last_round = excluded.last_round";
    let query = sqlx::query(sql).bind(task.as_str()).bind(digest.to_string());
    query.bind(signed(round)).bind(bytes).execute(tx.connection()).await?;
    Ok(())
}

/// Content of a task.
pub(crate) async fn find(tx: &mut Tx, task: &TaskId, digest: Digest) -> Result<Vec<u8>, Error> {
    let sql = "-- contents::find
        SELECT bytes FROM contents WHERE task = $1 AND digest = $2";
    let query = sqlx::query(sql).bind(task.as_str()).bind(digest.to_string());
    let row = query.fetch_optional(tx.connection()).await?;
    let row = row.ok_or_else(|| Error::UnknownContent { task: task.clone(), digest })?;
    Ok(row.try_get("bytes")?)
}

/// Drops what only rounds before `round` use.
pub(crate) async fn prune(tx: &mut Tx, task: &TaskId, round: u64) -> Result<(), Error> {
    let sql = "-- contents::prune
        DELETE FROM contents WHERE task = $1 AND last_round < $2";
    let query = sqlx::query(sql).bind(task.as_str()).bind(signed(round));
    query.execute(tx.connection()).await?;
    Ok(())
}
