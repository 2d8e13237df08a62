//! Requests to a server, as an operator.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::blocking::{Client as Http, ClientBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Identity, Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{Failure, Problem};
use super::{Terminal, duration};
use crate::config::read_secret;

const JSON: &str = "application/json";

/// How to reach a server; the same for all commands that ask one.
#[derive(Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Connection {
    /// Address of the server.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ADAFED_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,
    /// Operator's token; other users of this machine can read a command line, so a file or
    /// the environment is the better place.
    #[arg(long, global = true, env = "ADAFED_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the operator's token on its first line; goes before --token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authority to trust for HTTPS beside those of the system, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to a server that asks for one, PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// Longest time for one exchange, such as 30s or 5m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s",
          value_parser = duration::parse)]
    timeout: Duration,
    /// Print what the server answers, as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// A client of the server.
    ///
    /// # Errors
    /// [`Failure::Input`] for an address, a token or a certificate that cannot be used.
    pub(super) fn open(&self, terminal: &mut Terminal<'_>) -> Result<Client, Failure> {
        let base = self.base()?;
        let token = self.bearer()?;
        if token.is_some() && in_the_clear(&base) {
            terminal.note(
                "the token travels unencrypted; use https:// for a server on another machine",
            );
        }
        install_provider();
        let version = concat!("adafed-server/", env!("CARGO_PKG_VERSION"));
        // Not followed elsewhere: the token is for this server.
        let builder = Http::builder().redirect(reqwest::redirect::Policy::none());
        let builder = builder.timeout(self.timeout).user_agent(version);
        let http = self.certificates(builder)?.build();
        let http =
            http.map_err(|e| Failure::Input(format!("no client can be made: {}", all(&e))))?;
        Ok(Client { http, base, token })
    }

    fn base(&self) -> Result<Url, Failure> {
        let expected = "expected an address such as https://fleet.example:8443";
        let refuse = |reason: String| Failure::Input(format!("--server: {reason}; {expected}"));
        let url = Url::parse(&self.server).map_err(|e| refuse(e.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            other => Err(refuse(format!("{other}:// is not spoken"))),
        }
    }

    fn bearer(&self) -> Result<Option<HeaderValue>, Failure> {
        let of_file = self.token_file.as_deref().map(read_secret).transpose()?.map(|s| s.0);
        let Some(token) = of_file.or_else(|| self.token.clone()) else { return Ok(None) };
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value =
            value.map_err(|_| Failure::Input("the token holds control signs".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn certificates(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        if let Some(path) = &self.ca {
            let found = Certificate::from_pem_bundle(&read(path)?);
            let found = found.map_err(|e| Failure::file(path, all(&e)))?;
            if found.is_empty() {
                return Err(Failure::file(path, "it holds no certificate"));
            }
            builder = builder.tls_certs_merge(found);
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            let both = [read(certificate)?, read(key)?].join(&b'\n');
            let identity = Identity::from_pem(&both).map_err(|e| {
                Failure::file(certificate, format!("not usable with its key: {}", all(&e)))
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

/// A server and who asks it.
pub(super) struct Client {
    http: Http,
    base: Url,
    token: Option<HeaderValue>,
}

impl Client {
    /// What is at the path.
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.exchange(Method::GET, path, None)
    }

    /// Acts without saying more.
    pub(super) fn post(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.exchange(Method::POST, path, None)
    }

    /// Sends JSON.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Vec<u8>, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::Input(e.to_string()))?;
        self.exchange(method, path, Some((JSON, body)))
    }

    /// Sends an encoded message.
    pub(super) fn post_encoded(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        self.exchange(Method::POST, path, Some((adafed_wire::MEDIA_TYPE, body)))
    }

    /// Deletes.
    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.exchange(Method::DELETE, path, None).map(drop)
    }

    /// Asks, and lets the caller read the body.
    pub(super) fn download(&self, path: &str) -> Result<Response, Failure> {
        self.answer(Method::GET, path, None)
    }

    /// Why nothing came, or no more.
    pub(super) fn unreachable(&self, reason: String) -> Failure {
        Failure::Unreachable { server: self.base.to_string(), reason }
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Vec<u8>, Failure> {
        self.body(self.answer(method, path, body)?)
    }

    fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Response, Failure> {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let answer = request.send().map_err(|e| self.unreachable(all(&e.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let retry = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = self.body(answer).unwrap_or_default();
        Err(Failure::Refused(Problem::of(status.as_u16(), retry, &body)))
    }

    /// The body, as far as this machine wants to hold it.
    fn body(&self, answer: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        let read = answer.take(adafed_wire::LARGEST as u64).read_to_end(&mut body);
        read.map_err(|e| self.unreachable(e.to_string()))?;
        Ok(body)
    }
}

/// What the server answered.
///
/// # Errors
/// [`Failure::Other`] for something else than was expected.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        Failure::Other(format!(
            "the answer is not understood: {e}\n--json prints it as it is; or the server has \
             another version than this command"
        ))
    })
}

/// Prints the answer as it is for programs, or as `text` makes of it for people.
pub(super) fn print<T: DeserializeOwned>(
    terminal: &mut Terminal<'_>,
    json: bool,
    body: &[u8],
    text: impl FnOnce(T) -> String,
) -> Result<(), Failure> {
    if json {
        return terminal.print(&(String::from_utf8_lossy(body).trim_end().to_owned() + "\n"));
    }
    let text = text(parse(body)?);
    terminal.print(&text)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))
}

fn in_the_clear(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    base.scheme() == "http" && !here
}

/// reqwest takes the process-wide provider; one that was chosen before stays.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The whole chain of causes: reqwest's own message names only the outermost.
fn all(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
