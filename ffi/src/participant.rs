//! A device's part in a task.

use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Mutex, TryLockError};

use adafed::Threads;
use adafed::store::FileStore;
use adafed::transport::Transport;

use crate::bytes::Bytes;
use crate::callbacks::{DeviceStore, Listeners};
use crate::config::{Config, Settings};
use crate::error::{Error, Failure};
use crate::guard::{self, required};
use crate::model::Model;
use crate::pointer;
use crate::progress::Progress;
use crate::status::Status;

/// A device taking part in one task. Usable from any one thread at a time: a call that meets
/// another one under way does nothing and says `ADAFED_STATUS_IN_USE`, also from a callback.
pub struct Participant {
    // A panic poisons it, and every later call says so.
    inner: Mutex<Inner>,
}

struct Inner {
    participant: adafed::Participant<Box<dyn Transport>, DeviceStore>,
    listeners: Listeners,
}

#[cfg(test)]
impl Participant {
    pub(crate) fn over(transport: Box<dyn Transport>, settings: Settings) -> Box<Self> {
        Box::new(Self { inner: Mutex::new(Inner::over(transport, settings).unwrap()) })
    }
}

/// What the device has given of its privacy, at its policy's delta.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Epsilon of what was charged under this task.
    pub spent: f64,
    /// Epsilon of all that the tasks which the device agreed to may come to.
    pub committed: f64,
    /// The policy's cap.
    pub cap: f64,
    /// What is left of the cap for other tasks.
    pub left: f64,
    /// The policy's delta.
    pub delta: f64,
}

/// What the server offers, and what it would cost.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Epsilon of taking part in every round.
    pub epsilon: f64,
    /// Delta at which it is stated.
    pub delta: f64,
    /// Smallest noise multiplier of any step.
    pub least_noise_multiplier: f64,
    /// Rounds of the task.
    pub rounds: u64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Bytes that the last round's upload takes, about.
    pub upload_bytes: u64,
    /// Local steps of a round.
    pub local_steps: u32,
    /// `ADAFED_STATUS_OK`, or the status with which the device would refuse.
    pub verdict: Status,
}

impl Inner {
    fn new(settings: Settings) -> Result<Self, Failure> {
        Self::over(transport(&settings)?, settings)
    }

    fn over(transport: Box<dyn Transport>, settings: Settings) -> Result<Self, Failure> {
        let missing = |what| adafed::Error::Missing { what };
        let data = settings.data.ok_or(missing("examples"))?;
        let policy = settings.policy.ok_or(missing("a policy"))?;
        let folder = settings.folder.ok_or(missing("a folder"))?;
        let store = DeviceStore { folder: FileStore::open(&folder)?, keys: settings.keys };
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = Threads::own(settings.threads.unwrap_or_else(cores));
        let mut builder = adafed::Participant::builder(settings.task)
            .transport(transport)
            .store(store)
            .data(data)
            .policy(policy)
            .token(settings.token)
            .threads(threads);
        if let Some(conditions) = settings.conditions {
            builder = builder.conditions(conditions);
        }
        Ok(Self { participant: builder.build()?, listeners: settings.listeners })
    }

    /// Tells the listeners of a failure on its way out.
    fn told(&self, error: adafed::Error) -> Failure {
        let failure = Failure::from(error);
        self.listeners.failure(&failure);
        failure
    }
}

fn transport(settings: &Settings) -> Result<Box<dyn Transport>, Failure> {
    if let Some(own) = &settings.transport {
        return Ok(Box::new(own.clone()));
    }
    let what = "a server's address or a transport callback";
    let address = settings.server.as_deref().ok_or(adafed::Error::Missing { what })?;
    #[cfg(feature = "http")]
    return Ok(Box::new(adafed::transport::HttpTransport::new(address)?));
    #[cfg(not(feature = "http"))]
    unreachable!("without HTTP no address is taken, not even {address}")
}

/// Runs a call on a participant that nobody else is using.
fn with<T>(
    participant: Option<NonNull<Participant>>,
    body: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // SAFETY: what the head of the header says about objects.
    let participant = unsafe { pointer::object(participant, "the participant") }?;
    let mut inner = participant.inner.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            let message = "another call on this participant has not returned yet";
            Failure::new(Status::InUse, "ffi/in-use", message)
        }
        TryLockError::Poisoned(_) => {
            let message = "this participant failed within before; free it and make a new one";
            Failure::new(Status::Poisoned, "ffi/poisoned", message)
        }
    })?;
    body(&mut inner)
}

/// Opens the folder and makes a participant; to be freed by `adafed_participant_free`. A
/// device's first start makes its key; a later one goes on where the last one stopped. The
/// server is not asked yet. Callbacks and userdata of the configuration must live as long as
/// the participant.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_new(
    config: Option<&Config>,
    participant: Option<&mut MaybeUninit<Box<Participant>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(participant, error, || {
        let settings = required(config, "the configuration")?.settings();
        Ok(Box::new(Participant { inner: Mutex::new(Inner::new(settings)?) }))
    })
}

/// Frees a participant and lets go of its folder; a round in progress goes on with the next
/// participant on the folder. NULL is nothing. No other call on it may be under way.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_free(participant: Option<Box<Participant>>) {
    guard::quietly(|| drop(participant));
}

/// Does one bounded piece of work: one exchange with the server, one step of local training,
/// or a piece of what the model's features take. After a failure, whatever was charged stays
/// charged, and ticking again tries again. What waiting may cure is no failure but
/// `ADAFED_ACTIVITY_DELAYED`.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_tick(
    participant: Option<NonNull<Participant>>,
    progress: Option<&mut MaybeUninit<Progress>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(progress, error, || {
        with(participant, |inner| {
            let done = inner.participant.tick().map_err(|e| inner.told(e))?;
            inner.listeners.progress(&done);
            Ok(Progress::from(&done))
        })
    })
}

/// Ticks on this thread until the task has ended, the conditions callback says
/// `ADAFED_VERDICT_STOP`, or a tick fails. Between ticks it sleeps as they ask, and looks at
/// the conditions every 20 ms.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_run(
    participant: Option<NonNull<Participant>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::call(error, || {
        with(participant, |inner| {
            let Inner { participant, listeners, .. } = inner;
            participant.run(|done| listeners.progress(done)).map_err(|e| inner.told(e))
        })
    })
}

/// Asks the server for the task's plan, without agreeing to it: nothing is charged. A device
/// that is not enrolled enrols. From then on a round under another plan is refused until that
/// one was asked for, too. Where the device would refuse, `verdict` says with which status, and
/// an event why.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_offer(
    participant: Option<NonNull<Participant>>,
    offer: Option<&mut MaybeUninit<Offer>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(offer, error, || {
        with(participant, |inner| {
            let adafed::participant::Offer { plan, epsilon, refusal } =
                inner.participant.offer()?;
            let refusal = refusal.map(|refusal| inner.told(refusal));
            let privacy = plan.privacy;
            Ok(Offer {
                epsilon: epsilon.epsilon,
                delta: privacy.delta.value(),
                least_noise_multiplier: privacy.least_noise_multiplier().value(),
                rounds: privacy.rounds(),
                parameters: plan.layout.len() as u64,
                upload_bytes: plan.expected_update_bytes(privacy.rounds().saturating_sub(1)),
                local_steps: privacy.local_steps,
                verdict: refusal.map_or(Status::Ok, |refusal| refusal.status),
            })
        })
    })
}

/// Says what the device has given of its privacy, by its own ledger.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_budget(
    participant: Option<NonNull<Participant>>,
    budget: Option<&mut MaybeUninit<Budget>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(budget, error, || {
        with(participant, |inner| {
            let policy = inner.participant.policy();
            let (cap, delta) = (policy.epsilon_cap.value(), policy.delta.value());
            let committed = inner.participant.ledger().committed_epsilon();
            let (spent, left) = (inner.participant.epsilon().epsilon, (cap - committed).max(0.0));
            Ok(Budget { spent, committed, cap, left, delta })
        })
    })
}

/// Gives the device's signed privacy report as JSON, which `adafed-verify` checks; to be freed
/// by `adafed_bytes_free`.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_report(
    participant: Option<NonNull<Participant>>,
    json: Option<&mut MaybeUninit<Box<Bytes>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(json, error, || {
        with(participant, |inner| {
            let text = inner.participant.privacy_report()?.to_json()?;
            Ok(Bytes::new(text.into_bytes()))
        })
    })
}

/// Gives the device's name, by which the server knows it; to be freed by `adafed_bytes_free`.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_device(
    participant: Option<NonNull<Participant>>,
    name: Option<&mut MaybeUninit<Box<Bytes>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(name, error, || {
        with(participant, |inner| {
            Ok(Bytes::new(inner.participant.device().to_string().into_bytes()))
        })
    })
}

/// Gives the round in progress as bytes, to be freed by `adafed_bytes_free`;
/// `ADAFED_STATUS_NOT_AVAILABLE` between rounds. `adafed_participant_restore` goes on from
/// them with the same result. They hold the seed of noise and are as secret as the examples.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_save(
    participant: Option<NonNull<Participant>>,
    saved: Option<&mut MaybeUninit<Box<Bytes>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(saved, error, || {
        with(participant, |inner| {
            inner.participant.save()?.map(Bytes::new).ok_or_else(|| nothing("round in progress"))
        })
    })
}

/// Goes on from bytes of `adafed_participant_save` of this very device and folder; others are
/// refused, and nothing has changed then. A round whose release is recorded cannot be released
/// again: the next tick sends the recorded bytes, or drops the round.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_participant_restore(
    participant: Option<NonNull<Participant>>,
    saved: *const u8,
    saved_len: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::call(error, || {
        // SAFETY: what the head of the header says about buffers.
        let saved = unsafe { pointer::slice(saved, saved_len, "the saved bytes") }?;
        with(participant, |inner| Ok(inner.participant.restore(saved)?))
    })
}

/// Fetches the newest model that the server has named: that of the round joined last, or the
/// final one; to be freed by `adafed_model_free`. `ADAFED_STATUS_NOT_AVAILABLE` before the
/// first. Where the task's model has features that this participant has not made yet, they are
/// made now, on its threads, which may take a minute.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_participant_model(
    participant: Option<NonNull<Participant>>,
    model: Option<&mut MaybeUninit<Box<Model>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(model, error, || {
        with(participant, |inner| {
            let global = inner.participant.global_model()?.ok_or_else(|| nothing("model yet"))?;
            Ok(Box::new(Model::new(global)))
        })
    })
}

fn nothing(what: &str) -> Failure {
    Failure::new(Status::NotAvailable, "ffi/not-available", format!("there is no {what}"))
}
