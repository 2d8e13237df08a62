//! The servers under load: processes of their own, or one that runs elsewhere.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use adafed_server::{Server, ServerConfig};
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use super::Settings;
use crate::client::{Client, Request};
use crate::fixture::Failure;
use crate::process::Process;

const ADMIN: &str = "administrator-of-the-load";
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct Servers {
    processes: Vec<Process>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) database: &'static str,
    admin: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Servers {
    pub(super) fn start(settings: &Settings) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let file = format!("{}/load.sqlite", folder.path().display());
        let database = settings.database.as_deref().filter(|d| *d != "sqlite").unwrap_or(&file);
        let postgres = database.starts_with("postgres");
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        if let Some(server) = &settings.server {
            let host = server.trim_start_matches("http://").trim_end_matches('/');
            addresses.extend(host.to_socket_addrs()?.take(1));
        }
        while settings.server.is_none() && processes.len() < settings.replicas {
            let (process, address) = launch(database)?;
            processes.push(process);
            addresses.push(address);
        }
        let address = *addresses.first().ok_or("no address of a server")?;
        Ok(Self {
            processes,
            addresses,
            database: if postgres { "PostgreSQL" } else { "SQLite" },
            admin: settings.admin_token.clone().unwrap_or_else(|| ADMIN.into()),
            client: Client::new(address, PATIENCE),
            _folder: folder,
        })
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    pub(super) fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let answer = self.client.send(&Request::get(path, &self.admin))?;
        Ok(serde_json::from_slice(&answer.success()?)?)
    }

    pub(super) fn post(
        &mut self,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        Ok(self.client.send(&Request::post(path, &self.admin, kind, body))?.success()?)
    }

    pub(super) fn send(&mut self, request: &Request) -> Result<Vec<u8>, Failure> {
        Ok(self.client.send(request)?.success()?)
    }
}

/// Starts this very program as a server: the same build on both sides.
fn launch(database: &str) -> Result<(Process, SocketAddr), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", database]).stderr(Stdio::inherit());
    let mut process = Process::start(&mut command)?;
    let line = process.wait_for("http://")?;
    let address = line.rsplit("http://").next().unwrap_or_default().parse()?;
    Ok((process, address))
}

/// The server's side of a run: `load serve DATABASE`.
#[must_use]
pub fn serve() -> ExitCode {
    let database = std::env::args().nth(2).unwrap_or_default();
    match serve_on(&database) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("load serve: {e}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve_on(database: &str) -> Result<(), Failure> {
    let filter =
        EnvFilter::try_from_env("ADAFED_LOG__FILTER").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into(), database, ADMIN);
    let server = Server::bind(config).await?;
    println!("load serves on http://{}", server.local_addr());
    Ok(server.run(std::future::pending()).await?)
}
