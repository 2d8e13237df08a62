//! A fleet: many participants, driven by a few threads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adafed::clock::{Clock, SystemClock};
use adafed::data::Examples;
use adafed::privacy::{NoiseMultiplier, Policy, PrivacyPlan};
use adafed::store::FileStore;
use adafed::transport::Transport;
use adafed::wire::TaskId;
use adafed::{Next, Participant};

use crate::Error;

/// A simulated device.
pub type Device = Participant<Box<dyn Transport>, FileStore>;

/// Longest sleep of a driving thread, so that it notices a stop soon.
const NAP: Duration = Duration::from_millis(20);

/// Builds one device a share of the data, each with a folder of its own.
///
/// # Errors
/// Those of opening the devices' stores.
pub fn build(
    task: &TaskId,
    shares: Vec<Examples>,
    policy: &Policy,
    folder: &Path,
    token: &str,
    transport: impl Fn() -> Box<dyn Transport>,
) -> Result<Vec<Device>, Error> {
    let device = |(index, share): (usize, Examples)| {
        let store = FileStore::open(&folder.join(format!("device-{index:03}")))
            .map_err(adafed::Error::from)?;
        let builder = Participant::builder(task.clone())
            .transport(transport())
            .store(store)
            .data(Arc::new(share))
            .policy(policy.clone())
            .token(token);
        Ok(builder.build()?)
    };
    shares.into_iter().enumerate().map(device).collect()
}

/// The owner's policy of every simulated device: the epsilon that the run was asked for,
/// and not much less noise than its plan needs.
///
/// # Errors
/// Never in practice: half a valid multiplier is one.
pub fn policy(epsilon: adafed::privacy::Epsilon, plan: &PrivacyPlan) -> Result<Policy, Error> {
    let least = NoiseMultiplier::new(plan.least_noise_multiplier().value() / 2.0)?;
    Ok(Policy { least_noise_multiplier: least, ..Policy::new(epsilon, plan.delta)? })
}

/// Devices being driven by threads; each tick takes one device out and puts it back.
pub struct Fleet {
    waiting: Mutex<Vec<(u64, Device)>>,
    done: Mutex<Vec<Device>>,
    failed: Mutex<Option<adafed::Error>>,
    stop: AtomicBool,
    total: usize,
}

impl Fleet {
    /// A fleet that has not started.
    #[must_use]
    pub fn new(devices: Vec<Device>) -> Self {
        let total = devices.len();
        let waiting = Mutex::new(devices.into_iter().map(|d| (0, d)).collect());
        let (done, failed, stop) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { waiting, done, failed, stop, total }
    }

    /// Drives devices until all have finished, one has failed, or the fleet is stopped.
    /// Several threads may call this at once.
    pub fn drive(&self) {
        while !self.is_over() {
            match self.take_ready() {
                Some(device) => self.tick(device),
                None => std::thread::sleep(NAP),
            }
        }
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || lock(&self.done).len() == self.total
    }

    /// Makes every driving thread return after its current tick.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The device that has waited longest past its time, if any is due.
    fn take_ready(&self) -> Option<Device> {
        let mut waiting = lock(&self.waiting);
        let (index, &(at_ms, _)) =
            waiting.iter().enumerate().min_by_key(|(_, (at_ms, _))| *at_ms)?;
        (at_ms <= SystemClock.now_ms()).then(|| waiting.swap_remove(index).1)
    }

    fn tick(&self, mut device: Device) {
        match device.tick().map(|progress| progress.next) {
            Ok(Next::Never) => lock(&self.done).push(device),
            Ok(Next::At(at_ms)) => lock(&self.waiting).push((at_ms, device)),
            Ok(Next::Now) => {
                let now_ms = SystemClock.now_ms();
                lock(&self.waiting).push((now_ms, device));
            }
            Err(e) => {
                lock(&self.failed).get_or_insert(e);
                self.stop();
            }
        }
    }

    /// The devices, once every driving thread has returned.
    ///
    /// # Errors
    /// The first error of any device.
    pub fn finish(self) -> Result<Vec<Device>, Error> {
        if let Some(e) = into_inner(self.failed) {
            return Err(e.into());
        }
        let mut devices = into_inner(self.done);
        devices.extend(into_inner(self.waiting).into_iter().map(|(_, d)| d));
        Ok(devices)
    }
}

/// A panic in another driving thread leaves the lists usable: each holds whole devices.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
