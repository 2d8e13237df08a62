//! HTTP and HTTPS over reqwest, with rustls on the ring provider.

use std::io::Read;
use std::time::Duration;

use super::{Error, Request, Response, Transport};

/// Longest time for one exchange.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one server. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: reqwest::blocking::Client,
    base: String,
}

impl HttpTransport {
    /// A client of the server at `base`, such as `https://fleet.example`.
    ///
    /// # Errors
    /// [`Error`] when the client cannot be set up.
    pub fn new(base: &str) -> Result<Self, Error> {
        // reqwest takes the process-wide provider; an app that chose one keeps it.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = reqwest::blocking::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("adafed/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| unreachable(&e))?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|e| Error { reason: e.to_string() })?;
        let url = format!("{}{}", self.base, request.path);
        let mut builder = self.client.request(method, url).body(request.body.clone());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let answer = builder.send().map_err(|e| unreachable(&e))?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        // A hostile server must not fill the memory.
        let most = adafed_wire::LARGEST as u64;
        answer.take(most).read_to_end(&mut body).map_err(|e| Error { reason: e.to_string() })?;
        Ok(Response { status, body })
    }
}

/// The whole chain of causes: reqwest's own message names only the outermost.
fn unreachable(error: &reqwest::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    Error { reason }
}
