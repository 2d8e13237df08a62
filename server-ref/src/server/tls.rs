//! Certificates: read from PEM files, and again when the files change.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::Error;
use crate::config::Tls;

/// Certificates in use, and the files that they come from.
pub(super) struct Certificates {
    files: Tls,
    current: RwLock<Loaded>,
}

struct Loaded {
    acceptor: TlsAcceptor,
    changed: Vec<Option<SystemTime>>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Tls`] names the file that cannot be used.
    pub(super) fn load(files: Tls) -> Result<Self, Error> {
        let current = RwLock::new(Loaded::of(&files)?);
        Ok(Self { files, current })
    }

    /// What new connections are taken with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Reads the files again if one of them has changed. Files that cannot be used are
    /// logged and the old ones kept: half of a pair may be written at this moment.
    pub(super) fn refresh(&self) {
        let changed = times(&self.files);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).changed != changed {
            self.reload();
        }
    }

    /// Reads the files again.
    pub(super) fn reload(&self) {
        match Loaded::of(&self.files) {
            Ok(loaded) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                info!("certificates read again");
            }
            Err(e) => error!(code = e.code(), "the old certificates stay in use: {e}"),
        }
    }
}

impl Loaded {
    fn of(files: &Tls) -> Result<Self, Error> {
        // Before reading: a file that changes meanwhile is read once more.
        let changed = times(files);
        let acceptor = TlsAcceptor::from(Arc::new(config(files)?));
        Ok(Self { acceptor, changed })
    }
}

fn times(files: &Tls) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificates), Some(&files.key), files.client_authorities.as_ref()];
    let changed = |path: &std::path::PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    paths.into_iter().flatten().map(changed).collect()
}

fn config(files: &Tls) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|e| unusable("protocol of", &files.certificates, e))?;
    let builder = match &files.client_authorities {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
        None => builder.with_no_client_auth(),
    };
    let certificates = certificates(&files.certificates, "certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|e| unusable("private key", &files.key, e))?;
    let paired = builder.with_single_cert(certificates, key);
    let mut config =
        paired.map_err(|e| unusable("certificate and its key", &files.certificates, e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let what = "clients' authorities";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, what)? {
        roots.add(certificate).map_err(|e| unusable(what, path, e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|e| unusable(what, path, e))
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(certificates) if Vec::is_empty(&certificates) => {
            Err(unusable(what, path, "it holds no certificate"))
        }
        read => read.map_err(|e| unusable(what, path, e)),
    }
}

fn unusable(what: &'static str, path: &Path, reason: impl ToString) -> Error {
    Error::Tls { what, path: path.display().to_string(), reason: reason.to_string() }
}
