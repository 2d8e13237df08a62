//! What a tick did, as C sees it.

use std::ffi::c_char;

use adafed::clock::{Clock, SystemClock};

/// What happened. The numbers below 100 are what ticks do; the others are events only.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something that this version of the interface has no name for.
    Other = 0,
    /// The device is known to the server now.
    Enrolled = 1,
    /// The server has nothing to do, or it is not yet time to ask.
    Waited = 2,
    /// The device joined a round.
    Joined = 3,
    /// One private step of local training.
    Trained = 4,
    /// The round's release is recorded in the ledger and ready to leave.
    Released = 5,
    /// The server has the round's release.
    Uploaded = 6,
    /// The server no longer takes the round's release. What was charged stays charged.
    Dropped = 7,
    /// The server could not be reached or is busy.
    Delayed = 8,
    /// The conditions callback said no; a step under way is repeated later.
    Paused = 9,
    /// The task has ended.
    Finished = 10,
    /// A piece of what the model's features take, before the round's first step.
    Prepared = 11,
    /// Event only: the device's own policy refuses.
    Refused = 100,
    /// Event only: a tick failed in another way.
    Failed = 101,
}

/// When to tick again.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now = 0,
    /// After `wait_ms`.
    Wait = 1,
    /// Never: the task has ended.
    Never = 2,
}

/// What a tick did and when to come again.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What happened.
    pub activity: Activity,
    /// When to tick again.
    pub next: Next,
    /// The round it is about; 0 where it is about none.
    pub round: u64,
    /// Milliseconds to wait before the next tick, where `next` says so.
    pub wait_ms: u64,
    /// Steps done of the round's local training, after one.
    pub steps: u32,
}

/// Something that happened. Both texts live as long as the event, and may be empty.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What happened.
    pub activity: Activity,
    /// Steps done of the round's local training, after one.
    pub steps: u32,
    /// The round it is about; 0 where it is about none.
    pub round: u64,
    /// Stable identifier of a reason.
    pub code: *const c_char,
    /// The reason, in English.
    pub message: *const c_char,
}

impl Activity {
    pub(crate) fn of(activity: &adafed::Activity) -> Self {
        use adafed::Activity;
        match activity {
            Activity::Enrolled => Self::Enrolled,
            Activity::Waited => Self::Waited,
            Activity::Joined { .. } => Self::Joined,
            Activity::Trained { .. } => Self::Trained,
            Activity::Released { .. } => Self::Released,
            Activity::Uploaded { .. } => Self::Uploaded,
            Activity::Dropped { .. } => Self::Dropped,
            Activity::Delayed { .. } => Self::Delayed,
            Activity::Paused => Self::Paused,
            Activity::Finished => Self::Finished,
            Activity::Prepared { .. } => Self::Prepared,
            _ => Self::Other,
        }
    }
}

/// Round and steps that an activity is about.
pub(crate) fn details(activity: &adafed::Activity) -> (u64, u32) {
    use adafed::Activity;
    match activity {
        Activity::Trained { round, steps } => (*round, *steps),
        Activity::Joined { round }
        | Activity::Prepared { round }
        | Activity::Released { round }
        | Activity::Uploaded { round }
        | Activity::Dropped { round, .. } => (*round, 0),
        _ => (0, 0),
    }
}

impl From<&adafed::Progress> for Progress {
    fn from(progress: &adafed::Progress) -> Self {
        let (next, wait_ms) = match progress.next {
            adafed::Next::Now => (Next::Now, 0),
            adafed::Next::At(ms) => (Next::Wait, ms.saturating_sub(SystemClock.now_ms())),
            adafed::Next::Never => (Next::Never, 0),
        };
        let (round, steps) = details(&progress.activity);
        Self { activity: Activity::of(&progress.activity), next, round, wait_ms, steps }
    }
}
