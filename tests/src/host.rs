//! A server within the test's own process, and devices that talk to it over HTTP.

use std::path::Path;

use adafed::data::Examples;
use adafed::store::{FileStore, Store};
use adafed::transport::{HttpTransport, Transport};
use adafed::wire::{TaskPlan, TaskSettings};
use adafed::{Activity, Next, Participant};
use adafed_server::{Server, ServerConfig, Service};
use tokio::runtime::Runtime;

use crate::fixture::{Failure, device, http, parameters, policy};

/// A server with one task, in threads of its own.
#[derive(Debug)]
pub struct Host {
    /// Runs the server.
    pub runtime: Runtime,
    /// The server from inside.
    pub service: Service,
    /// Where it listens.
    pub address: String,
    /// Lets devices enrol.
    pub token: String,
}

impl Host {
    /// Starts a server on a database in `folder`, with one task.
    ///
    /// # Errors
    /// Those of the server.
    pub fn start(folder: &Path, plan: &TaskPlan) -> Result<Self, Failure> {
        Self::start_as(folder, plan, |_| {})
    }

    /// As [`start`](Self::start), with other settings.
    ///
    /// # Errors
    /// Those of the server.
    pub fn start_as(
        folder: &Path,
        plan: &TaskPlan,
        set: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self, Failure> {
        Self::with(&folder.join("server.sqlite").display().to_string(), Some(plan), set)
    }

    /// Starts a server on a database, with one task where a plan is given.
    ///
    /// # Errors
    /// Those of the server.
    pub fn on(database: &str, plan: Option<&TaskPlan>) -> Result<Self, Failure> {
        Self::with(database, plan, |_| {})
    }

    fn with(
        database: &str,
        plan: Option<&TaskPlan>,
        set: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self, Failure> {
        let runtime = Runtime::new()?;
        let listen = ([127, 0, 0, 1], 0).into();
        let mut config = ServerConfig::new(listen, database, "administrator-of-tests");
        set(&mut config);
        let server = runtime.block_on(Server::bind(config))?;
        let address = format!("http://{}", server.local_addr());
        let service = server.service().clone();
        runtime.spawn(server.run(std::future::pending()));
        if let Some(plan) = plan {
            let settings = TaskSettings::default();
            runtime.block_on(service.create_task(plan.clone(), parameters()?, settings))?;
        }
        let token = runtime.block_on(service.create_token(100))?;
        Ok(Self { runtime, service, address, token })
    }

    /// A device with a folder of its own and a cap on epsilon.
    ///
    /// # Errors
    /// Those of building a participant.
    pub fn device(
        &self,
        folder: &Path,
        data: Examples,
        cap: f64,
    ) -> Result<Participant<HttpTransport, FileStore>, Failure> {
        device(folder, http(&self.address)?, &self.token, data, policy(cap)?)
    }
}

/// Ticks until `stop` says so about an activity; sleeps where the device asks to.
///
/// # Errors
/// Those of the device, or when the activity never comes.
pub fn tick_until<T: Transport, S: Store>(
    device: &mut Participant<T, S>,
    stop: impl Fn(&Activity) -> bool,
) -> Result<(), Failure> {
    for _ in 0..10_000 {
        let progress = device.tick()?;
        if stop(&progress.activity) {
            return Ok(());
        }
        if progress.next != Next::Now {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    Err("the activity never came".into())
}

/// Whether the task has ended for the device.
#[must_use]
pub fn is_finished(activity: &Activity) -> bool {
    *activity == Activity::Finished
}
