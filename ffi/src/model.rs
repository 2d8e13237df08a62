//! A model of the federation, to predict with on the device.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::Path;

use adafed::participant::GlobalModel;

use crate::error::{Error, Failure};
use crate::guard::{self, required};
use crate::pointer;
use crate::status::Status;

/// A model of the federation: public, made of releases alone. It does not change, and may be
/// used from several threads at once. It outlives the participant it came from.
pub struct Model {
    global: GlobalModel,
}

impl Model {
    pub(crate) const fn new(global: GlobalModel) -> Self {
        Self { global }
    }
}

/// Values of one input; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_model_input_len(model: Option<&Model>) -> usize {
    model.map_or(0, |model| model.global.model.input_len())
}

/// Values of one output, such as one logit a class; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_model_output_len(model: Option<&Model>) -> usize {
    model.map_or(0, |model| model.global.model.output_len())
}

/// Number of parameters; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_model_parameters(model: Option<&Model>) -> usize {
    model.map_or(0, |model| model.global.parameters.len())
}

/// Predicts: any number of whole inputs, one after the other, into as many outputs. `outputs`
/// is the app's, of exactly that length, need not be initialised, and is written on success
/// only. All of it runs on the calling thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_model_predict(
    model: Option<&Model>,
    inputs: *const f32,
    inputs_len: usize,
    outputs: *mut f32,
    outputs_len: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::call(error, || {
        let GlobalModel { model, parameters } = &required(model, "the model")?.global;
        // SAFETY: what the head of the header says about buffers.
        let inputs = unsafe { pointer::slice(inputs, inputs_len, "inputs") }?;
        let batch = inputs_len / model.input_len();
        check_len("inputs", inputs_len, batch * model.input_len())?;
        check_len("outputs", outputs_len, batch * model.output_len())?;
        let mut found = Vec::with_capacity(outputs_len);
        for inputs in inputs.chunks(model.micro_batch() * model.input_len()) {
            found.extend(model.predict(parameters, inputs, inputs.len() / model.input_len())?);
        }
        // SAFETY: what the head of the header says about buffers.
        unsafe { pointer::write(&found, outputs, "outputs") }
    })
}

/// Writes the model to a safetensors file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_model_save(
    model: Option<&Model>,
    path: *const c_char,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::call(error, || {
        let GlobalModel { model, parameters } = &required(model, "the model")?.global;
        // SAFETY: what the head of the header says about text.
        let path = unsafe { pointer::text(path, "the path") }?;
        Ok(model.save(Path::new(path), parameters)?)
    })
}

/// Frees a model. NULL is nothing. No other call on it may be under way.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_model_free(model: Option<Box<Model>>) {
    guard::quietly(|| drop(model));
}

fn check_len(what: &str, found: usize, expected: usize) -> Result<(), Failure> {
    if found == expected { Ok(()) } else { Err(Failure::length(what, found, expected)) }
}
