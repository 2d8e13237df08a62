//! Table `operators`: tokens of people and programs, by digest.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, unsigned};
use crate::Error;
use crate::report::{OperatorStatus, Scope};

const SCOPES: [(&str, Scope); 3] =
    [("read", Scope::Read), ("evaluate", Scope::Evaluate), ("admin", Scope::Admin)];

/// Stores a new token; whether the name was free.
pub(crate) async fn insert(
    tx: &mut Tx,
    operator: &OperatorStatus,
    digest: &str,
) -> Result<bool, Error> {
    let sql = "-- operators::insert
        INSERT INTO operators (name, digest, scope, created_ms, expires_ms)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
    let query = sqlx::query(sql)
        .bind(operator.name.as_str())
        .bind(digest)
        .bind(operator.scope.as_str())
        .bind(signed(operator.created_ms))
        .bind(operator.expires_ms.map(signed));
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// Whose token it is, unless it has expired or was revoked.
pub(crate) async fn find_by_digest(
    tx: &mut Tx,
    digest: &str,
    now_ms: u64,
) -> Result<Option<OperatorStatus>, Error> {
    let sql = "-- operators::find_by_digest
        SELECT name, scope, created_ms, expires_ms, revoked_ms FROM operators
        WHERE digest = $1 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > $2)";
    let query = sqlx::query(sql).bind(digest).bind(signed(now_ms));
    query.fetch_optional(tx.connection()).await?.as_ref().map(status).transpose()
}

/// Every token, by name.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<OperatorStatus>, Error> {
    let sql = "-- operators::list
        SELECT name, scope, created_ms, expires_ms, revoked_ms FROM operators ORDER BY name";
    sqlx::query(sql).fetch_all(tx.connection()).await?.iter().map(status).collect()
}

/// Takes a token no more; whether there is one of that name.
pub(crate) async fn revoke(tx: &mut Tx, name: &str, now_ms: u64) -> Result<bool, Error> {
    let sql = "-- operators::revoke
        UPDATE operators SET revoked_ms = COALESCE(revoked_ms, $1) WHERE name = $2";
    let done = sqlx::query(sql).bind(signed(now_ms)).bind(name).execute(tx.connection()).await?;
    Ok(done.rows_affected() == 1)
}

fn status(row: &AnyRow) -> Result<OperatorStatus, Error> {
    let name: &str = row.try_get("scope")?;
    let scope = SCOPES.into_iter().find(|(known, _)| *known == name).map(|(_, scope)| scope);
    let unknown = || Error::Corrupt { what: "scope", reason: format!("{name:?} is none") };
    Ok(OperatorStatus {
        name: row.try_get("name")?,
        scope: scope.ok_or_else(unknown)?,
        created_ms: unsigned(row, "created_ms")?,
        expires_ms: maybe_unsigned(row, "expires_ms")?,
        revoked_ms: maybe_unsigned(row, "revoked_ms")?,
    })
}
