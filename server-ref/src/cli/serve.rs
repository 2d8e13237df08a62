//! `serve`: the server itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Terminal;
use super::failure::{EXIT_CODES, Failure};
use crate::config::{Effective, Entry, Log, LogFormat, variables};
use crate::{Error, Server, ServerConfig, telemetry};

const EXAMPLES: &str = "Example:\n  adafed-server config example > adafed.toml\n  \
    ADAFED_ADMIN_TOKEN=choose-a-long-random-text adafed-server serve --config adafed.toml";

/// Serve devices and people until ctrl-c or SIGTERM.
///
/// Settings come from the command line, then from the environment, then from the file, then
/// from the defaults. `config example` prints a file with every key.
#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
          after_long_help = format!("{}\n\n{EXAMPLES}\n\n{EXIT_CODES}", variables()))]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) source: Source,
}

/// Where a configuration comes from.
#[derive(Args)]
pub(super) struct Source {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "ADAFED_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one. [default: 127.0.0.1:8080]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// SQLite file, made if missing, or postgres://USER:PASSWORD@HOST/NAME.
    /// [default: adafed.sqlite]
    #[arg(long)]
    database: Option<String>,
    /// Operators' token, at least 16 characters; other users of this machine can read a
    /// command line, so ADAFED_ADMIN_TOKEN or ADAFED_ADMIN_TOKEN_FILE is the better place.
    #[arg(long, value_name = "TOKEN")]
    admin_token: Option<String>,
    /// Largest body of an update or a task creation, in MiB. [default: 64]
    #[arg(long, value_name = "MIB")]
    max_body_mib: Option<u32>,
    /// Largest size of the SQLite file, in MiB; without it, the disk is the limit.
    #[arg(long, value_name = "MIB")]
    max_database_mib: Option<u32>,
    /// What to log, such as `info` or `adafed_server=debug`. [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How a line of the log is written. [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Source {
    /// The configuration in force, not checked yet as a whole.
    pub(super) fn read(&self) -> Result<Effective, Error> {
        Effective::of(self.config.as_deref(), std::env::vars_os(), self.flags())
    }

    fn flags(&self) -> Vec<Entry> {
        let listen = self.listen.map(|address| address.to_string());
        let bytes = self.max_body_mib.map(|mib| i64::from(mib) << 20);
        let format = self.log_format.map(|format| super::show::word(&format));
        [
            listen.and_then(|v| Entry::flag("listen", v, "--listen")),
            self.database.clone().and_then(|v| Entry::flag("database", v, "--database")),
            self.admin_token.clone().and_then(|v| Entry::flag("admin_token", v, "--admin-token")),
            bytes.and_then(|v| Entry::flag("limits.max_body_bytes", v, "--max-body-mib")),
            self.max_database_mib
                .and_then(|v| Entry::flag("max_database_mib", v, "--max-database-mib")),
            self.log.clone().and_then(|v| Entry::flag("log.filter", v, "--log")),
            format.and_then(|v| Entry::flag("log.format", v, "--log-format")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Serve {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let effective = self.source.read()?;
        let config = effective.server()?;
        let log = &effective.settings.log;
        let _telemetry = telemetry::start(filter(log)?, log.format == LogFormat::Json);
        let runtime = tokio::runtime::Runtime::new();
        let runtime = runtime.map_err(|e| Failure::Other(format!("no threads to run on: {e}")))?;
        runtime.block_on(serve(config, terminal))
    }
}

/// Reads the log's filter.
///
/// # Errors
/// [`Error::Config`] for one that is none.
pub(super) fn filter(log: &Log) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(&log.filter).map_err(|e| Error::Config {
        reason: format!(
            "`log.filter` is {:?}, expected such as info or adafed_server=debug: {e}",
            log.filter
        ),
    })
}

async fn serve(config: ServerConfig, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let server = Server::bind(config).await?;
    // The one line on standard output: whoever started the server waits for it.
    terminal.print(&format!("adafed-server listens on {}\n", server.url()))?;
    Ok(server.run(shutdown()).await?)
}

/// Completes at ctrl-c, and at SIGTERM where there is one.
async fn shutdown() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate() => {}
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => signal.recv().await.unwrap_or(()),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
