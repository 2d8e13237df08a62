//! A real PostgreSQL for tests: started from installed programs in a temporary folder, or one
//! that `ADAFED_TEST_POSTGRES_URL` names.

use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor};
use tempfile::TempDir;

/// Address of a server to use instead of one of the tests' own; its user may create databases.
pub const URL_VARIABLE: &str = "ADAFED_TEST_POSTGRES_URL";

/// What a test says that finds no PostgreSQL.
pub const SKIPPED: &str = "skipped: no PostgreSQL here; install postgresql, or set \
                           ADAFED_TEST_POSTGRES_URL to a server whose user may create databases";

/// A running server. It stops, and its folder goes, when this is dropped or its process ends,
/// however that ends.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    own: Option<Own>,
}

/// A server of the tests' own.
#[derive(Debug)]
struct Own {
    programs: PathBuf,
    folder: TempDir,
    /// Waits for the end of its input, which is that of this process, then stops the server.
    guard: Child,
}

impl Postgres {
    /// Starts a server, or takes the one that is named; `None` where there is none.
    ///
    /// # Errors
    /// When programs are installed but do not run.
    pub fn start() -> Result<Option<Self>> {
        if let Ok(url) = std::env::var(URL_VARIABLE) {
            return Ok(Some(Self { url, own: None }));
        }
        let Some(programs) = programs() else { return Ok(None) };
        let own = Own::start(programs)?;
        let url = format!("postgres://adafed@localhost/postgres?host={}", own.folder().display());
        Ok(Some(Self { url, own: Some(own) }))
    }

    /// The address of a new, empty database.
    ///
    /// # Errors
    /// When the server does not make one.
    pub async fn database(&self) -> Result<String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("adafed_test_{}_{number}", std::process::id());
        self.execute(format!("CREATE DATABASE {name}")).await?;
        let (address, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = address.rsplit_once('/').unwrap_or((address, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Ok(format!("{server}/{name}{query}"))
    }

    /// Removes a database that [`database`](Self::database) made, whoever is still connected:
    /// a server that crashes reads the files of all of them when it comes back.
    ///
    /// # Errors
    /// When the server does not remove it.
    pub async fn remove(&self, address: &str) -> Result<()> {
        let path = address.split_once('?').map_or(address, |(path, _)| path);
        let name = path.rsplit('/').next().unwrap_or_default();
        self.execute(format!("DROP DATABASE {name} WITH (FORCE)")).await
    }

    async fn execute(&self, sql: String) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.map_err(Error::other)?;
        let done = connection.execute(sqlx::AssertSqlSafe(sql)).await;
        done.map(drop).map_err(Error::other)
    }

    /// Stops the server as `mode` says (`fast`, or `immediate`, which is a crash) and starts it
    /// again. Whether it could: a server that only was named is left alone.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&self, mode: &str) -> Result<bool> {
        let Some(own) = &self.own else { return Ok(false) };
        own.control(&["stop", "-m", mode])?;
        own.start_server()?;
        Ok(true)
    }
}

impl Own {
    fn start(programs: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if is_root() {
            // PostgreSQL refuses to run as root; its package comes with a user.
            run(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let mut initdb = as_user(&programs.join("initdb"));
        run(initdb
            .args(["-U", "adafed", "--auth=trust", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data))?;
        // A server in a static is never dropped, so the folder is the guard's to remove too.
        let stop = "cat >/dev/null; \"$@\" >/dev/null 2>&1; rm -rf \"$0\"";
        let mut guard = Command::new("sh");
        // Its own group: an interrupt from the keyboard is for the tests, and ends them first.
        guard.process_group(0).arg("-c").arg(stop).arg(folder.path());
        guard.args(words(&as_user(&programs.join("pg_ctl"))));
        guard.arg("-D").arg(&data).args(["stop", "-m", "immediate"]);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let own = Self { programs, folder, guard };
        own.start_server()?;
        Ok(own)
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn start_server(&self) -> Result<()> {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=200",
            self.folder().display()
        );
        let log = self.folder().join("data/log").display().to_string();
        self.control(&["-l", &log, "-o", &options, "-w", "-t", "300", "start"])
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut control = as_user(&self.programs.join("pg_ctl"));
        run(control.arg("-D").arg(self.folder().join("data")).args(arguments))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The folder of the newest installed server programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.splice(0..0, std::env::split_paths(&path));
    folders
        .into_iter()
        .rev()
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
}

/// Whether files made here belong to root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A command that does not run as root.
fn as_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn words(command: &Command) -> Vec<std::ffi::OsString> {
    let program = std::iter::once(command.get_program());
    program.chain(command.get_args()).map(Into::into).collect()
}

fn run(command: &mut Command) -> Result<()> {
    // Not a pipe: the server that `pg_ctl` starts would hold it open.
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{command:?} ended with {status}")))
}
