//! Tokens: made from the operating system's randomness, kept as digests only.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::Error;

/// A token's SHA-256. Tokens are random and long, so a fast hash without salt is enough.
#[derive(Clone, Copy)]
pub(crate) struct Hashed([u8; 32]);

impl Hashed {
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Compares in a time that does not depend on where the digests differ.
    pub(crate) fn matches(self, token: &str) -> bool {
        let other = Self::of(token);
        let differing = self.0.iter().zip(other.0).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(differing) == 0
    }

    /// Hexadecimal, as the database keeps it.
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed(..)")
    }
}

/// A new token of 256 random bits, hexadecimal.
pub(crate) fn new_token(random: &SystemRandom) -> Result<String, Error> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(|_| Error::Randomness)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_matches_and_none_shows_itself() {
        let token = new_token(&SystemRandom::new()).unwrap();
        let hashed = Hashed::of(&token);
        assert!(hashed.matches(&token));
        assert!(!hashed.matches(&token[1..]) && !hashed.matches(""));
        assert_eq!(format!("{hashed:?}"), "Hashed(..)");
    }
}
