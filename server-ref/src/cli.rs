//! The command line.
//!
//! Exit codes of `serve`: 0 after a shutdown that was asked for, 2 for a wrong command line or
//! setting, 3 when the database cannot be used, 4 when the address cannot, 1 for
//! anything else. Those of `privacy verify` are in its own module.

mod privacy;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{Error, Server, ServerConfig};

const EXIT_CODES: &str = "Exit codes:\n  0  shut down as asked\n  1  any other failure\n  \
    2  wrong command line or setting\n  3  the database cannot be used\n  \
    4  the address cannot be used";

/// Reference aggregation server of AdaFed.
#[derive(Debug, Parser)]
#[command(name = "adafed-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve devices and people until ctrl-c or SIGTERM.
    #[command(after_help = EXIT_CODES)]
    Serve(Serve),
    /// Privacy reports of devices.
    #[command(subcommand)]
    Privacy(privacy::Privacy),
}

#[derive(Args)]
struct Serve {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// SQLite file, made if missing.
    #[arg(long, default_value = "adafed.sqlite")]
    database: PathBuf,
    /// Operators' token, at least 16 characters; other users of this machine can read a
    /// command line, so the environment is the better place.
    #[arg(long, env = "ADAFED_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: String,
    /// Largest body of an update or a task creation, in MiB.
    #[arg(long, default_value_t = 64)]
    max_body_mib: usize,
    /// Largest size of the database file, in MiB; without it, the disk is the limit.
    #[arg(long)]
    max_database_mib: Option<u64>,
    /// What to log, such as `info` or `adafed_server=debug`.
    #[arg(long, env = "ADAFED_LOG", default_value = "info")]
    log: String,
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Serve {
    fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(self.listen, self.database.as_path(), &self.admin_token);
        config.limits.max_body_bytes = self.max_body_mib.saturating_mul(1 << 20);
        config.max_database_bytes = self.max_database_mib.map(|m| m.saturating_mul(1 << 20));
        config
    }
}

/// Runs the program named by the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => start(&serve),
        Command::Privacy(command) => command.run(),
    }
}

fn start(serve: &Serve) -> ExitCode {
    let _telemetry = crate::telemetry::start(EnvFilter::new(&serve.log), false);
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => finish(runtime.block_on(run(serve))),
        Err(e) => {
            eprintln!("adafed-server: no threads to run on: {e}");
            ExitCode::from(1)
        }
    }
}

async fn run(serve: &Serve) -> Result<(), Error> {
    let server = Server::bind(serve.config()).await?;
    // The one line on standard output: whoever started the server waits for it.
    println!("adafed-server listens on {}", server.url());
    server.run(shutdown()).await
}

fn finish(result: Result<(), Error>) -> ExitCode {
    let Err(e) = result else { return ExitCode::SUCCESS };
    eprintln!("adafed-server: {e} [{}]", e.code());
    ExitCode::from(match e {
        Error::Setting { .. } => 2,
        Error::Listen { .. } => 4,
        Error::Storage(_)
        | Error::StorageFull
        | Error::StorageBusy
        | Error::Schema(_)
        | Error::SchemaTooNew { .. }
        | Error::Corrupt { .. } => 3,
        _ => 1,
    })
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
