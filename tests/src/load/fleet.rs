//! Many devices over few connections, one thread a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adafed_server::{Clock, SystemClock};
use adafed_wire::{Assignment, CheckinResponse, TaskId, decode};
use indicatif::{ProgressBar, ProgressStyle};

use super::task::Uploads;
use crate::client::{Answer, Client, Request};
use crate::fixture::Failure;
use crate::peer::Peer;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between a refusal for now and the next attempt.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts before a request counts as lost.
const ATTEMPTS: u32 = 500;

/// Now, for signatures.
pub(super) fn now_ms() -> u64 {
    SystemClock.now_ms()
}

/// Devices, and where they send to.
pub(super) struct Fleet {
    pub(super) peers: Vec<Peer>,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) connections: usize,
    /// Uploads a second at most.
    pub(super) rate: Option<f64>,
    /// Answers so far, of the present phase.
    pub(super) done: Arc<AtomicU64>,
}

/// What came of one device's request.
pub(super) struct Outcome {
    pub(super) answer: Answer,
    pub(super) latency: Duration,
    pub(super) retried: u64,
}

impl Fleet {
    /// Devices with fresh keys.
    pub(super) fn new(
        devices: u32,
        servers: Vec<SocketAddr>,
        connections: usize,
        rate: Option<f64>,
    ) -> Result<Self, Failure> {
        let peers = (0..devices).map(|_| Peer::new()).collect::<Result<_, _>>()?;
        Ok(Self { peers, servers, connections, rate, done: Arc::default() })
    }

    pub(super) fn enrol(&mut self, token: &str) -> Result<Vec<Outcome>, Failure> {
        self.each("enrol", None, |_, peer| peer.enrol(token, now_ms()))
    }

    /// Checks everybody in; the assignment, which must be the same for all.
    pub(super) fn check_in(&mut self, task: &TaskId) -> Result<Assignment, Failure> {
        let outcomes = self.each("check in", None, |_, peer| peer.check_in(task, now_ms()))?;
        let mut assignments = Vec::new();
        for outcome in outcomes {
            match decode(&outcome.answer.success()?)? {
                CheckinResponse::Join(assignment) => assignments.push(assignment),
                other => return Err(format!("a device was not asked to join: {other:?}").into()),
            }
        }
        assignments.dedup();
        match assignments.pop() {
            Some(assignment) if assignments.is_empty() => Ok(assignment),
            _ => Err("devices were asked to join different rounds".into()),
        }
    }

    pub(super) fn upload(
        &mut self,
        task: &TaskId,
        round: u64,
        uploads: &Uploads,
    ) -> Result<Vec<Outcome>, Failure> {
        let rate = self.rate;
        self.each("upload", rate, |n, peer| Ok(peer.upload(task, round, uploads.body(n), now_ms())))
    }

    /// One request of every device, in the order of devices.
    fn each(
        &mut self,
        what: &'static str,
        rate: Option<f64>,
        request: impl Fn(usize, &mut Peer) -> Result<Request, Failure> + Sync,
    ) -> Result<Vec<Outcome>, Failure> {
        let share = self.peers.len().div_ceil(self.connections).max(1);
        let (done, servers, request) = (&self.done, &self.servers, &request);
        done.store(0, Ordering::Relaxed);
        let (pace, bar) = (&Pace::new(rate), &bar(what, self.peers.len() as u64));
        let parts = self.peers.chunks_mut(share).enumerate();
        std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .map(|(part, peers)| {
                    let client = Client::new(servers[part % servers.len()], PATIENCE);
                    scope.spawn(move || {
                        let each = peers.iter_mut().enumerate();
                        let mut line = Line { client, pace, done, bar };
                        each.map(|(n, peer)| line.send(|| request(part * share + n, peer)))
                            .collect::<Result<Vec<_>, String>>()
                    })
                })
                .collect();
            let mut outcomes = Vec::new();
            for thread in threads {
                outcomes.extend(thread.join().map_err(|_| "a connection panicked")??);
            }
            bar.finish_and_clear();
            Ok(outcomes)
        })
    }
}

/// A bar with the time left on a terminal, nothing elsewhere.
fn bar(what: &'static str, requests: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:9} {bar:40} {pos}/{len} {per_sec} {eta} left");
    ProgressBar::new(requests)
        .with_style(style.unwrap_or(ProgressStyle::default_bar()))
        .with_message(what)
}

/// When the next request may leave, all connections together.
struct Pace {
    start: Instant,
    interval: Duration,
    sent: AtomicU64,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Self { start: Instant::now(), interval, sent: AtomicU64::new(0) }
    }

    fn wait(&self) {
        let sent = self.sent.fetch_add(1, Ordering::Relaxed) as f64;
        let due = self.start + self.interval.mul_f64(sent);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// One connection.
struct Line<'a> {
    client: Client,
    pace: &'a Pace,
    done: &'a AtomicU64,
    bar: &'a ProgressBar,
}

impl Line<'_> {
    /// Sends until the answer is not "later"; each time signed anew.
    fn send(
        &mut self,
        mut request: impl FnMut() -> Result<Request, Failure>,
    ) -> Result<Outcome, String> {
        self.pace.wait();
        for retried in 0..ATTEMPTS {
            let request = request().map_err(|e| e.to_string())?;
            let started = Instant::now();
            let answer = self.client.send(&request).map_err(|e| e.to_string())?;
            if !matches!(answer.status, 429 | 503) {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.bar.inc(1);
                let latency = started.elapsed();
                return Ok(Outcome { answer, latency, retried: retried.into() });
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("turned away {ATTEMPTS} times"))
    }
}
