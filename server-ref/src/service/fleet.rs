//! Devices and the tokens that they enrol with, as operators see them.

use adafed_wire::{DeviceId, Digest};
use serde::Deserialize;
use tracing::info;
use utoipa::ToSchema;

use super::Service;
use super::operators::{CreatedToken, expiry};
use crate::Error;
use crate::report::{DeviceStatus, TokenStatus};
use crate::secret::{Hashed, new_token};
use crate::store::{Tx, devices, tokens};

/// Largest weight of a device.
const MOST_WEIGHT: u32 = 1_000_000;

/// A token to be made for devices.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewToken {
    /// Devices that may enrol with it.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub uses: u32,
    /// After how many seconds it is no longer good; never without.
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    pub expires_in_s: Option<u64>,
    /// How much the updates of these devices count where a task weighs devices.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub weight: u32,
}

impl Default for NewToken {
    fn default() -> Self {
        Self { uses: 1, expires_in_s: None, weight: 1 }
    }
}

/// Most uses of one token.
const MOST_USES: u32 = 1_000_000_000;

impl Service {
    /// Makes a token that lets `uses` devices enrol. It is not shown again.
    ///
    /// # Errors
    /// [`Error::Setting`] for a token without uses; those of the database.
    pub async fn create_token(&self, uses: u32) -> Result<String, Error> {
        let new = NewToken { uses, ..NewToken::default() };
        self.issue_token(new).await.map(|created| created.token)
    }

    /// Makes a token for devices.
    ///
    /// # Errors
    /// [`Error::Setting`] names what is out of range; those of the database.
    pub async fn issue_token(&self, new: NewToken) -> Result<CreatedToken, Error> {
        let NewToken { uses, expires_in_s, weight } = new;
        if !(1..=MOST_USES).contains(&uses) {
            return Err(Error::Setting { name: "number of uses", expected: "1 to 1000000000" });
        }
        if !(1..=MOST_WEIGHT).contains(&weight) {
            return Err(Error::Setting { name: "weight", expected: "1 to 1000000" });
        }
        let (token, now_ms) = (new_token(&self.0.random)?, self.now_ms());
        let digest = Hashed::of(&token).to_hex();
        let expires_ms = expiry(now_ms, expires_in_s)?;
        let status =
            TokenStatus { digest, uses_left: uses, created_ms: now_ms, expires_ms, weight };
        let insert = async move |tx: &mut Tx| tokens::insert(tx, &status).await;
        self.0.store.run_tx("create_token", insert).await?;
        self.front().metrics.token_created();
        info!(uses, weight, "token created");
        Ok(CreatedToken { token, expires_ms })
    }

    /// Tokens that devices can enrol with, the newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn tokens(&self) -> Result<Vec<TokenStatus>, Error> {
        self.0.store.read_tx("tokens", async |tx: &mut Tx| tokens::list(tx).await).await
    }

    /// Takes a token back; devices that used it stay.
    ///
    /// # Errors
    /// [`Error::Unknown`]; those of the database.
    pub async fn revoke_token(&self, digest: Digest) -> Result<(), Error> {
        let name = digest.to_string();
        let revoke = async move |tx: &mut Tx| {
            if tokens::revoke(tx, &name).await? {
                return Ok(());
            }
            Err(Error::Unknown { what: "token", name: name.clone() })
        };
        self.0.store.run_tx("revoke_token", revoke).await?;
        info!(%digest, "token revoked");
        Ok(())
    }

    /// At most `limit` devices after `after`, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn devices(
        &self,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceStatus>, Error> {
        let after = after.map_or_else(String::new, |device| device.to_string());
        let list = async move |tx: &mut Tx| devices::list(tx, &after, limit).await;
        self.0.store.read_tx("devices", list).await
    }

    /// One device.
    ///
    /// # Errors
    /// [`Error::Unknown`]; those of the database.
    pub async fn device(&self, device: DeviceId) -> Result<DeviceStatus, Error> {
        let find = async move |tx: &mut Tx| devices::find(tx, device).await;
        let found = self.0.store.read_tx("device", find).await?;
        found.ok_or_else(|| Error::Unknown { what: "device", name: device.to_string() })
    }

    /// Takes no more requests of a device; with `ban`, its key can never enrol again. What it
    /// was charged stays charged.
    ///
    /// # Errors
    /// [`Error::Unknown`]; those of the database.
    pub async fn revoke_device(&self, device: DeviceId, ban: bool) -> Result<DeviceStatus, Error> {
        let now_ms = self.now_ms();
        let revoke = async move |tx: &mut Tx| {
            if devices::revoke(tx, device, ban, now_ms).await? {
                return Ok(());
            }
            Err(Error::Unknown { what: "device", name: device.to_string() })
        };
        self.0.store.run_tx("revoke_device", revoke).await?;
        info!(%device, ban, "device revoked");
        self.device(device).await
    }
}
