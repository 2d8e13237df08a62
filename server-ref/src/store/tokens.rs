//! Table `tokens`: permissions to enrol, by digest.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, unsigned};
use crate::Error;
use crate::report::TokenStatus;

/// Stores a new token.
pub(crate) async fn insert(tx: &mut Tx, token: &TokenStatus) -> Result<(), Error> {
    let sql = "-- tokens::insert
        INSERT INTO tokens (digest, uses_left, created_ms, expires_ms, weight)
        VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(sql)
        .bind(token.digest.as_str())
        .bind(i64::from(token.uses_left))
        .bind(signed(token.created_ms))
        .bind(token.expires_ms.map(signed))
        .bind(i64::from(token.weight));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Uses a token up by one enrolment; the weight of its devices, or `None` where it is
/// unknown, used up or expired.
pub(crate) async fn spend(tx: &mut Tx, digest: &str, now_ms: u64) -> Result<Option<u32>, Error> {
    let sql = "-- tokens::spend
        UPDATE tokens SET uses_left = uses_left - 1
        WHERE digest = $1 AND uses_left > 0 AND (expires_ms IS NULL OR expires_ms > $2)
        RETURNING weight";
    let query = sqlx::query(sql).bind(digest).bind(signed(now_ms));
    // All rows are fetched, for a statement that is left before its end is not run to it.
    let rows = query.fetch_all(tx.connection()).await?;
    rows.first().map(|row| Ok(unsigned(row, "weight")? as u32)).transpose()
}

/// Every token, the newest first.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<TokenStatus>, Error> {
    let sql = "-- tokens::list
        SELECT digest, uses_left, created_ms, expires_ms, weight
        FROM tokens ORDER BY created_ms DESC, digest";
    sqlx::query(sql).fetch_all(tx.connection()).await?.iter().map(status).collect()
}

/// Drops a token; whether there was one.
pub(crate) async fn revoke(tx: &mut Tx, digest: &str) -> Result<bool, Error> {
    let sql = "-- tokens::revoke
        DELETE FROM tokens WHERE digest = $1";
    let done = sqlx::query(sql).bind(digest).execute(tx.connection()).await?;
    Ok(done.rows_affected() == 1)
}

fn status(row: &AnyRow) -> Result<TokenStatus, Error> {
    Ok(TokenStatus {
        digest: row.try_get("digest")?,
        uses_left: unsigned(row, "uses_left")? as u32,
        created_ms: unsigned(row, "created_ms")?,
        expires_ms: maybe_unsigned(row, "expires_ms")?,
        weight: unsigned(row, "weight")? as u32,
    })
}
