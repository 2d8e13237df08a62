//! Who asks: devices by signatures that are good once, people and programs by tokens.

use adafed_wire::DeviceId;

use super::Service;
use crate::Error;
use crate::report::Scope;
use crate::secret::Hashed;
use crate::store::{Tx, devices, operators};

/// A verified signature that has not been used yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) device: DeviceId,
    pub(crate) signed_ms: u64,
}

/// The holder of a token.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) scope: Scope,
}

/// Name of who holds the configured token.
const ADMIN: &str = "admin";

impl Service {
    /// Uses a signature up.
    ///
    /// # Errors
    /// [`Error::Replayed`], [`Error::Revoked`], [`Error::Banned`],
    /// [`Error::UnknownDevice`]; those of the database.
    pub(crate) async fn spend(&self, credential: &Credential) -> Result<(), Error> {
        let (Credential { device, signed_ms }, now_ms) = (*credential, self.now_ms());
        let spend = async move |tx: &mut Tx| devices::spend(tx, device, signed_ms, now_ms).await;
        self.0.store.run_tx("spend", spend).await
    }

    /// Whose token it is. The configured one is compared in a time that does not depend on
    /// where it differs; the others are looked up by their digest, of which a guess says
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Admin`] for a token that is unknown, revoked or expired; those of the
    /// database.
    pub(crate) async fn identify(&self, token: &str) -> Result<Identity, Error> {
        if self.is_admin(token) {
            return Ok(Identity { name: ADMIN.to_owned(), scope: Scope::Admin });
        }
        let (digest, now_ms) = (Hashed::of(token).to_hex(), self.now_ms());
        let find = async move |tx: &mut Tx| operators::find_by_digest(tx, &digest).await;
        let found = self.0.store.read_tx("identify", find).await?.ok_or(Error::Admin)?;
        let expired = found.expires_ms.is_some_and(|at| at <= now_ms);
        if expired || found.revoked_ms.is_some() {
            return Err(Error::Admin);
        }
        Ok(Identity { name: found.name, scope: found.scope })
    }
}
