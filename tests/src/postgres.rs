//! A PostgreSQL server of a test's own, in a temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::fixture::Failure;

/// Longest wait for a server to start, recovery of a killed one included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is stopped when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
    databases: usize,
}

impl Postgres {
    /// Whether PostgreSQL is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        program("initdb").is_file()
    }

    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When its programs fail.
    pub fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        if is_root() {
            // PostgreSQL does not run as root.
            finish(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let mut initdb = unprivileged("initdb");
        initdb.args(["--auth=trust", "--username=adafed", "--no-sync", "--pgdata"]).arg(&data);
        finish(&mut initdb)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut this = Self { folder, port, server: None, databases: 0 };
        this.launch()?;
        Ok(this)
    }

    fn launch(&mut self) -> Result<(), Failure> {
        let mut postgres = unprivileged("postgres");
        postgres.arg("-D").arg(self.folder.path().join("data"));
        postgres.arg("-p").arg(self.port.to_string());
        postgres.args(["-c", "unix_socket_directories=", "-c", "max_connections=200"]);
        self.server = Some(postgres.stderr(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let started = Instant::now();
        while self.run("postgres", "SELECT 1").is_err() {
            if started.elapsed() > PATIENCE {
                return Err("PostgreSQL does not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Address of a database.
    #[must_use]
    pub fn address(&self, database: &str) -> String {
        format!("postgres://adafed@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// What the server says against it.
    pub fn run(&self, database: &str, sql: &str) -> Result<(), Failure> {
        let mut psql = Command::new(program("psql"));
        psql.args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]);
        finish(psql.arg(self.address(database)).args(["--command", sql]))
    }

    /// Makes an empty database, or a copy of another; its address.
    ///
    /// # Errors
    /// What the server says against it.
    pub fn create(&mut self, template: Option<&str>) -> Result<String, Failure> {
        self.databases += 1;
        let name = format!("adafed{}", self.databases);
        let template = template.unwrap_or("template1");
        self.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"))?;
        Ok(self.address(&name))
    }

    /// Stops it at once, as a crash does, and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn crash_and_restart(&mut self) -> Result<(), Failure> {
        self.crash()?;
        self.launch()
    }

    fn crash(&mut self) -> Result<(), Failure> {
        if let Some(mut server) = self.server.take() {
            // SIGQUIT: no checkpoint, nothing finished, recovery at the next start.
            finish(Command::new("kill").args(["-QUIT", &server.id().to_string()]))?;
            server.wait()?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.crash();
    }
}

fn is_root() -> bool {
    let root = Path::new("/proc/self");
    std::fs::metadata(root).is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// A program of PostgreSQL, of the newest version installed.
fn program(name: &str) -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(debian);
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| name.into())
}

/// A program of PostgreSQL under a user that may run it.
fn unprivileged(name: &str) -> Command {
    if !is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program(name));
    command
}

fn finish(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_survives_a_crash() {
        if !Postgres::is_installed() {
            return println!("skipped: there is no PostgreSQL");
        }
        let mut postgres = Postgres::start().unwrap();
        postgres.create(None).unwrap();
        postgres.run("adafed1", "CREATE TABLE kept (n int)").unwrap();
        postgres.crash_and_restart().unwrap();
        postgres.run("adafed1", "SELECT n FROM kept").unwrap();
        assert!(postgres.run("adafed1", "SELECT n FROM lost").is_err());
    }
}
