//! One simulated run: server, fleet, evaluation after rounds, and the report.

use std::path::Path;
use std::time::{Duration, Instant};

use adafed::data::Examples;
use adafed::nn::{Model, ModelSpec};
use adafed::privacy::accounting;
use adafed::privacy::{Composition, PrivacyPlan};
use adafed::transport::{HttpTransport, Transport};
use adafed::wire::TaskSettings;
use adafed_server::{RoundReport, Server, ServerConfig, Service, TaskState};
use tokio::runtime::Runtime;

use crate::Error;
use crate::fleet::{self, Device, Fleet};
use crate::in_process::InProcess;
use crate::progress::{Progress, Shown};
use crate::report::{self, Phase, PrivacyReports, Report, RoundRecord};
use crate::settings::Settings;
use crate::task::Task;

/// How often the server is asked whether a round has ended.
const POLL: Duration = Duration::from_millis(20);
/// Threads that drive devices; each step of training uses all cores anyway.
const DRIVERS: usize = 2;
/// Bars of the epsilon histogram.
const BUCKETS: usize = 10;

/// A run that is ready to start.
pub struct Run {
    settings: Settings,
    model: Model,
    task: Task,
    shares: Vec<Examples>,
    test: Examples,
}

impl Run {
    /// Loads and spreads the data and calibrates the noise.
    ///
    /// # Errors
    /// What makes the settings or the data unusable.
    pub fn prepare(settings: Settings) -> Result<Self, Error> {
        let (train, test) = settings.data.load(settings.seed).map_err(adafed::Error::from)?;
        let clients = settings.clients as usize;
        let indices = settings.partition.split(train.labels(), clients, settings.seed)?;
        let shares = indices.iter().map(|share| train.subset(share)).collect();
        let spec = ModelSpec::mnist_cnn();
        let nominal = (train.len() / clients).max(1) as u32;
        let task = Task::new(&settings, &spec, nominal)?;
        let model = Model::new(&spec).map_err(adafed::Error::from)?;
        Ok(Self { settings, model, task, shares, test })
    }

    /// The task, for a dry run.
    #[must_use]
    pub const fn task(&self) -> &Task {
        &self.task
    }

    /// Runs to the end: the figures, and what every device signed of its own. Server and
    /// devices keep their state in `folder`.
    ///
    /// # Errors
    /// The first error of the server or of any device.
    pub fn execute(self, folder: &Path) -> Result<(Report, PrivacyReports), Error> {
        let started = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(DRIVERS)
            .enable_all()
            .build()?;
        let host = Host::start(&runtime, &self, folder)?;
        let policy = fleet::policy(self.settings.epsilon, &self.task.plan.privacy)?;
        let devices = fleet::build(
            &self.task.plan.task,
            self.shares.clone(),
            &policy,
            folder,
            &host.token,
            || host.transport.connect(),
        )?;
        let fleet = Fleet::new(devices);
        let watched = std::thread::scope(|scope| {
            (0..DRIVERS).for_each(|_| drop(scope.spawn(|| fleet.drive())));
            let watched = self.watch(&runtime, &host.service, &fleet);
            if watched.is_err() {
                fleet.stop();
            }
            watched
        });
        let devices = fleet.finish()?;
        let (accuracies, wall_s) = (watched?, started.elapsed().as_secs_f64());
        let signed = devices.iter().map(Device::privacy_report).collect::<Result<_, _>>()?;
        let signed = PrivacyReports::new(signed);
        let outcome = Outcome { accuracies, wall_s, epsilon_median: signed.median_epsilon() };
        Ok((self.report(&runtime, &host.service, &devices, outcome)?, signed))
    }

    /// Shows rounds as they are committed and measures accuracy where it is due.
    fn watch(
        &self,
        runtime: &Runtime,
        service: &Service,
        fleet: &Fleet,
    ) -> Result<Vec<(u64, f64)>, Error> {
        let progress = Progress::new(self.settings.rounds);
        let task = &self.task.plan.task;
        let mut accuracies: Vec<(u64, f64)> = Vec::new();
        let mut seen = 0;
        loop {
            let over = fleet.is_over();
            let status = runtime.block_on(service.task_status(task))?;
            let finished = status.state == TaskState::Finished;
            if status.round > seen {
                seen = status.round;
                if finished || self.is_due(seen, accuracies.last().map_or(0, |(r, _)| *r)) {
                    let parameters = runtime.block_on(service.model(task))?;
                    accuracies.push((seen, self.accuracy(&parameters)?));
                }
                let rounds = runtime.block_on(service.rounds(task))?;
                let sum = |f: fn(&RoundReport) -> u64| rounds.iter().map(f).sum();
                progress.show(Shown {
                    round: seen,
                    accuracy: accuracies.last().map(|(_, a)| *a),
                    epsilon: status.epsilon,
                    active: status.active_coordinates as usize,
                    bytes_up: sum(|r| r.bytes_up),
                    bytes_down: sum(|r| r.bytes_down),
                });
            }
            if finished || over {
                progress.finish();
                return Ok(accuracies);
            }
            std::thread::sleep(POLL);
        }
    }

    fn is_due(&self, round: u64, last: u64) -> bool {
        let every = self.settings.evaluate_every;
        every > 0 && round >= last + every
    }

    /// Accuracy on the public test set, in percent.
    fn accuracy(&self, parameters: &[f32]) -> Result<f64, Error> {
        let (inputs, targets) = (self.test.inputs(), self.test.targets());
        let share =
            self.model.accuracy(parameters, inputs, targets).map_err(adafed::Error::from)?;
        Ok(share * 100.0)
    }

    fn report(
        &self,
        runtime: &Runtime,
        service: &Service,
        devices: &[Device],
        outcome: Outcome,
    ) -> Result<Report, Error> {
        let Settings { clients, seed, retention, importance, scale, .. } = &self.settings;
        let plan = &self.task.plan;
        let rounds = runtime.block_on(service.rounds(&plan.task))?;
        let privacy = runtime.block_on(service.privacy_report(&plan.task))?;
        check_ledgers(devices, &privacy)?;
        let history = history(&plan.privacy, plan.layout.len(), &rounds, &outcome.accuracies);
        let sum = |f: fn(&RoundRecord) -> u64| history.iter().map(f).sum();
        let epsilons: Vec<f64> = privacy.devices.iter().map(|d| d.epsilon).collect();
        let charged = privacy.devices.iter().map(|d| d.rounds_charged).max().unwrap_or(0);
        Ok(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            task: plan.task.to_string(),
            data: format!("{}, {}", self.settings.data, self.settings.partition),
            seed: *seed,
            clients: *clients as usize,
            rounds: history.len() as u64,
            final_accuracy: outcome.accuracies.last().map_or(0.0, |(_, a)| *a),
            epsilon_max: privacy.epsilon,
            epsilon_median: outcome.epsilon_median,
            delta: privacy.delta,
            accountant: privacy.accountant.to_string(),
            noise_multiplier: plan.privacy.least_noise_multiplier().value(),
            sampling_rate: plan.privacy.rate.value(),
            steps: charged * u64::from(plan.privacy.local_steps),
            retention: retention.at(0, plan.privacy.main.rounds),
            importance: importance.to_string(),
            scale: scale.to_string(),
            parameters: plan.layout.len(),
            active_coordinates: history.last().map_or(0, |r| r.active_coordinates),
            bytes_up: sum(|r| r.bytes_up),
            bytes_up_dense_f32: sum(|r| r.bytes_up_dense_f32),
            bytes_down: sum(|r| r.bytes_down),
            wall_s: outcome.wall_s,
            epsilon_histogram: report::epsilon_histogram(&epsilons, BUCKETS),
            history,
        })
    }
}

/// What was observed from outside during a run.
struct Outcome {
    accuracies: Vec<(u64, f64)>,
    wall_s: f64,
    epsilon_median: f64,
}

/// How devices reach the server.
enum Route {
    Http(HttpTransport),
    InProcess(InProcess),
}

impl Route {
    fn connect(&self) -> Box<dyn Transport> {
        match self {
            Self::Http(transport) => Box::new(transport.clone()),
            Self::InProcess(transport) => Box::new(transport.clone()),
        }
    }
}

/// The server of a run.
struct Host {
    service: Service,
    transport: Route,
    token: String,
}

impl Host {
    fn start(runtime: &Runtime, run: &Run, folder: &Path) -> Result<Self, Error> {
        let listen = ([127, 0, 0, 1], 0).into();
        let admin_token = accident_proof_token()?;
        let config = ServerConfig::new(listen, folder.join("server.sqlite"), &admin_token);
        let server = runtime.block_on(Server::bind(config))?;
        let service = server.service().clone();
        let Task { plan, parameters, .. } = &run.task;
        runtime.block_on(service.create_task(
            plan.clone(),
            parameters.clone(),
            TaskSettings::default(),
        ))?;
        let token = runtime.block_on(service.create_token(run.settings.clients))?;
        let transport = if run.settings.in_process {
            Route::InProcess(InProcess::new(server.router(), runtime.handle().clone()))
        } else {
            let address = format!("http://{}", server.local_addr());
            Route::Http(HttpTransport::new(&address).map_err(adafed::Error::from)?)
        };
        runtime.spawn(server.run(std::future::pending()));
        Ok(Self { service, transport, token })
    }
}

/// Nobody uses the admin interface of a simulation: the token is drawn and forgotten.
fn accident_proof_token() -> Result<String, Error> {
    let key = adafed::wire::DeviceKey::generate()?;
    Ok(adafed::wire::Digest::of(&key).to_string())
}

/// The server's account of every device must be that device's own ledger.
fn check_ledgers(devices: &[Device], privacy: &adafed_server::PrivacyReport) -> Result<(), Error> {
    // Devices that were charged equally have the same epsilon; computing it once a
    // distinct ledger keeps a large fleet quick.
    let mut known: Vec<(Composition, f64)> = Vec::new();
    for device in devices {
        let task = privacy.task.as_str();
        let composition = device.ledger().composition(task);
        let own = match known.iter().find(|(c, _)| *c == composition) {
            Some((_, epsilon)) => *epsilon,
            None => device.epsilon().epsilon,
        };
        known.push((composition, own));
        let name = device.device();
        let server = privacy.devices.iter().find(|d| d.device == name).map_or(0.0, |d| d.epsilon);
        if (own - server).abs() > 1e-9 {
            return Err(Error::Ledger { device: name.to_string(), own, server });
        }
    }
    Ok(())
}

fn history(
    privacy: &PrivacyPlan,
    parameters: usize,
    rounds: &[RoundReport],
    accuracies: &[(u64, f64)],
) -> Vec<RoundRecord> {
    let closed = rounds.iter().filter(|r| r.closed_ms.is_some());
    let record = |r: &RoundReport| RoundRecord {
        round: r.round + 1,
        phase: if privacy.is_warmup(r.round) { Phase::WarmUp } else { Phase::Main },
        accuracy: accuracies.iter().find(|(n, _)| *n == r.round + 1).map(|(_, a)| *a),
        epsilon: epsilon_after(privacy, r.round + 1),
        active_coordinates: r.active_coordinates as usize,
        participants: r.reports as usize,
        bytes_up: r.bytes_up,
        bytes_up_dense_f32: u64::from(r.reports) * parameters as u64 * 4,
        bytes_down: r.bytes_down,
    };
    closed.map(record).collect()
}

/// Epsilon of a device that took part in the first `rounds` rounds.
fn epsilon_after(privacy: &PrivacyPlan, rounds: u64) -> f64 {
    let spent: Composition = (0..rounds).filter_map(|r| privacy.round_event(r)).collect();
    accounting::epsilon(&spent, privacy.delta).epsilon
}
