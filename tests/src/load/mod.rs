//! Load: many devices that enrol, check in and upload, and what the server made of it.

mod fleet;
mod report;
mod servers;
mod task;
mod watch;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use adafed_server::{Phase, RoundReport, TaskStatus};
use adafed_wire::{
    Assignment, CreateTask, Digest, MEDIA_TYPE, MaskMessage, Message, ModelMessage, TaskPlan,
    TaskSettings, decode, encode,
};
use clap::Args;

pub use report::{Latency, Report, Round};
pub use watch::Memory;

use crate::fixture::Failure;
use fleet::{Fleet, Outcome, now_ms};
use servers::Servers;
pub use servers::serve;
use task::{Uploads, sum_of_step};

/// Settings of a run.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Devices, all of which take part in every round.
    #[arg(long, default_value_t = 1_000)]
    pub devices: u32,
    /// Parameters of the model, at least 8.
    #[arg(long, default_value_t = 26_010, value_parser = clap::value_parser!(u32).range(8..))]
    pub coordinates: u32,
    /// Share of the coordinates that is active; below 1 a warm-up round comes first.
    #[arg(long, default_value_t = 1.0)]
    pub retention: f64,
    /// Most uploads a second; without it, as many as the connections carry.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Kept connections, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// `sqlite` for a file of the run's own, a path, or `postgres://...` of an empty database.
    #[arg(long)]
    pub database: Option<String>,
    /// Servers on the database; several need PostgreSQL.
    #[arg(long, default_value_t = 1)]
    pub replicas: usize,
    /// A server that runs already, as `http://HOST:PORT`, in place of the run's own.
    #[arg(long, requires = "admin_token", conflicts_with_all = ["database", "replicas"])]
    pub server: Option<String>,
    /// Token of its administrator.
    #[arg(long)]
    pub admin_token: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the load.
///
/// # Errors
/// Those of servers and connections; a lost upload is no error but in the report.
pub fn run(settings: &Settings) -> Result<Report, Failure> {
    let coordinates = settings.coordinates as usize;
    let plan = task::plan(settings.devices, coordinates, settings.retention)?;
    let mut servers = Servers::start(settings)?;
    say("making keys");
    let (addresses, connections) = (servers.addresses.clone(), settings.connections.max(1));
    let mut fleet = Fleet::new(settings.devices, addresses, connections, settings.rate)?;
    create(&mut servers, &plan)?;
    let token = token(&mut servers, settings.devices)?;
    say("enrolling");
    let started = Instant::now();
    for outcome in fleet.enrol(&token)? {
        outcome.answer.success()?;
    }
    let enrolments_per_s = f64::from(settings.devices) / started.elapsed().as_secs_f64();
    let mut run = Run { plan, servers, fleet, model: vec![0.0; coordinates] };
    let rounds = run.plan.privacy.rounds();
    let rounds = (0..rounds).map(|_| run.round()).collect::<Result<_, _>>()?;
    Ok(Report {
        devices: settings.devices,
        coordinates,
        connections,
        replicas: run.servers.addresses.len(),
        database: run.servers.database,
        enrolments_per_s,
        rounds,
    })
}

/// A line on what comes next; on a terminal the bars say it.
fn say(what: &str) {
    if !std::io::stderr().is_terminal() {
        eprintln!("{what}");
    }
}

fn create(servers: &mut Servers, plan: &TaskPlan) -> Result<(), Failure> {
    let parameters = vec![0.0; plan.layout.len()];
    let settings = TaskSettings::default();
    let task = CreateTask { plan: plan.clone(), parameters, settings };
    servers.post("/v1/tasks", MEDIA_TYPE, encode(&task)?).map(drop)
}

fn token(servers: &mut Servers, uses: u32) -> Result<String, Failure> {
    let body = format!("{{\"uses\":{uses}}}").into_bytes();
    let answer = servers.post("/v1/tokens", "application/json", body)?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
}

struct Run {
    plan: TaskPlan,
    servers: Servers,
    fleet: Fleet,
    /// The model that the next round starts from.
    model: Vec<f32>,
}

/// What is measured while uploads come in.
struct Measured {
    outcomes: Vec<Outcome>,
    seconds: f64,
    closing_s: f64,
    row: RoundReport,
    memory: Option<Memory>,
}

impl Run {
    fn round(&mut self) -> Result<Round, Failure> {
        say("checking in");
        let started = Instant::now();
        let assignment = self.fleet.check_in(&self.plan.task)?;
        let check_ins_per_s = self.fleet.peers.len() as f64 / started.elapsed().as_secs_f64();
        let mask: MaskMessage = self.content(&assignment.mask)?;
        let mask = mask.mask(self.plan.layout.len())?;
        let active = mask.active_count();
        let uploads = Uploads::new(&self.plan.task, &assignment, active)?;
        let measured = self.measure(&assignment, &uploads)?;
        let after = self.next_model()?;
        let sum = uploads.sum(self.fleet.peers.len());
        let moved = sum_of_step(&self.plan, assignment.round, &mask, &self.model, &after);
        let right = sum.iter().zip(moved).all(|(s, m)| (*s as f64 - m).abs() < 0.5);
        self.model = after;
        Ok(measured.round(active, uploads.body_bytes(), check_ins_per_s, right))
    }

    fn measure(&mut self, assignment: &Assignment, uploads: &Uploads) -> Result<Measured, Failure> {
        say("uploading");
        let (ids, over) = (self.servers.ids(), AtomicBool::new(false));
        let Self { plan, servers, fleet, .. } = self;
        // The watch reads the counter that the uploads move.
        let done = fleet.done.clone();
        done.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch::watch(&ids, &done, &over));
            let started = Instant::now();
            let outcomes = fleet.upload(&plan.task, assignment.round, uploads);
            let seconds = started.elapsed().as_secs_f64();
            let closed = outcomes.and_then(|o| Ok((o, closed(servers, plan, assignment.round)?)));
            let closing_s = started.elapsed().as_secs_f64() - seconds;
            over.store(true, Ordering::Relaxed);
            let samples = watching.join().map_err(|_| "the watch panicked")?;
            let (outcomes, row) = closed?;
            let memory = watch::memory(&samples, outcomes.len() as u64);
            Ok(Measured { outcomes, seconds, closing_s, row, memory })
        })
    }

    fn next_model(&mut self) -> Result<Vec<f32>, Failure> {
        let status: TaskStatus = self.servers.get(&format!("/v1/tasks/{}", self.plan.task))?;
        let model: ModelMessage = self.content(&status.model)?;
        Ok(model.parameters)
    }

    fn content<M: Message>(&mut self, digest: &Digest) -> Result<M, Failure> {
        let request = self.fleet.peers[0].content(&self.plan.task, digest, now_ms());
        Ok(decode(&self.servers.send(&request)?)?)
    }
}

/// Waits until a round is over.
fn closed(servers: &mut Servers, plan: &TaskPlan, round: u64) -> Result<RoundReport, Failure> {
    loop {
        let rounds: Vec<RoundReport> = servers.get(&format!("/v1/tasks/{}/rounds", plan.task))?;
        let row = rounds.into_iter().find(|r| r.round == round).ok_or("the round is missing")?;
        match row.phase {
            Phase::Committed | Phase::Abandoned => return Ok(row),
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}

impl Measured {
    fn round(self, active: usize, body_bytes: usize, check_ins_per_s: f64, right: bool) -> Round {
        let receipts = self.outcomes.iter().filter(|o| o.answer.status == 200).count() as u64;
        let accepted = u64::from(self.row.reports);
        Round {
            round: self.row.round,
            active,
            body_bytes,
            bytes: self.row.bytes_up,
            check_ins_per_s,
            accepted,
            lost: self.outcomes.len() as u64 - receipts.min(accepted),
            sum_is_right: right,
            retried: self.outcomes.iter().map(|o| o.retried).sum(),
            seconds: self.seconds,
            uploads_per_s: receipts as f64 / self.seconds,
            closing_s: self.closing_s,
            latency_ms: Latency::of(self.outcomes.iter().map(|o| o.latency).collect()),
            memory: self.memory,
        }
    }
}
