//! Table `tokens`: permissions to enrol, by digest.

use super::Tx;
use super::row::signed;
use crate::Error;

/// Stores a new token.
pub(crate) async fn insert(tx: &mut Tx, digest: &str, uses: u32, now_ms: u64) -> Result<(), Error> {
    let sql = "-- tokens::insert
        INSERT INTO tokens (digest, uses_left, created_ms) VALUES ($1, $2, $3)";
    let query = sqlx::query(sql).bind(digest).bind(i64::from(uses)).bind(signed(now_ms));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Uses a token up by one enrolment; whether it had one left.
pub(crate) async fn spend(tx: &mut Tx, digest: &str) -> Result<bool, Error> {
    let sql = "-- tokens::spend
        UPDATE tokens SET uses_left = uses_left - 1 WHERE digest = $1 AND uses_left > 0";
    let done = sqlx::query(sql).bind(digest).execute(tx.connection()).await?;
    Ok(done.rows_affected() == 1)
}
