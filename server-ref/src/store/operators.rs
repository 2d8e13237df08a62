//! Table `operators`: tokens of people and programs, by digest.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, unsigned};
use crate::Error;
use crate::report::{OperatorStatus, Scope};

/// Stores a new token; whether its name was free.
pub(crate) async fn insert(
    tx: &mut Tx,
    name: &str,
    digest: &str,
    scope: Scope,
    now_ms: u64,
    expires_ms: Option<u64>,
) -> Result<bool, Error> {
    let sql = "-- operators::insert
        INSERT INTO operators (name, digest, scope, created_ms, expires_ms)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
    let query = sqlx::query(sql).bind(name).bind(digest).bind(scope.as_str());
    let query = query.bind(signed(now_ms)).bind(expires_ms.map(signed));
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// The holder of a token.
pub(crate) async fn find_by_digest(
    tx: &mut Tx,
    digest: &str,
) -> Result<Option<OperatorStatus>, Error> {
    let sql = "-- operators::find_by_digest
        SELECT name, scope, created_ms, expires_ms, revoked_ms FROM operators WHERE digest = $1";
    let row = sqlx::query(sql).bind(digest).fetch_optional(tx.connection()).await?;
    row.as_ref().map(status).transpose()
}

/// Every token, by name.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<OperatorStatus>, Error> {
    let sql = "-- operators::list
        SELECT name, scope, created_ms, expires_ms, revoked_ms FROM operators ORDER BY name";
    let rows = sqlx::query(sql).fetch_all(tx.connection()).await?;
    rows.iter().map(status).collect()
}

/// Revokes a token; whether there is one. The time of the first revocation stays.
pub(crate) async fn revoke(tx: &mut Tx, name: &str, now_ms: u64) -> Result<bool, Error> {
    let sql = "-- operators::revoke
        UPDATE operators SET revoked_ms = COALESCE(revoked_ms, $1) WHERE name = $2";
    let query = sqlx::query(sql).bind(signed(now_ms)).bind(name);
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

fn status(row: &AnyRow) -> Result<OperatorStatus, Error> {
    let scope: &str = row.try_get("scope")?;
    let unknown = || Error::Corrupt { what: "scope", reason: format!("{scope:?} is none") };
    Ok(OperatorStatus {
        name: row.try_get("name")?,
        scope: Scope::of_name(scope).ok_or_else(unknown)?,
        created_ms: unsigned(row, "created_ms")?,
        expires_ms: maybe_unsigned(row, "expires_ms")?,
        revoked_ms: maybe_unsigned(row, "revoked_ms")?,
    })
}
