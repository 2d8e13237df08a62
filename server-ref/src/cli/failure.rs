//! Why a command failed, what to do, and with which code it ends.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::show::printable;
use crate::Error;

/// Exit codes of every command but `privacy verify`.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0  done; `serve`: shut down as asked
  1  any other failure
  2  wrong command line, configuration or input file
  3  the database cannot be used
  4  the address cannot be listened on
  5  the server cannot be reached
  6  not allowed: token missing, unknown or of a narrower scope (401, 403)
  7  not found (404)
  8  refused as it stands (400, 409, 422 and others)
  9  the server is busy or failed (429, 5xx)";

/// A failed command.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller's: a flag, a file or a configuration.
    Input(String),
    /// Something of the server's own.
    Server(Error),
    /// No answer.
    Unreachable { server: String, reason: String },
    /// A problem document.
    Refused(Problem),
    /// An answer that is none, or an output that cannot be written.
    Other(String),
}

/// What the server refused, and why.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    code: String,
    title: String,
    detail: String,
    retry_after_s: Option<u64>,
}

/// A problem document, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
}

impl Problem {
    /// What a body says; a body that is no problem document, by its status alone.
    pub(super) fn of(status: u16, retry_after_s: Option<u64>, body: &[u8]) -> Self {
        let Document { kind, title, detail } = serde_json::from_slice(body).unwrap_or_default();
        let code = kind.strip_prefix("urn:adafed:problem:").unwrap_or(&kind);
        let code = if code.is_empty() { format!("http/{status}") } else { code.to_owned() };
        let detail = if detail.is_empty() { format!("it answered {status}") } else { detail };
        let title = if title.is_empty() { "Refused".to_owned() } else { title };
        Self { status, code, title, detail, retry_after_s }
    }

    fn advice(&self) -> Option<String> {
        Some(match self.status {
            300..=399 => "give --server the address itself, it redirects".to_owned(),
            401 => "give an operator's token with --token-file or ADAFED_TOKEN".to_owned(),
            403 => "ask for a token of a wider scope".to_owned(),
            404 if self.code.starts_with("http/") || self.code == "server/unknown-path" => {
                "check --server; or the server is older than this command".to_owned()
            }
            404 => "the commands `list` show what there is".to_owned(),
            429 | 500..=599 => match self.retry_after_s {
                Some(seconds) => format!("try again in {seconds} s"),
                None => "try again later; the server's log says more".to_owned(),
            },
            _ => return None,
        })
    }
}

impl Failure {
    /// An input file that cannot be used.
    pub(super) fn file(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Input(format!("{}: {reason}", path.display()))
    }

    /// An output that cannot be written.
    pub(super) fn written(what: impl fmt::Display, e: &io::Error) -> Self {
        Self::Other(format!("{what} cannot be written: {e}"))
    }

    /// The code that the process ends with.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Server(e) => of_server(e),
            Self::Unreachable { .. } => 5,
            Self::Refused(problem) => of_status(problem.status),
            Self::Other(_) => 1,
        }
    }
}

const fn of_server(e: &Error) -> u8 {
    match e {
        Error::Setting { .. } | Error::Config { .. } | Error::Tls { .. } => 2,
        // Of what `serve` does before it listens, only the database's address is read as text.
        Error::Malformed { .. } => 2,
        Error::Storage(_)
        | Error::StorageFull
        | Error::StorageBusy
        | Error::Schema(_)
        | Error::SchemaTooNew { .. }
        | Error::Corrupt { .. } => 3,
        Error::Listen { .. } => 4,
        _ => 1,
    }
}

const fn of_status(status: u16) -> u8 {
    match status {
        401 | 403 => 6,
        404 => 7,
        429 | 500..=599 => 9,
        400..=499 => 8,
        _ => 1,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("adafed-server: ")?;
        match self {
            Self::Input(reason) | Self::Other(reason) => writeln!(f, "{}", lines(reason)),
            Self::Server(e) => writeln!(f, "{} [{}]", lines(&e.to_string()), e.code()),
            Self::Unreachable { server, reason } => {
                writeln!(f, "{server} cannot be reached: {}", lines(reason))?;
                writeln!(f, "  check --server or ADAFED_SERVER, --ca for HTTPS, and the network")
            }
            Self::Refused(problem) => {
                let [title, detail, code] =
                    [&problem.title, &problem.detail, &problem.code].map(|text| printable(text));
                writeln!(f, "{title}: {detail} [{code}]")?;
                problem.advice().map_or(Ok(()), |advice| writeln!(f, "  {advice}"))
            }
        }
    }
}

/// Text that may have several lines, but must not move the cursor.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Server(e)
    }
}
