//! Table `devices`: who may sign requests.

use adafed_wire::DeviceId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::row::{maybe_unsigned, signed, text, unsigned};
use super::{Kind, Tx};
use crate::Error;
use crate::report::{DeviceState, DeviceStatus};

/// A request that a device signed. Requests are ordered by device, then by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Credential {
    pub(crate) device: DeviceId,
    /// When it was signed, in milliseconds since 1970.
    pub(crate) signed_ms: u64,
}

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

/// Keeps other enrolments of a device waiting until the transaction ends: they then see
/// whether it has enrolled. There may be no row yet that could be locked.
pub(crate) async fn lock(tx: &mut Tx, device: DeviceId) -> Result<(), Error> {
    let sql = "-- devices::lock
        SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    // SQLite has one writer, and its lock is taken already.
    if tx.kind == Kind::Postgres {
        sqlx::query(sql).bind(device.to_string()).execute(tx.connection()).await?;
    }
    Ok(())
}

/// Stores a device, or takes a revoked one back; its request is used up.
pub(crate) async fn insert(
    tx: &mut Tx,
    public_key: &[u8; 32],
    weight: u32,
    signed_ms: u64,
    now_ms: u64,
) -> Result<(), Error> {
    let sql = "-- devices::insert
        INSERT INTO devices (device, public_key, enrolled_ms, weight, signed_ms)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (device) DO UPDATE
        SET revoked_ms = NULL, weight = excluded.weight, signed_ms = excluded.signed_ms
        WHERE devices.signed_ms < excluded.signed_ms";
    let device = DeviceId::of_key(public_key).to_string();
    let query = sqlx::query(sql).bind(device).bind(public_key.to_vec()).bind(signed(now_ms));
    let query = query.bind(i64::from(weight)).bind(signed(signed_ms));
    match query.execute(tx.connection()).await?.rows_affected() {
        0 => Err(Error::Replayed { signed_ms }),
        _ => Ok(()),
    }
}

/// Uses a signed request up: it is the device's newest from now on, so that none signed at
/// its time or before is taken again.
///
/// A time is enough: a device signs one request after the other, each later than the last.
pub(crate) async fn spend(tx: &mut Tx, request: Credential, now_ms: u64) -> Result<(), Error> {
    let Credential { device, signed_ms } = request;
    let sql = "-- devices::spend
        UPDATE devices SET signed_ms = $1, seen_ms = $2
        WHERE device = $3 AND signed_ms < $1 AND revoked_ms IS NULL";
    let query = sqlx::query(sql).bind(signed(signed_ms)).bind(signed(now_ms));
    let query = query.bind(device.to_string());
    if query.execute(tx.connection()).await?.rows_affected() == 1 {
        return Ok(());
    }
    Err(match state(tx, device).await? {
        None => Error::UnknownDevice { device },
        Some(DeviceState::Banned) => Error::Banned { device },
        Some(DeviceState::Revoked) => Error::Revoked { device },
        Some(DeviceState::Active) => Error::Replayed { signed_ms },
    })
}

/// Whether a device's requests are taken; `None` for one that never enrolled.
pub(crate) async fn state(tx: &mut Tx, device: DeviceId) -> Result<Option<DeviceState>, Error> {
    let sql = "-- devices::state
        SELECT revoked_ms, banned FROM devices WHERE device = $1";
    let query = sqlx::query(sql).bind(device.to_string());
    query.fetch_optional(tx.connection()).await?.as_ref().map(state_of).transpose()
}

fn state_of(row: &AnyRow) -> Result<DeviceState, Error> {
    Ok(match (unsigned(row, "banned")?, maybe_unsigned(row, "revoked_ms")?) {
        (0, None) => DeviceState::Active,
        (0, Some(_)) => DeviceState::Revoked,
        _ => DeviceState::Banned,
    })
}

/// Remembers the version of a device's SDK.
pub(crate) async fn note_version(
    tx: &mut Tx,
    device: DeviceId,
    version: &str,
) -> Result<(), Error> {
    let sql = "-- devices::note_version
        UPDATE devices SET version = $1
        WHERE device = $2 AND (version IS NULL OR version <> $1)";
    let query = sqlx::query(sql).bind(version).bind(device.to_string());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Takes no more requests of a device; whether there is such a device. With `ban` its key
/// cannot enrol again; without, a ban from before stays.
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
    let query = query.bind(device.to_string());
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
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

/// One device.
pub(crate) async fn find(tx: &mut Tx, device: DeviceId) -> Result<Option<DeviceStatus>, Error> {
    let sql = "-- devices::find
        SELECT device, enrolled_ms, seen_ms, version, weight, revoked_ms, banned,
               (SELECT COUNT(*) FROM assignments a WHERE a.device = d.device) AS rounds_charged
        FROM devices d WHERE device = $1";
    let query = sqlx::query(sql).bind(device.to_string());
    query.fetch_optional(tx.connection()).await?.as_ref().map(status).transpose()
}

/// At most `limit` devices after the name `after`, by name.
pub(crate) async fn list(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<DeviceStatus>, Error> {
    let sql = "-- devices::list
        SELECT device, enrolled_ms, seen_ms, version, weight, revoked_ms, banned,
               (SELECT COUNT(*) FROM assignments a WHERE a.device = d.device) AS rounds_charged
        FROM devices d WHERE device > $1 ORDER BY device LIMIT $2";
    let query = sqlx::query(sql).bind(after).bind(i64::from(limit));
    query.fetch_all(tx.connection()).await?.iter().map(status).collect()
}

/// Number of devices that ever enrolled.
pub(crate) async fn count(tx: &mut Tx) -> Result<u64, Error> {
    let sql = "-- devices::count
        SELECT COUNT(*) AS devices FROM devices";
    unsigned(&sqlx::query(sql).fetch_one(tx.connection()).await?, "devices")
}

fn status(row: &AnyRow) -> Result<DeviceStatus, Error> {
    Ok(DeviceStatus {
        device: text(row, "device")?,
        state: state_of(row)?,
        enrolled_ms: unsigned(row, "enrolled_ms")?,
        seen_ms: maybe_unsigned(row, "seen_ms")?,
        version: row.try_get("version")?,
        weight: unsigned(row, "weight")? as u32,
        rounds_charged: unsigned(row, "rounds_charged")?,
    })
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
