//! What a participant is made from.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use adafed::data::{Dataset, Examples};
use adafed::privacy::{Delta, Epsilon, NoiseMultiplier, Policy};
use adafed::wire::TaskId;

use crate::callbacks::{
    ConditionsCallback, EventCallback, ExampleCallback, HostConditions, HostExamples, HostKeys,
    HostTransport, Listeners, LoadKeyCallback, LogCallback, SaveKeyCallback, TransportCallback,
};
use crate::error::{Error, Failure};
use crate::guard::{self, ErrorOut, required};
use crate::pointer::{self, Userdata};
use crate::status::Status;

/// What a participant is made from. It is read by `adafed_participant_new` and may be freed or
/// used again afterwards.
pub struct Config(Settings);

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) task: TaskId,
    pub(crate) server: Option<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) policy: Option<Policy>,
    pub(crate) token: String,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) data: Option<Arc<dyn Dataset>>,
    pub(crate) conditions: Option<Arc<HostConditions>>,
    pub(crate) keys: Option<HostKeys>,
    pub(crate) transport: Option<HostTransport>,
    pub(crate) listeners: Listeners,
}

impl Config {
    pub(crate) fn settings(&self) -> Settings {
        self.0.clone()
    }
}

/// Changes a configuration, or says why not.
fn set(
    config: Option<&mut Config>,
    error: ErrorOut<'_>,
    change: impl FnOnce(&mut Settings) -> Result<(), Failure>,
) -> Status {
    guard::call(error, || change(&mut required(config, "the configuration")?.0))
}

/// Changes a limit of a policy that is there.
fn limit(
    config: Option<&mut Config>,
    error: ErrorOut<'_>,
    change: impl FnOnce(&mut Policy) -> Result<(), Failure>,
) -> Status {
    let missing = || Failure::new(Status::Missing, "ffi/policy", "set the policy itself first");
    set(config, error, |settings| change(settings.policy.as_mut().ok_or_else(missing)?))
}

/// Makes a configuration for taking part in `task`; to be freed by `adafed_config_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_new(
    task: *const c_char,
    config: Option<&mut MaybeUninit<Box<Config>>>,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::give(config, error, || {
        // SAFETY: what the head of the header says about text.
        let task = unsafe { pointer::text(task, "the task") }?;
        let refused = |e| Failure { status: Status::InvalidText, ..Failure::from(e) };
        let settings = Settings {
            task: task.parse().map_err(refused)?,
            server: None,
            folder: None,
            policy: None,
            token: String::new(),
            threads: None,
            data: None,
            conditions: None,
            keys: None,
            transport: None,
            listeners: Listeners::default(),
        };
        Ok(Box::new(Config(settings)))
    })
}

/// Frees a configuration. NULL is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_free(config: Option<Box<Config>>) {
    guard::quietly(|| drop(config));
}

/// Sets the server's address, such as `https://fleet.example`. Required, unless there is a
/// transport callback. `ADAFED_STATUS_UNSUPPORTED` where the library was built without HTTP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_server(
    config: Option<&mut Config>,
    address: *const c_char,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about text.
        let address = unsafe { pointer::text(address, "the server's address") }?;
        if !cfg!(feature = "http") {
            let message = "this library was built without HTTP; set a transport callback";
            return Err(Failure::new(Status::Unsupported, "ffi/no-http", message));
        }
        if !["http://", "https://"].iter().any(|scheme| address.starts_with(scheme)) {
            let message = "a server's address begins with https:// or http://";
            return Err(Failure::new(Status::InvalidText, "ffi/address", message));
        }
        settings.server = Some(address.to_owned());
        Ok(())
    })
}

/// Sets the folder where key, ledger and the current round are kept; it is made if missing.
/// Required. One participant has one folder to itself. The policy's cap is kept by the ledger
/// in it, so the same examples have one folder, whatever the tasks: one after another. All in
/// it is as secret as the examples, and it does not belong in backups: a ledger that is put
/// back has forgotten charges.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_folder(
    config: Option<&mut Config>,
    folder: *const c_char,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about text.
        let folder = unsafe { pointer::text(folder, "the folder") }?;
        settings.folder = Some(PathBuf::from(folder));
        Ok(())
    })
}

/// Sets the device's own limits, which hold whatever a server asks: the largest epsilon over
/// everything that is ever released through this folder, over all tasks, and the delta at which
/// it holds. Required. Replaces limits that were set before.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_policy(
    config: Option<&mut Config>,
    epsilon_cap: f64,
    delta: f64,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        settings.policy = Some(Policy::new(Epsilon::new(epsilon_cap)?, Delta::new(delta)?)?);
        Ok(())
    })
}

/// Sets the smallest noise multiplier that a task may have; 0.5 where it is not set. After
/// `adafed_config_set_policy`.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_least_noise_multiplier(
    config: Option<&mut Config>,
    multiplier: f64,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    limit(config, error, |policy| {
        policy.least_noise_multiplier = NoiseMultiplier::new(multiplier)?;
        Ok(())
    })
}

/// Sets the fewest examples with which the device takes part; 0 where it is not set. After
/// `adafed_config_set_policy`.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_least_examples(
    config: Option<&mut Config>,
    examples: u64,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    limit(config, error, |policy| {
        policy.least_examples = examples;
        Ok(())
    })
}

/// Sets the server's enrolment token, which is needed the first time only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_token(
    config: Option<&mut Config>,
    token: *const c_char,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about text.
        settings.token = unsafe { pointer::text(token, "the token") }?.to_owned();
        Ok(())
    })
}

/// Sets on how many threads of its own the participant trains: at least 1; as many as the
/// machine has cores where it is not set. They begin with the first step of training and end
/// with the participant. Results do not depend on their number.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_threads(
    config: Option<&mut Config>,
    threads: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    const MOST: usize = 1024;
    set(config, error, |settings| {
        let message = "the number of threads is from 1 to 1024";
        let refused = || Failure::new(Status::InvalidValue, "ffi/threads", message);
        let threads = NonZeroUsize::new(threads).filter(|n| n.get() <= MOST);
        settings.threads = Some(threads.ok_or_else(refused)?);
        Ok(())
    })
}

/// Gives examples with one label each, as they are in memory: `count` inputs of the shape one
/// after the other, `count` labels below `classes`. They are copied. This, targets or an
/// example callback is required.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_examples(
    config: Option<&mut Config>,
    shape: *const usize,
    dimensions: usize,
    inputs: *const f32,
    inputs_len: usize,
    labels: *const u32,
    count: usize,
    classes: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about buffers.
        let (shape, inputs, labels) = unsafe {
            (
                pointer::slice(shape, dimensions, "the shape")?,
                pointer::slice(inputs, inputs_len, "inputs")?,
                pointer::slice(labels, count, "labels")?,
            )
        };
        let examples = Examples::new(shape.to_vec(), inputs.to_vec(), labels.to_vec(), classes)?;
        settings.data = Some(Arc::new(examples));
        Ok(())
    })
}

/// Gives examples whose targets have `target_len` numbers each, as they are in memory. They
/// are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_examples_with_targets(
    config: Option<&mut Config>,
    shape: *const usize,
    dimensions: usize,
    inputs: *const f32,
    inputs_len: usize,
    targets: *const f32,
    targets_len: usize,
    target_len: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about buffers.
        let (shape, inputs, targets) = unsafe {
            (
                pointer::slice(shape, dimensions, "the shape")?.to_vec(),
                pointer::slice(inputs, inputs_len, "inputs")?.to_vec(),
                pointer::slice(targets, targets_len, "targets")?.to_vec(),
            )
        };
        settings.data = Some(Arc::new(Examples::with_targets(shape, inputs, targets, target_len)?));
        Ok(())
    })
}

/// Gives examples by callback, for data that does not fit in memory. `target_len` is 1 where
/// targets are labels below `classes`, and `classes` is 0 where they are not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_config_set_example_callback(
    config: Option<&mut Config>,
    shape: *const usize,
    dimensions: usize,
    count: usize,
    classes: usize,
    target_len: usize,
    callback: ExampleCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        // SAFETY: what the head of the header says about buffers.
        let shape = unsafe { pointer::slice(shape, dimensions, "the shape") }?.to_vec();
        let read = required(callback, "the callback")?;
        // An empty set of the same form says whether it is one.
        Examples::with_targets(shape.clone(), Vec::new(), Vec::new(), target_len)?;
        let (len, userdata) = (count, Userdata(userdata));
        let turn = settings.listeners.turn.clone();
        let examples = HostExamples { len, shape, classes, target_len, read, userdata, turn };
        settings.data = Some(Arc::new(examples));
        Ok(())
    })
}

/// Sets who says whether the device may work now. Nobody is asked where it is not set.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_conditions(
    config: Option<&mut Config>,
    callback: ConditionsCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        let ask = required(callback, "the callback")?;
        let (userdata, turn) = (Userdata(userdata), settings.listeners.turn.clone());
        settings.conditions = Some(Arc::new(HostConditions { ask, userdata, turn }));
        Ok(())
    })
}

/// Sets who is told of events.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_events(
    config: Option<&mut Config>,
    callback: EventCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        settings.listeners.events = Some((required(callback, "the callback")?, Userdata(userdata)));
        Ok(())
    })
}

/// Sets where log lines go. They go nowhere where it is not set.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_log(
    config: Option<&mut Config>,
    callback: LogCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        settings.listeners.log = Some((required(callback, "the callback")?, Userdata(userdata)));
        Ok(())
    })
}

/// Keeps the device's private key with the app, as in a Keychain or Keystore, instead of in
/// the folder. A key that is in the folder already moves there.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_key_store(
    config: Option<&mut Config>,
    load: LoadKeyCallback,
    save: SaveKeyCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        let (load, save) = (required(load, "the load callback")?, required(save, "the save one")?);
        let (userdata, turn) = (Userdata(userdata), settings.listeners.turn.clone());
        settings.keys = Some(HostKeys { load, save, userdata, turn });
        Ok(())
    })
}

/// Sends requests by callback instead of by AdaFed's own HTTP.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_config_set_transport(
    config: Option<&mut Config>,
    callback: TransportCallback,
    userdata: *mut c_void,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    set(config, error, |settings| {
        let send = required(callback, "the callback")?;
        let (userdata, turn) = (Userdata(userdata), settings.listeners.turn.clone());
        settings.transport = Some(HostTransport { send, userdata, turn });
        Ok(())
    })
}
