//! Who asks with a token: people and programs.

use super::Service;
use crate::Error;
use crate::report::Scope;
use crate::secret::Hashed;
use crate::store::{Tx, operators};

/// The holder of a token.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) scope: Scope,
}

/// Name of who holds the configured token.
const ADMIN: &str = "admin";

impl Service {
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
        let find = async move |tx: &mut Tx| operators::find_by_digest(tx, &digest, now_ms).await;
        let found = self.0.store.read_tx("identify", find).await?.ok_or(Error::Admin)?;
        Ok(Identity { name: found.name, scope: found.scope })
    }
}
