//! Tokens of people and programs beside the configured one.

use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::Service;
use crate::Error;
use crate::report::{OperatorStatus, Scope};
use crate::secret::{Hashed, new_token};
use crate::store::{Tx, operators};

/// Longest name of a token, in bytes.
const LONGEST_NAME: usize = 64;

/// A token to be made for somebody.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// Whose it is: 1 to 64 of the characters `a-z`, `0-9`, `-`, `_` and `.`; never used again.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// After how many seconds it is no longer good; never without.
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    pub expires_in_s: Option<u64>,
}

/// A token that was made. It is not shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    pub token: String,
    /// Until when it is good, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

impl Service {
    /// Makes a token for somebody.
    ///
    /// # Errors
    /// [`Error::Setting`] names what is out of range; [`Error::Exists`]; those of the database.
    pub async fn create_operator(&self, new: NewOperator) -> Result<CreatedToken, Error> {
        check_name(&new.name)?;
        let NewOperator { name, scope, expires_in_s } = new;
        let (token, now_ms) = (new_token(&self.0.random)?, self.now_ms());
        let expires_ms = expiry(now_ms, expires_in_s)?;
        let (digest, owned) = (Hashed::of(&token).to_hex(), name.clone());
        let created_ms = now_ms;
        let new = OperatorStatus { name: owned, scope, created_ms, expires_ms, revoked_ms: None };
        let insert = async move |tx: &mut Tx| {
            if operators::insert(tx, &new, &digest).await? {
                return Ok(());
            }
            Err(Error::Exists { what: "token", name: new.name.clone() })
        };
        self.0.store.run_tx("create_operator", insert).await?;
        info!(name, scope = scope.as_str(), "operator's token created");
        Ok(CreatedToken { token, expires_ms })
    }

    /// Every token of people and programs, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn operators(&self) -> Result<Vec<OperatorStatus>, Error> {
        self.0.store.read_tx("operators", async |tx: &mut Tx| operators::list(tx).await).await
    }

    /// Takes a token back. Its name stays taken.
    ///
    /// # Errors
    /// [`Error::Unknown`]; those of the database.
    pub async fn revoke_operator(&self, name: &str) -> Result<(), Error> {
        let (owned, now_ms) = (name.to_owned(), self.now_ms());
        let revoke = async move |tx: &mut Tx| {
            if operators::revoke(tx, &owned, now_ms).await? {
                return Ok(());
            }
            Err(Error::Unknown { what: "token", name: owned.clone() })
        };
        self.0.store.run_tx("revoke_operator", revoke).await?;
        info!(name, "operator's token revoked");
        Ok(())
    }
}

/// A name that is not the configured token's, and that no log or page has to escape.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) && name != "admin" {
        return Ok(());
    }
    let expected = "1 to 64 characters of a-z, 0-9, ., - and _, and not admin";
    Err(Error::Setting { name: "name", expected })
}

/// Longest life of a token, in seconds: a hundred years.
const LONGEST_LIFE_S: u64 = 100 * 365 * 24 * 60 * 60;

/// When something ends that is good for a number of seconds.
pub(super) fn expiry(now_ms: u64, expires_in_s: Option<u64>) -> Result<Option<u64>, Error> {
    match expires_in_s {
        None => Ok(None),
        Some(s) if (1..=LONGEST_LIFE_S).contains(&s) => Ok(Some(now_ms + s * 1000)),
        Some(_) => Err(Error::Setting { name: "expires_in_s", expected: "1 to 3153600000" }),
    }
}
