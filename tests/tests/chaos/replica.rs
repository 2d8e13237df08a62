//! Replicas: processes over one database, under one clock.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use adafed_tests::client::{Answer, Client, Request};
use adafed_tests::fixture::Failure;
use adafed_tests::process::Process;

pub(crate) const ADMIN: &str = "administrator-of-tests";
/// Far beyond what any answer takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Replicas {
    database: String,
    clock: PathBuf,
    /// Largest size of the database in bytes.
    most: Option<u64>,
    live: Vec<Option<Live>>,
}

struct Live {
    process: Process,
    address: SocketAddr,
}

impl Replicas {
    /// `count` replicas, none of which runs yet.
    pub(crate) fn new(database: String, folder: &Path, count: usize) -> Self {
        let live = (0..count).map(|_| None).collect();
        Self { database, clock: folder.join("clock"), most: None, live }
    }

    /// Sets the clock of all.
    pub(crate) fn set_clock(&self, now_ms: u64) -> Result<(), Failure> {
        // Replaced as a whole: a replica that reads meanwhile sees the old time or the new.
        let new = self.clock.with_extension("new");
        std::fs::write(&new, now_ms.to_string())?;
        Ok(std::fs::rename(new, &self.clock)?)
    }

    /// Starts a replica that is down.
    pub(crate) fn start(&mut self, n: usize) -> Result<(), Failure> {
        let n = n % self.live.len();
        if self.live[n].is_some() {
            return Ok(());
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_replica"));
        command.arg(&self.database).arg(&self.clock);
        command.args(self.most.map(|bytes| bytes.to_string()));
        command.env("ADAFED_ADMIN_TOKEN", ADMIN).stderr(Stdio::inherit());
        let mut process = Process::start(&mut command)?;
        let line = process.wait_for("http://")?;
        let address = line.rsplit("http://").next().unwrap_or_default().parse()?;
        self.live[n] = Some(Live { process, address });
        Ok(())
    }

    pub(crate) fn start_all(&mut self) -> Result<(), Failure> {
        (0..self.live.len()).try_for_each(|n| self.start(n))
    }

    /// Kills a replica; whether one ran.
    pub(crate) fn kill(&mut self, n: usize) -> Result<bool, Failure> {
        let n = n % self.live.len();
        let Some(live) = self.live[n].take() else { return Ok(false) };
        live.process.kill()?;
        Ok(true)
    }

    /// Kills all and starts them with or without room in the database.
    pub(crate) fn restart_with_room(&mut self, room: bool) -> Result<(), Failure> {
        (0..self.live.len()).try_for_each(|n| self.kill(n).map(drop))?;
        // SQLite takes a size below the present one for the present one.
        self.most = (!room).then_some(1);
        self.start_all()
    }

    /// A replica that runs: the one asked for, another, or that one started.
    pub(crate) fn running(&mut self, n: usize) -> Result<(usize, SocketAddr), Failure> {
        let count = self.live.len();
        let running = (n..n + count).map(|n| n % count).find(|n| self.live[*n].is_some());
        let n = running.unwrap_or(n % count);
        self.start(n)?;
        let live = self.live[n].as_ref().ok_or("it was just started")?;
        Ok((n, live.address))
    }

    /// Asks any replica as an operator, until it can answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Failure> {
        for _ in 0..200 {
            let (_, address) = self.running(0)?;
            let answer = send(address, request)?;
            if answer.status < 500 {
                return Ok(answer.success()?);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Err(format!("{} is never answered", request.path).into())
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        Ok(serde_json::from_slice(&self.ask(&Request::get(path, ADMIN))?)?)
    }
}

/// Sends a request on a connection of its own; an error says that the answer was lost.
pub(crate) fn send(address: SocketAddr, request: &Request) -> std::io::Result<Answer> {
    Client::new(address, PATIENCE).send(request)
}
