//! The app's word on whether the device may work now.

use std::ffi::c_void;

use adafed::Conditions;

use super::Turn;
use crate::pointer::Userdata;

/// What the app allows at this moment.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "the app's word for every other number")]
pub enum Verdict {
    /// Work.
    Go = 0,
    /// Not now: power, network or the user's own work come first. Ask again later.
    Pause = 1,
    /// Not any more: `adafed_participant_run` returns.
    Stop = 2,
}

/// Returns an `adafed_verdict`; any other number stands for a pause. Called at the start of
/// every tick and between micro-batches of training, also on AdaFed's threads, during
/// `adafed_participant_tick` and `adafed_participant_run`. It should answer at once.
pub type ConditionsCallback = Option<unsafe extern "C" fn(userdata: *mut c_void) -> u32>;

pub(crate) struct HostConditions {
    pub(crate) ask: unsafe extern "C" fn(*mut c_void) -> u32,
    pub(crate) userdata: Userdata,
    pub(crate) turn: Turn,
}

impl Conditions for HostConditions {
    fn verdict(&self) -> adafed::Verdict {
        const GO: u32 = Verdict::Go as u32;
        const STOP: u32 = Verdict::Stop as u32;
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type.
        match unsafe { (self.ask)(self.userdata.0) } {
            GO => adafed::Verdict::Go,
            STOP => adafed::Verdict::Stop,
            _ => adafed::Verdict::Pause,
        }
    }
}
