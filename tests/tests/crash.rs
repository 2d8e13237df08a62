//! Processes killed with SIGKILL, in the middle of what they do.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use adafed::transport::{Request, Transport};
use adafed::wire::{MEDIA_TYPE, encode};
use adafed_server::{PrivacyReport, RoundReport, TaskState, TaskStatus};
use adafed_tests::fixture::{Failure, http, parameters, plan, privacy};
use adafed_wire::CreateTask;

const ADMIN: &str = "administrator-of-tests";
/// Far beyond what any step takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child that is killed when the test ends, however it ends.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        Ok(Self { child, lines: BufReader::new(stdout) })
    }

    /// Reads lines until one contains `text`.
    fn wait_for(&mut self, text: &str) -> Result<String, Failure> {
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

    /// SIGKILL: no destructor runs, no buffer is flushed.
    fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process over one database, always on the same port.
struct Host {
    process: Option<Process>,
    database: PathBuf,
    address: String,
}

impl Host {
    fn start(folder: &Path) -> Result<Self, Failure> {
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

    fn kill_and_restart(&mut self) -> Result<(), Failure> {
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

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let path = path.to_owned();
        let body = self.send(Request { method: "GET", path, headers: vec![], body: vec![] })?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn send(&self, request: Request) -> Result<Vec<u8>, Failure> {
        let answer = http(&self.address)?.send(&request)?;
        if answer.status < 300 {
            return Ok(answer.body);
        }
        Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }

    fn create_task(&self, warmup: u64, main: u64, cohort: u32) -> Result<(), Failure> {
        let plan = plan(privacy(warmup, main, 2)?, cohort)?;
        let task = CreateTask { plan, parameters: parameters()? };
        self.admin("/v1/tasks", MEDIA_TYPE, encode(&task)?).map(drop)
    }

    fn token(&self, uses: u32) -> Result<String, Failure> {
        let body = format!("{{\"uses\":{uses}}}").into_bytes();
        let answer: serde_json::Value =
            serde_json::from_slice(&self.admin("/v1/tokens", "application/json", body)?)?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }

    fn status(&self) -> Result<TaskStatus, Failure> {
        self.get("/v1/tasks/test")
    }

    fn wait(&self, what: &str, done: impl Fn(&TaskStatus) -> bool) -> Result<(), Failure> {
        let started = Instant::now();
        while !done(&self.status()?) {
            if started.elapsed() > PATIENCE {
                return Err(format!("{what} did not come about: {:?}", self.status()?).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn device(
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

#[test]
fn a_killed_server_goes_on_and_loses_or_repeats_no_upload() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut host = Host::start(folder.path())?;
    host.create_task(1, 3, 3)?;
    let token = host.token(3)?;
    // Two devices report; the third trains but is held before its upload, so that the
    // round is open when the server dies.
    let device = |host: &Host, n: u64, pause: &str| {
        host.device(&folder.path().join(format!("device-{n}")), &token, n, pause)
    };
    let mut first = device(&host, 1, "")?;
    let mut second = device(&host, 2, "")?;
    let mut third = device(&host, 3, "Released")?;
    first.wait_for("Uploaded")?;
    second.wait_for("Uploaded")?;
    third.wait_for("Released")?;
    assert_eq!(host.status()?.reports, 2);
    host.kill_and_restart()?;
    let after = host.status()?;
    assert_eq!((after.round, after.reports), (0, 2), "accepted uploads are kept");
    third.kill()?;
    let _third = device(&host, 3, "")?;
    host.wait("the end", |s| s.state == TaskState::Finished)?;
    let rounds: Vec<RoundReport> = host.get("/v1/tasks/test/rounds")?;
    let reports: Vec<u32> = rounds.iter().map(|r| r.reports).collect();
    assert_eq!(reports, [3, 3, 3, 3], "each device counts once a round");
    let privacy: PrivacyReport = host.get("/v1/tasks/test/privacy")?;
    assert!(privacy.devices.iter().all(|d| d.rounds_charged == 4), "no charge is forgotten");
    Ok(())
}

#[test]
fn a_device_killed_between_charge_and_upload_sends_the_same_bytes() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path())?;
    host.create_task(0, 1, 1).err().ok_or("a mask without a warm-up must be refused")?;
    host.create_task(1, 1, 1)?;
    let token = host.token(1)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, &token, 5, "Released")?;
    device.wait_for("Released")?;
    device.kill()?;
    let outbox = std::fs::read(home.join("outbox.bin"))?;
    let ledger = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert!(ledger.contains("\"charged\"") && ledger.contains("\"released\""));
    assert_eq!(host.status()?.reports, 0, "nothing left the device yet");

    let mut device = host.device(&home, &token, 5, "Uploaded")?;
    device.wait_for("Uploaded")?;
    device.kill()?;
    let after = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert_eq!(after, ledger, "no second charge, no second release");
    // What was sent is what the ledger recorded: the digest of the outbox's bytes.
    let recorded = ledger.lines().last().unwrap_or_default();
    let body = &outbox[outbox.len() - body_length(&outbox)..];
    let digest = adafed_wire::Digest::of(body).to_string();
    assert!(recorded.contains(&digest), "{recorded}");
    host.wait("the next round", |s| s.round == 1)
}

/// Length of the update inside an outbox: all but version, round and length prefix.
fn body_length(outbox: &[u8]) -> usize {
    // Version byte, one-byte round, then a varint length: 251 announces two bytes.
    match outbox[2] {
        251 => outbox.len() - 5,
        252 => outbox.len() - 7,
        _ => outbox.len() - 3,
    }
}

#[test]
fn a_device_killed_while_training_repeats_the_round_to_the_same_bytes() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path())?;
    host.create_task(1, 1, 1)?;
    let token = host.token(1)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, &token, 6, "Trained")?;
    device.wait_for("Trained")?;
    device.kill()?;
    // A twin that never crashed, from the same stored round.
    let twin = folder.path().join("twin");
    std::fs::create_dir(&twin)?;
    for entry in std::fs::read_dir(&home)? {
        let entry = entry?;
        std::fs::copy(entry.path(), twin.join(entry.file_name()))?;
    }
    let mut outboxes = Vec::new();
    for home in [&home, &twin] {
        let mut device = host.device(home, &token, 6, "Released")?;
        device.wait_for("Released")?;
        device.kill()?;
        outboxes.push(std::fs::read(home.join("outbox.bin"))?);
    }
    assert_eq!(outboxes[0], outboxes[1]);
    let ledger = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert_eq!(ledger.matches("\"kind\":\"charged\"").count(), 1, "charged once");
    Ok(())
}
