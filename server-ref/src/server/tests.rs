//! A listening server, over plain connections and over TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::Tls;

/// An authority that signs for localhost.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a new pair to a folder.
    fn write(&self, folder: &Path) -> Tls {
        let (certificate, key) = self.sign();
        let tls = Tls {
            certificates: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            client_authorities: None,
        };
        std::fs::write(&tls.certificates, certificate).unwrap();
        std::fs::write(&tls.key, key).unwrap();
        tls
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// A client that trusts this authority, and shows a certificate if it has one.
    fn client(&self, identity: Option<(String, String)>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
    folder: TempDir,
}

impl Running {
    async fn start(tls: impl FnOnce(&Path) -> Option<Tls>) -> Self {
        Self::ticking(Duration::from_millis(20), tls).await
    }

    async fn ticking(tick: Duration, tls: impl FnOnce(&Path) -> Option<Tls>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = ([127, 0, 0, 1], 0).into();
        let database = folder.path().join("server.sqlite");
        let mut config = ServerConfig::new(listen, database, "a long enough token");
        config.tls = tls(folder.path());
        config.tick = tick;
        let scheme = if config.tls.is_some() { "https://" } else { "http://" };
        let server = Server::bind(config).await.unwrap();
        assert!(server.url().starts_with(scheme));
        let (address, (stop, stopped)) = (server.local_addr(), oneshot::channel::<()>());
        let served = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, stop, served, folder }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The answer to `GET /healthz` over TLS.
    async fn get(&self, client: &TlsConnector) -> std::io::Result<String> {
        let name = ServerName::try_from("localhost").unwrap();
        ask(client.connect(name, self.connect().await).await?).await
    }

    /// Whether it answers such a client before long.
    async fn gets(&self, client: &TlsConnector) -> bool {
        for _ in 0..100 {
            if self.get(client).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn finish(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> std::io::Result<String> {
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn it_answers_over_tls_and_a_silent_client_holds_up_nobody() {
    let authority = Authority::new();
    let server = Running::start(|folder| Some(authority.write(folder))).await;
    let silent = server.connect().await;
    let answer = server.get(&authority.client(None)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    assert!(server.get(&Authority::new().client(None)).await.is_err(), "no trust by itself");
    drop(silent);
    server.finish().await;
}

#[tokio::test]
async fn where_clients_need_certificates_none_is_answered_without() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = Running::start(|folder| {
        let file = folder.join("clients.pem");
        std::fs::write(&file, &clients.pem).unwrap();
        Some(Tls { client_authorities: Some(file), ..authority.write(folder) })
    })
    .await;
    assert!(server.get(&authority.client(None)).await.is_err());
    assert!(server.get(&authority.client(Some(authority.sign()))).await.is_err());
    let answer = server.get(&authority.client(Some(clients.sign()))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.finish().await;
}

#[tokio::test]
async fn changed_certificates_are_used_and_unusable_ones_are_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = Running::start(|folder| Some(old.write(folder))).await;
    std::fs::write(server.folder.path().join("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.get(&old.client(None)).await.unwrap();
    new.write(server.folder.path());
    assert!(server.gets(&new.client(None)).await);
    server.finish().await;
}

#[cfg(unix)]
#[tokio::test]
async fn at_a_hangup_certificates_are_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let server =
        Running::ticking(Duration::from_secs(3600), |folder| Some(old.write(folder))).await;
    server.get(&old.client(None)).await.unwrap();
    new.write(server.folder.path());
    server.get(&old.client(None)).await.unwrap();
    let process = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &process]).status().unwrap();
    assert!(sent.success());
    assert!(server.gets(&new.client(None)).await);
    server.finish().await;
}

#[tokio::test]
async fn an_unusable_file_is_named_before_anything_listens() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let good = authority.write(folder.path());
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    for (tls, what) in [
        (Tls { certificates: empty.clone(), ..good.clone() }, &empty),
        (Tls { certificates: missing.clone(), ..good.clone() }, &missing),
        (Tls { key: missing.clone(), ..good.clone() }, &missing),
        (Tls { client_authorities: Some(empty.clone()), ..good.clone() }, &empty),
    ] {
        let error = Certificates::load(tls).err().unwrap();
        assert_eq!(error.code(), "server/tls");
        assert!(error.to_string().contains(what.to_str().unwrap()), "{error}");
    }
    let other = tempfile::tempdir().unwrap();
    let key = authority.write(other.path()).key;
    assert!(Certificates::load(Tls { key, ..good }).is_err(), "another certificate's key");
}

#[tokio::test]
async fn open_requests_are_finished_before_it_stops() {
    let server = Running::start(|_| None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let Running { address, stop, served, .. } = server;
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody new is taken");
}

/// Serves one route that never answers, until told to stop.
async fn impatient(patience: Patience) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let never = axum::routing::get(std::future::pending::<()>);
    let router = axum::Router::new().route("/never", never);
    let serving = Serving { router, certificates: None, patience };
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(connection::serve(listener, serving, async { drop(stopped.await) }));
    (address, stop, served)
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_disconnected() {
    let header = Duration::from_millis(50);
    let (address, stop, served) = impatient(Patience { header, ..Patience::default() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: ").await.unwrap();
    let mut rest = String::new();
    // It ends, with or without a word.
    let _ = stream.read_to_string(&mut rest).await;
    assert!(!rest.contains(" 200 "), "{rest}");
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_broken_off_at_the_end() {
    let shutdown = Duration::from_millis(50);
    let (address, stop, served) = impatient(Patience { shutdown, ..Patience::default() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!served.is_finished());
    stop.send(()).unwrap();
    served.await.unwrap();
}
