//! One run: operations carried out on real processes, and everything that is seen held
//! against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use adafed_server::{Phase, PrivacyReport, RoundReport, TaskStatus};
use adafed_tests::client::{Answer, Request};
use adafed_tests::fixture::Failure;
use adafed_wire::{
    Assignment, CreateTask, Digest, MEDIA_TYPE, MaskMessage, Message, ModelMessage, ScaleMessage,
    TaskId, TaskPlan, TaskSettings, decode, encode, path,
};

use super::database::Home;
use super::device::{Device, Sent};
use super::model::{DEADLINE_MS, Known, Published, Told, World, Worlds};
use super::operations::{Act, Case, Database, How, Operation};
use super::replica::{ADMIN, Replicas, send};
use super::task;

/// The run's beginning, in milliseconds since 1970.
const START_MS: u64 = 1_800_000_000_000;
/// The clock never goes back further than this from its latest time: within the window
/// that every server accepts.
const MOST_BACK_MS: u64 = 240_000;
/// Between two looks at what devices were charged, in operations: it takes an accountant.
const EVERY: usize = 10;
/// Operations after which a request whose answer was lost has arrived or never will, and a
/// server has seen that the clock stepped.
const LOST_FOR: usize = 3;
/// What a killed server's last statement may still take to reach the database.
const LINGER: Duration = Duration::from_millis(5);
/// Beyond every lease that a killed replica may have held.
const LEASE_MS: u64 = 600_000;

/// What runs came to, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    pub(crate) kills: usize,
    pub(crate) lost: usize,
    pub(crate) failed: usize,
    pub(crate) committed: usize,
    pub(crate) abandoned: usize,
    pub(crate) most_worlds: usize,
}

pub(crate) struct Run<'a> {
    case: &'a Case,
    home: &'a mut Home,
    task: TaskId,
    plan: TaskPlan,
    replicas: Replicas,
    known: Known,
    worlds: Worlds,
    devices: Vec<Device>,
    /// Rounds as they were seen last.
    seen: Vec<RoundReport>,
    latest_ms: u64,
    /// Looks since an answer was lost.
    lost_since: usize,
    /// Looks since the clock stepped.
    stepped_since: usize,
    full: bool,
    tally: Tally,
}

impl<'a> Run<'a> {
    /// Carries a case out.
    pub(crate) fn of(case: &'a Case, home: &'a mut Home) -> Result<Tally, Failure> {
        let mut run = Self::start(case, home)?;
        for (n, operation) in case.operations.iter().enumerate() {
            let done = run.carry_out(n, operation).and_then(|()| run.look(n % EVERY == EVERY - 1));
            done.map_err(|e| format!("operation {n}, {operation:?}: {e}"))?;
        }
        run.finish().map_err(|e| format!("at the end: {e}"))?;
        Ok(run.tally)
    }

    fn start(case: &'a Case, home: &'a mut Home) -> Result<Self, Failure> {
        let count = if case.database == Database::Postgres { 2 } else { 1 };
        let database = home.fresh(case.database)?;
        let mut replicas = Replicas::new(database, home.folder(), count);
        replicas.set_clock(START_MS)?;
        replicas.start_all()?;
        let plan = task::plan(&case.task)?;
        let task = plan.task.clone();
        create(&mut replicas, &plan)?;
        let devices = (0..case.task.devices).map(Device::new).collect::<Result<Vec<_>, _>>()?;
        let enrolled = vec![START_MS; devices.len()];
        let known = Known {
            seed: case.seed,
            task: case.task,
            published: BTreeMap::new(),
            uploads: vec![],
            now_ms: START_MS,
            closing_ms: START_MS,
        };
        let mut run = Self {
            case,
            home,
            task,
            plan,
            replicas,
            known,
            worlds: Worlds::new(World::new(case.task, &enrolled)),
            devices,
            seen: vec![],
            latest_ms: START_MS,
            lost_since: 0,
            stepped_since: 0,
            full: false,
            tally: Tally::default(),
        };
        run.enrol()?;
        Ok(run)
    }

    fn enrol(&mut self) -> Result<(), Failure> {
        let uses = self.devices.len();
        let body = format!("{{\"uses\":{uses}}}").into_bytes();
        let answer =
            self.replicas.ask(&Request::post("/v1/tokens", ADMIN, "application/json", body))?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let token = answer["token"].as_str().ok_or("no token")?;
        for device in &mut self.devices {
            self.replicas.ask(&device.peer.enrol(token, START_MS)?)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, n: usize, operation: &Operation) -> Result<(), Failure> {
        match operation {
            Operation::Act(act) => self.together(n, &[*act]),
            Operation::Together(acts) => self.together(n, acts),
            Operation::KillDuring { act, replica, after_us } => {
                self.during(n, *act, *after_us, |run, served| {
                    run.tally.kills += 1;
                    // The one that serves, or now and then the other.
                    run.replicas.kill(if *replica == 0 { served } else { served + 1 }).map(drop)
                })
            }
            Operation::Kill { replica } => {
                self.tally.kills += usize::from(self.replicas.kill(*replica)?);
                Ok(())
            }
            Operation::Start { replica } => self.replicas.start(*replica),
            Operation::RestartDatabase { act, after_us } => {
                self.during(n, *act, *after_us, |run, _| run.home.restart())
            }
            Operation::StepClock { ms } => self.step_clock(*ms),
            Operation::FillDisk => self.set_full(true),
            Operation::FreeDisk => self.set_full(false),
            Operation::Pause { device, operations } => {
                let device = *device % self.devices.len();
                self.devices[device].paused_until = n + operations;
                Ok(())
            }
        }
    }

    fn step_clock(&mut self, ms: i64) -> Result<(), Failure> {
        let earliest = self.latest_ms - MOST_BACK_MS;
        self.known.closing_ms = self.known.closing_ms.max(self.known.now_ms);
        self.stepped_since = 0;
        self.known.now_ms = self.known.now_ms.saturating_add_signed(ms).max(earliest);
        self.latest_ms = self.latest_ms.max(self.known.now_ms);
        self.replicas.set_clock(self.known.now_ms)
    }

    fn set_full(&mut self, full: bool) -> Result<(), Failure> {
        if self.case.database == Database::Postgres || full == self.full {
            return Ok(());
        }
        self.full = full;
        self.replicas.restart_with_room(!full)
    }

    /// The acts of devices that are not paused, one a device, with the address of each.
    fn prepare(
        &mut self,
        n: usize,
        acts: &[Act],
    ) -> Result<Vec<(usize, std::net::SocketAddr, Sent)>, Failure> {
        let (mut sent, mut acting) = (Vec::new(), BTreeSet::new());
        for act in acts {
            let device = act.device % self.devices.len();
            if self.devices[device].paused_until > n || !acting.insert(device) {
                continue;
            }
            let (served, address) = self.replicas.running(act.replica)?;
            let request = self.devices[device].act(&self.task, &mut self.known, act.what)?;
            sent.push((served, address, request));
        }
        Ok(sent)
    }

    fn together(&mut self, n: usize, acts: &[Act]) -> Result<(), Failure> {
        let sent = self.prepare(n, acts)?;
        let answers: Vec<_> = std::thread::scope(|scope| {
            let sending: Vec<_> = sent
                .iter()
                .map(|(_, address, sent)| scope.spawn(move || send(*address, &sent.request)))
                .collect();
            sending.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut heard = Vec::new();
        for ((.., sent), answer) in sent.into_iter().zip(answers) {
            let answer = answer.map_err(|_| "a sender panicked")?;
            heard.push((sent, Some(answer.map_err(|e| format!("an answer was lost: {e}"))?)));
        }
        self.hear(heard)
    }

    /// One act, and a blow some time after it was sent.
    fn during(
        &mut self,
        n: usize,
        act: Act,
        after_us: u64,
        blow: impl FnOnce(&mut Self, usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some((served, address, sent)) = self.prepare(n, &[act])?.pop() else { return Ok(()) };
        let answer = std::thread::scope(|scope| {
            let sending = scope.spawn(|| send(address, &sent.request));
            std::thread::sleep(Duration::from_micros(after_us));
            blow(self, served)?;
            sending.join().map_err(|_| "the sender panicked".into())
        });
        let answer: std::io::Result<Answer> = answer.map_err(|e: Failure| e)?;
        std::thread::sleep(LINGER);
        self.hear(vec![(sent, answer.ok())])
    }

    /// Takes answers in that came at the same time; `None` was lost.
    fn hear(&mut self, heard: Vec<(Sent, Option<Answer>)>) -> Result<(), Failure> {
        let mut told = Vec::new();
        let mut joined = BTreeMap::new();
        self.tally.requests += heard.len();
        for (sent, answer) in heard {
            let asked = sent.asked;
            match answer {
                None => {
                    self.tally.lost += 1;
                    self.lost_since = 0;
                    self.worlds.lose(asked);
                }
                Some(answer) if answer.status >= 500 => self.fail(&sent, &answer)?,
                Some(answer) => {
                    let device = &mut self.devices[asked.device];
                    let heard = device.hear(&sent, &answer)?;
                    if let Told::Join(round) = heard {
                        joined.insert(round, device.held[&round].clone());
                    }
                    told.push((asked, heard));
                }
            }
        }
        // What a round publishes, before anything depends on it.
        joined.values().try_for_each(|assignment| self.publish(assignment))?;
        Ok(self.worlds.hear(&self.known, &told)?)
    }

    /// The server said that it could not.
    fn fail(&mut self, sent: &Sent, answer: &Answer) -> Result<(), Failure> {
        self.tally.failed += 1;
        if self.case.database == Database::Postgres {
            // A commit whose connection broke may have come to pass.
            self.lost_since = 0;
            self.worlds.lose(sent.asked);
            return Ok(());
        }
        if self.full && answer.status == 507 {
            self.worlds.fail(sent.asked);
            return Ok(());
        }
        Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }

    /// Downloads what a round's devices work on.
    fn publish(&mut self, assignment: &Assignment) -> Result<(), Failure> {
        let round = assignment.round as usize;
        if self.known.published.contains_key(&round) {
            return Ok(());
        }
        let mask: MaskMessage = self.content(&assignment.mask)?;
        let scale: ScaleMessage = self.content(&assignment.scale)?;
        let mask = mask.mask(self.plan.layout.len())?;
        let scale = scale.standardisation(&mask, &self.plan.layout)?;
        let active = mask.indices().map(|j| (j, scale.scale(j))).collect();
        let unit = task::unit(&self.plan, assignment.round);
        self.known.published.insert(round, Published { active, unit });
        Ok(())
    }

    fn content<M: Message>(&mut self, digest: &Digest) -> Result<M, Failure> {
        let path = path::content(&self.task, digest);
        Ok(decode(&self.replicas.ask(&Request::get(&path, ADMIN))?)?)
    }

    /// Looks at everything there is to see.
    fn look(&mut self, charges: bool) -> Result<(), Failure> {
        let rounds: Vec<RoundReport> =
            self.replicas.get(&format!("/v1/tasks/{}/rounds", self.task))?;
        let closed = |rounds: &[RoundReport]| rounds.iter().filter(|r| r.phase.is_closed()).count();
        for (before, now) in self.seen.iter().zip(&rounds).filter(|(b, _)| b.phase.is_closed()) {
            if (RoundReport { bytes_down: now.bytes_down, ..before.clone() }) != *now {
                return Err(format!("a closed round changed: {before:?}, {now:?}").into());
            }
        }
        self.worlds.see(&self.known, &rounds, |world| same_rounds(world, &rounds))?;
        self.stepped_since += 1;
        if self.stepped_since == LOST_FOR {
            self.worlds.settle(&self.known);
            self.known.closing_ms = 0;
        }
        self.lost_since += 1;
        if self.lost_since == LOST_FOR {
            self.worlds.forget_lost(&self.known);
        }
        let moved = closed(&rounds) != closed(&self.seen);
        self.seen = rounds;
        if moved {
            self.look_at_model()?;
        }
        if charges {
            self.look_at_charges()?;
        }
        self.tally.most_worlds = self.tally.most_worlds.max(self.worlds.len());
        Ok(())
    }

    fn look_at_model(&mut self) -> Result<(), Failure> {
        let status: TaskStatus = self.replicas.get(&format!("/v1/tasks/{}", self.task))?;
        let model: ModelMessage = self.content(&status.model)?;
        let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
        let same =
            |world: &World| world.model.iter().zip(&model.parameters).all(|(a, b)| close(*a, *b));
        Ok(self.worlds.see(&self.known, &"the model", same)?)
    }

    fn look_at_charges(&mut self) -> Result<(), Failure> {
        let report: PrivacyReport =
            self.replicas.get(&format!("/v1/tasks/{}/privacy", self.task))?;
        let names = self.devices.iter().map(|d| d.peer.device());
        let charged = |name| report.devices.iter().find(|d| d.device == name);
        let charged: Vec<u64> =
            names.map(|name| charged(name).map_or(0, |d| d.rounds_charged)).collect();
        let seats = |world: &World, device: usize| {
            world.rounds.iter().filter(|r| r.seats.contains_key(&device)).count() as u64
        };
        let same = |world: &World| (0..charged.len()).all(|d| seats(world, d) == charged[d]);
        Ok(self.worlds.see(&self.known, &"what devices were charged", same)?)
    }

    /// Everything comes back, every round whose time has come is closed, everything owed is
    /// sent again, and nothing is left in doubt.
    fn finish(&mut self) -> Result<(), Failure> {
        self.set_full(false)?;
        self.replicas.start_all()?;
        self.wait_until_closed()?;
        for device in 0..self.devices.len() {
            for round in self.devices[device].owed() {
                let known = &mut self.known;
                let sent = self.devices[device].upload(&self.task, known, round, How::Right)?;
                let (_, address) = self.replicas.running(device)?;
                let answer = send(address, &sent.request)?;
                self.hear(vec![(sent, Some(answer))])?;
            }
        }
        self.look(true)?;
        let phases = || self.seen.iter().map(|r| r.phase);
        self.tally.committed = phases().filter(|p| *p == Phase::Committed).count();
        self.tally.abandoned = phases().filter(|p| *p == Phase::Abandoned).count();
        Ok(())
    }

    fn wait_until_closed(&mut self) -> Result<(), Failure> {
        self.step_clock((DEADLINE_MS + 1) as i64)?;
        let started = Instant::now();
        let mut leased = true;
        loop {
            self.look(false)?;
            let open =
                self.seen.last().is_some_and(|r| !r.phase.is_closed() && r.deadline_ms.is_some());
            if !open {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(1) && leased {
                leased = false;
                self.step_clock(LEASE_MS as i64)?;
            }
            if started.elapsed() > Duration::from_secs(15) {
                return Err("a round whose time has come is never closed".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn create(replicas: &mut Replicas, plan: &TaskPlan) -> Result<(), Failure> {
    let parameters = vec![0.0; plan.layout.len()];
    let settings = TaskSettings::default();
    let body = encode(&CreateTask { plan: plan.clone(), parameters, settings })?;
    replicas.ask(&Request::post("/v1/tasks", ADMIN, MEDIA_TYPE, body)).map(drop)
}

fn same_rounds(world: &World, seen: &[RoundReport]) -> bool {
    let same = |(round, seen): (&super::model::Round, &RoundReport)| {
        round.phase == seen.phase
            && round.seats.len() == seen.participants as usize
            && round.reports() == seen.reports as usize
            && round.deadline_ms == seen.deadline_ms
    };
    world.rounds.len() == seen.len() && world.rounds.iter().zip(seen).all(same)
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.kills += other.kills;
        self.lost += other.lost;
        self.failed += other.failed;
        self.committed += other.committed;
        self.abandoned += other.abandoned;
        self.most_worlds = self.most_worlds.max(other.most_worlds);
    }
}
