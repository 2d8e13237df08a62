//! Table `devices`: who may sign requests.

use adafed_wire::DeviceId;
use sqlx::Row;

use super::Tx;
use super::row::{signed, unsigned};
use crate::Error;

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
