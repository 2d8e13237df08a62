//! Server and device processes that a test starts, reads, and kills.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use adafed::privacy::PrivacyPlan;
use adafed::transport::{Request, Transport};
use adafed::wire::{MEDIA_TYPE, TaskSettings, encode};
use adafed_server::TaskStatus;
use adafed_tests::fixture::{Failure, http, parameters, plan, privacy};
use adafed_wire::CreateTask;

const ADMIN: &str = "administrator-of-tests";
/// Far beyond what any step takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child that is killed when the test ends, however it ends.
pub(crate) struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        Ok(Self { child, lines: BufReader::new(stdout) })
    }

    /// Reads lines until one contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<String, Failure> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err(format!("the process ended before it said {text:?}").into());
            }
            if line.contains(text) {
                return Ok(line.trim().to_owned());
            }
        }
    }

    /// SIGKILL: no destructor runs, no buffer is flushed. Returns what it said since it
    /// was last listened to; a process that had already ended is a failure.
    pub(crate) fn kill(mut self) -> Result<String, Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the process had ended by itself: {status}").into());
        }
        self.child.kill()?;
        self.child.wait()?;
        let mut said = String::new();
        self.lines.read_to_string(&mut said)?;
        Ok(said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process over one database, always on the same port.
pub(crate) struct Host {
    process: Option<Process>,
    database: PathBuf,
    address: String,
}

impl Host {
    pub(crate) fn start(folder: &Path) -> Result<Self, Failure> {
        let mut host =
            Self { process: None, database: folder.join("server.sqlite"), address: String::new() };
        host.launch("127.0.0.1:0")?;
        Ok(host)
    }

    fn launch(&mut self, listen: &str) -> Result<(), Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
        command.args(["serve", "--listen", listen, "--database"]).arg(&self.database);
        command.env("ADAFED_ADMIN_TOKEN", ADMIN);
        let mut process = Process::start(&mut command)?;
        let line = process.wait_for("http://")?;
        self.address = line.split_whitespace().last().unwrap_or_default().to_owned();
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        if let Some(process) = self.process.take() {
            process.kill()?;
        }
        let listen = self.address.trim_start_matches("http://").to_owned();
        self.launch(&listen)
    }

    fn admin(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let bearer = format!("Bearer {ADMIN}");
        let headers = vec![("authorization", bearer), ("content-type", kind.to_owned())];
        self.send(Request { method: "POST", path: path.to_owned(), headers, body })
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (path, headers) = (path.to_owned(), vec![("authorization", format!("Bearer {ADMIN}"))]);
        let body = self.send(Request { method: "GET", path, headers, body: vec![] })?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn send(&self, request: Request) -> Result<Vec<u8>, Failure> {
        let answer = http(&self.address)?.send(&request)?;
        if answer.status < 300 {
            return Ok(answer.body);
        }
        Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }

    pub(crate) fn create_task(&self, warmup: u64, main: u64, cohort: u32) -> Result<(), Failure> {
        self.create(privacy(warmup, main, 2)?, cohort)
    }

    pub(crate) fn create(&self, privacy: PrivacyPlan, cohort: u32) -> Result<(), Failure> {
        let plan = plan(privacy, cohort)?;
        let task =
            CreateTask { plan, parameters: parameters()?, settings: TaskSettings::default() };
        self.admin("/v1/tasks", MEDIA_TYPE, encode(&task)?).map(drop)
    }

    pub(crate) fn token(&self, uses: u32) -> Result<String, Failure> {
        let body = format!("{{\"uses\":{uses}}}").into_bytes();
        let answer: serde_json::Value =
            serde_json::from_slice(&self.admin("/v1/tokens", "application/json", body)?)?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }

    pub(crate) fn status(&self) -> Result<TaskStatus, Failure> {
        self.get("/v1/tasks/test")
    }

    pub(crate) fn wait(
        &self,
        what: &str,
        done: impl Fn(&TaskStatus) -> bool,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        while !done(&self.status()?) {
            if started.elapsed() > PATIENCE {
                return Err(format!("{what} did not come about: {:?}", self.status()?).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn device(
        &self,
        folder: &Path,
        token: &str,
        seed: u64,
        pause: &str,
    ) -> Result<Process, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_device"));
        command.arg(&self.address).arg(folder).args([token, &seed.to_string()]);
        if !pause.is_empty() {
            command.arg(pause);
        }
        Process::start(&mut command)
    }
}
