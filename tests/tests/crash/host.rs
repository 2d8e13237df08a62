//! Server and device processes that a test starts, reads, and kills.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adafed::privacy::PrivacyPlan;
use adafed::transport::{Request, Transport};
use adafed::wire::{MEDIA_TYPE, TaskSettings, encode};
use adafed_server::TaskStatus;
use adafed_tests::fixture::{Failure, http, parameters, plan, privacy};
use adafed_tests::process::Process;
use adafed_wire::CreateTask;

const ADMIN: &str = "administrator-of-tests";
/// Far beyond what any step takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {ADMIN}"))
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
        let mut process = Process::start(command.stderr(Stdio::null()))?;
        let line = process.wait_for("http://")?;
        self.address = line.split_whitespace().last().unwrap_or_default().to_owned();
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        self.kill_and_restart_after(|_| Ok(()))
    }

    /// As [`kill_and_restart`](Self::kill_and_restart), with something done to the database
    /// while nobody has it open.
    pub(crate) fn kill_and_restart_after(
        &mut self,
        change: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Some(process) = self.process.take() {
            process.kill()?;
        }
        change(&self.database)?;
        let listen = self.address.trim_start_matches("http://").to_owned();
        self.launch(&listen)
    }

    fn admin(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let headers = vec![bearer(), ("content-type", kind.to_owned())];
        self.send(Request { method: "POST", path: path.to_owned(), headers, body })
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (path, headers) = (path.to_owned(), vec![bearer()]);
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
        Process::start(command.stderr(Stdio::null()))
    }
}
