//! Table `devices`: who may sign requests.

use adafed_wire::DeviceId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{maybe_unsigned, signed, text, unsigned};
use crate::Error;
use crate::report::{DeviceState, DeviceStatus};

/// Public key of a device.
pub(crate) async fn public_key(tx: &mut Tx, device: DeviceId) -> Result<Option<[u8; 32]>, Error> {
    let sql = "-- devices::public_key
        SELECT public_key FROM devices WHERE device = $1";
    let query = sqlx::query(sql).bind(device.to_string());
    let Some(row) = query.fetch_optional(tx.connection()).await? else {
        return Ok(None);
    };
    let key = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("public_key")?);
    let reason = "it is not 32 bytes long".to_owned();
    key.map(Some).map_err(|_| Error::Corrupt { what: "public key", reason })
}

/// Stores a new device.
pub(crate) async fn insert(tx: &mut Tx, public_key: &[u8; 32], now_ms: u64) -> Result<(), Error> {
    let sql = "-- devices::insert
        INSERT INTO devices (device, public_key, enrolled_ms) VALUES ($1, $2, $3)";
    let device = DeviceId::of_key(public_key).to_string();
    let query = sqlx::query(sql).bind(device).bind(&public_key[..]).bind(signed(now_ms));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// The public weight that the operator gave a device.
pub(crate) async fn weight(tx: &mut Tx, device: DeviceId) -> Result<u32, Error> {
    let sql = "-- devices::weight
        SELECT weight FROM devices WHERE device = $1";
    let query = sqlx::query(sql).bind(device.to_string());
    let row = query.fetch_optional(tx.connection()).await?;
    let row = row.ok_or(Error::UnknownDevice { device })?;
    Ok(unsigned(&row, "weight")? as u32)
}

/// Gives a device another weight.
#[cfg(test)]
pub(crate) async fn set_weight(tx: &mut Tx, device: DeviceId, weight: u32) -> Result<(), Error> {
    let sql = "-- devices::set_weight
        UPDATE devices SET weight = $1 WHERE device = $2";
    let query = sqlx::query(sql).bind(i64::from(weight)).bind(device.to_string());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Uses up a signature made at `signed_ms`: none made then or before is taken again.
pub(crate) async fn spend(
    tx: &mut Tx,
    device: DeviceId,
    signed_ms: u64,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- devices::spend
        UPDATE devices SET signed_ms = $1, seen_ms = $2
        WHERE device = $3 AND signed_ms < $1 AND revoked_ms IS NULL";
    let query = sqlx::query(sql).bind(signed(signed_ms)).bind(signed(now_ms));
    let done = query.bind(device.to_string()).execute(tx.connection()).await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(match find(tx, device).await?.map(|found| found.state) {
        None => Error::UnknownDevice { device },
        Some(DeviceState::Revoked) => Error::Revoked { device },
        Some(DeviceState::Banned) => Error::Banned { device },
        Some(DeviceState::Active) => Error::Replayed { signed_ms },
    })
}

/// At most `limit` devices after `after`, by name.
pub(crate) async fn list(
    tx: &mut Tx,
    after: Option<DeviceId>,
    limit: u32,
) -> Result<Vec<DeviceStatus>, Error> {
    let sql = "-- devices::list
        SELECT device, enrolled_ms, seen_ms, version, weight, revoked_ms, banned,
               (SELECT COUNT(*) FROM assignments a WHERE a.device = d.device) AS charged
        FROM devices d WHERE device > $1 ORDER BY device LIMIT $2";
    let after = after.map_or_else(String::new, |device| device.to_string());
    let query = sqlx::query(sql).bind(after).bind(i64::from(limit));
    query.fetch_all(tx.connection()).await?.iter().map(status).collect()
}

/// One device.
pub(crate) async fn find(tx: &mut Tx, device: DeviceId) -> Result<Option<DeviceStatus>, Error> {
    let sql = "-- devices::find
        SELECT device, enrolled_ms, seen_ms, version, weight, revoked_ms, banned,
               (SELECT COUNT(*) FROM assignments a WHERE a.device = d.device) AS charged
        FROM devices d WHERE device = $1";
    let query = sqlx::query(sql).bind(device.to_string());
    query.fetch_optional(tx.connection()).await?.as_ref().map(status).transpose()
}

/// Revokes a device, and bans its key; whether it exists.
pub(crate) async fn revoke(
    tx: &mut Tx,
    device: DeviceId,
    ban: bool,
    now_ms: u64,
) -> Result<bool, Error> {
    let sql = "-- devices::revoke
        UPDATE devices SET revoked_ms = COALESCE(revoked_ms, $1),
               banned = CASE WHEN $2 = 1 THEN 1 ELSE banned END
        WHERE device = $3";
    let query = sqlx::query(sql).bind(signed(now_ms)).bind(i64::from(ban));
    let done = query.bind(device.to_string()).execute(tx.connection()).await?;
    Ok(done.rows_affected() == 1)
}

fn status(row: &AnyRow) -> Result<DeviceStatus, Error> {
    let (banned, revoked_ms) = (unsigned(row, "banned")?, maybe_unsigned(row, "revoked_ms")?);
    let state = match (banned, revoked_ms) {
        (0, None) => DeviceState::Active,
        (0, Some(_)) => DeviceState::Revoked,
        _ => DeviceState::Banned,
    };
    Ok(DeviceStatus {
        device: text(row, "device")?,
        state,
        enrolled_ms: unsigned(row, "enrolled_ms")?,
        seen_ms: maybe_unsigned(row, "seen_ms")?,
        version: row.try_get("version")?,
        weight: unsigned(row, "weight")? as u32,
        rounds_charged: unsigned(row, "charged")?,
    })
}
