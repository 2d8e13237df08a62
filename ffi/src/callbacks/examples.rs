//! Examples that the app reads when they are needed.

use std::ffi::c_void;

use adafed::data::{Dataset, Error};

use super::Turn;
use crate::pointer::Userdata;

/// Writes example `index` into `input`, which has as many values as the shape says, and its
/// target into `target`: a label as a whole number, or as many values as were announced.
/// Returns 0, or anything else where the example cannot be read. Called on AdaFed's threads
/// during `adafed_participant_tick` and `adafed_participant_run`. The same index must always
/// give the same example while a round lasts.
pub type ExampleCallback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        index: usize,
        input: *mut f32,
        input_len: usize,
        target: *mut f32,
        target_len: usize,
    ) -> i32,
>;

pub(crate) struct HostExamples {
    pub(crate) len: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) classes: usize,
    pub(crate) target_len: usize,
    pub(crate) read: ReadExample,
    pub(crate) userdata: Userdata,
    pub(crate) turn: Turn,
}

/// An [`ExampleCallback`] that is there.
pub(crate) type ReadExample =
    unsafe extern "C" fn(*mut c_void, usize, *mut f32, usize, *mut f32, usize) -> i32;

impl Dataset for HostExamples {
    fn len(&self) -> usize {
        self.len
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn target_len(&self) -> usize {
        self.target_len
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        self.check_buffers(input, target)?;
        let (data, values) =
            ((input.as_mut_ptr(), input.len()), (target.as_mut_ptr(), target.len()));
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; both buffers are as long as said.
        let answer =
            unsafe { (self.read)(self.userdata.0, index, data.0, data.1, values.0, values.1) };
        let reason = || format!("the callback returned {answer}");
        (answer == 0).then_some(()).ok_or_else(|| Error::Source { index, reason: reason() })
    }
}
