//! Ed25519 signatures: of requests, over method, path, time and body; and of privacy
//! reports, over the document. What is signed begins with its purpose, so that a
//! signature of one can never pass for one of the other.

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{DeviceId, Digest, Error};

/// Header with the device's name.
pub const DEVICE_HEADER: &str = "adafed-device";
/// Header with the time of signing, in milliseconds since 1970.
pub const TIME_HEADER: &str = "adafed-time";
/// Header with the signature, hexadecimal.
pub const SIGNATURE_HEADER: &str = "adafed-signature";

/// What a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts<'a> {
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Path without host, query among it.
    pub path: &'a str,
    /// Time of signing, in milliseconds since 1970.
    pub time_ms: u64,
    /// Body.
    pub body: &'a [u8],
}

impl SignedParts<'_> {
    fn text(&self) -> String {
        let Self { method, path, time_ms, body } = self;
        format!("adafed-v1\n{method}\n{path}\n{time_ms}\n{}", Digest::of(body))
    }
}

/// What a signature of a privacy report covers.
fn report_text(document: &[u8]) -> String {
    format!("adafed-privacy-report-v1\n{}", Digest::of(document))
}

/// A device's key pair.
pub struct DeviceKey(Ed25519KeyPair);

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({})", self.device())
    }
}

impl DeviceKey {
    /// A fresh key, as PKCS#8 bytes to be stored: they are secret.
    ///
    /// # Errors
    /// [`Error::Key`] when the operating system gives no randomness.
    pub fn generate() -> Result<Vec<u8>, Error> {
        let reason = "the operating system gave no randomness";
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        Ok(pkcs8.map_err(|_| Error::Key { reason })?.as_ref().to_vec())
    }

    /// A stored key.
    ///
    /// # Errors
    /// [`Error::Key`] when the bytes are not one.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, Error> {
        let reason = "the stored bytes are not an Ed25519 key in PKCS#8";
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| Error::Key { reason })
    }

    /// Public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    /// Name that belongs to the key.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceId::of_key(&self.public_key())
    }

    /// Signs a request; hexadecimal, for [`SIGNATURE_HEADER`].
    #[must_use]
    pub fn sign(&self, parts: SignedParts<'_>) -> String {
        self.sign_text(&parts.text())
    }

    /// Signs a privacy report's document; hexadecimal.
    pub(crate) fn sign_report(&self, document: &[u8]) -> String {
        self.sign_text(&report_text(document))
    }

    fn sign_text(&self, text: &str) -> String {
        hex::encode(self.0.sign(text.as_bytes()))
    }
}

/// Verifies a request.
///
/// # Errors
/// [`Error::Signature`] when anything in it differs from what was signed.
pub fn verify(public_key: &[u8; 32], parts: SignedParts<'_>, signature: &str) -> Result<(), Error> {
    verify_text(public_key, &parts.text(), signature)
}

/// Verifies the signature of a privacy report's document.
pub(crate) fn verify_report(
    public_key: &[u8; 32],
    document: &[u8],
    signature: &str,
) -> Result<(), Error> {
    verify_text(public_key, &report_text(document), signature)
}

fn verify_text(public_key: &[u8; 32], text: &str, signature: &str) -> Result<(), Error> {
    let signature = hex::decode(signature).map_err(|_| Error::Signature)?;
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(text.as_bytes(), &signature)
        .map_err(|_| Error::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_every_part_of_the_request() {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
        let parts = SignedParts { method: "PUT", path: "/v1/x", time_ms: 7, body: b"abc" };
        let signature = key.sign(parts);
        let check = |parts| verify(&key.public_key(), parts, &signature);
        assert_eq!(check(parts), Ok(()));
        for changed in [
            SignedParts { method: "GET", ..parts },
            SignedParts { path: "/v1/y", ..parts },
            SignedParts { time_ms: 8, ..parts },
            SignedParts { body: b"abd", ..parts },
        ] {
            assert_eq!(check(changed), Err(Error::Signature));
        }
        assert_eq!(verify(&key.public_key(), parts, "zz"), Err(Error::Signature));
    }

    #[test]
    fn a_signature_of_a_report_is_none_of_a_request() {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
        let (public, body) = (key.public_key(), b"abc");
        let signature = key.sign_report(body);
        assert_eq!(verify_report(&public, body, &signature), Ok(()));
        assert_eq!(verify_report(&public, b"abd", &signature), Err(Error::Signature));
        let parts = SignedParts { method: "PUT", path: "/v1/x", time_ms: 7, body };
        assert_eq!(verify(&public, parts, &signature), Err(Error::Signature));
        assert_eq!(verify_report(&public, body, &key.sign(parts)), Err(Error::Signature));
        // No request begins as a report does, whatever its parts.
        assert!(!report_text(body).starts_with("adafed-v1\n"));
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
        assert_eq!(format!("{key:?}"), format!("DeviceKey({})", key.device()));
        assert!(DeviceKey::from_pkcs8(b"not a key").is_err());
    }
}
