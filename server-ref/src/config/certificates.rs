//! Whether the files for HTTPS can be used.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Tls;
use crate::Error;

impl Tls {
    /// Reads the files, and checks that the key is the certificate's.
    ///
    /// # Errors
    /// [`Error::Tls`] names the file that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(path) = &self.client_authorities {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, "clients' authorities")? {
                roots.add(certificate).map_err(|e| unusable("clients' authorities", path, e))?;
            }
        }
        let chain = certificates(&self.certificates, "certificate")?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|e| unusable("private key", &self.key, e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let paired = builder.and_then(|b| b.with_no_client_auth().with_single_cert(chain, key));
        paired.map(drop).map_err(|e| unusable("certificate and its key", &self.certificates, e))
    }
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(what, path, "it holds no certificate")),
        read => read.map_err(|e| unusable(what, path, e)),
    }
}

fn unusable(what: &'static str, path: &Path, reason: impl ToString) -> Error {
    Error::Tls { what, path: path.display().to_string(), reason: reason.to_string() }
}
