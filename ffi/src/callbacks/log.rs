//! What the app is told.

use std::ffi::{c_char, c_void};

use super::Turn;
use crate::error::Failure;
use crate::pointer::{self, Userdata};
use crate::progress::{self, Activity, Event};
use crate::status::Status;

/// How much a line matters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// A call failed.
    Error = 1,
    /// Something did not go as it should, and is taken care of.
    Warning = 2,
    /// What a participant did.
    Info = 3,
}

/// Takes a line without its end and without control characters. It holds names, counts and
/// codes, nothing of an example; an error's message is for the app alone.
/// Called on the thread that called into AdaFed; the line lives until it returns.
pub type LogCallback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, level: u32, line: *const c_char)>;

/// Takes an event. Called on the thread that called into AdaFed, after every tick; the event
/// lives until it returns.
pub type EventCallback = Option<unsafe extern "C" fn(userdata: *mut c_void, event: *const Event)>;

/// A [`LogCallback`] that is there, and its userdata.
pub(crate) type Log = (unsafe extern "C" fn(*mut c_void, u32, *const c_char), Userdata);

/// An [`EventCallback`] that is there, and its userdata.
pub(crate) type Events = (unsafe extern "C" fn(*mut c_void, *const Event), Userdata);

/// Who wants to be told.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) log: Option<Log>,
    pub(crate) events: Option<Events>,
    pub(crate) turn: Turn,
}

impl Listeners {
    pub(crate) fn progress(&self, progress: &adafed::Progress) {
        let kind = Activity::of(&progress.activity);
        let (round, steps) = progress::details(&progress.activity);
        let (code, reason) = match &progress.activity {
            adafed::Activity::Dropped { code, .. } => (code.as_str(), ""),
            adafed::Activity::Delayed { reason } => ("", reason.as_str()),
            _ => ("", ""),
        };
        let unusual = matches!(kind, Activity::Dropped | Activity::Delayed);
        let level = if unusual { LogLevel::Warning } else { LogLevel::Info };
        self.log(level, &format!("{:?}", progress.activity));
        self.event(kind, (round, steps), code, reason);
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        let refused = failure.status == Status::RefusedByPolicy;
        let kind = if refused { Activity::Refused } else { Activity::Failed };
        self.log(LogLevel::Error, &format!("{:?}: {}", failure.status, failure.code));
        self.event(kind, (0, 0), &failure.code, &failure.message);
    }

    fn event(&self, activity: Activity, (round, steps): (u64, u32), code: &str, message: &str) {
        let Some((tell, userdata)) = &self.events else { return };
        let (code, message) = (pointer::c_string(code), pointer::c_string(message));
        let (lent_code, lent_message) = (code.as_ptr(), message.as_ptr());
        let event = Event { activity, steps, round, code: lent_code, message: lent_message };
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; the event outlives the call.
        unsafe { tell(userdata.0, &raw const event) };
    }

    fn log(&self, level: LogLevel, line: &str) {
        let Some((write, userdata)) = &self.log else { return };
        let line = pointer::c_string(&line.replace(char::is_control, " "));
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; the line outlives the call.
        unsafe { write(userdata.0, level as u32, line.as_ptr()) };
    }
}
