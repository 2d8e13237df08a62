//! What went wrong, in words.

use std::ffi::{CString, c_char};

use crate::pointer;
use crate::status::Status;

/// The context of a status that is not `ADAFED_STATUS_OK`. A function that takes an
/// `adafed_error **` makes one there, to be freed by the caller; NULL stands for no interest.
#[derive(Debug)]
pub struct Error {
    status: Status,
    code: CString,
    message: CString,
    retryable: bool,
}

/// A failure on its way to the boundary.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl Failure {
    pub(crate) fn new(status: Status, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retryable: false }
    }

    pub(crate) fn null(what: &str) -> Self {
        Self::new(Status::NullPointer, "ffi/null", format!("{what} is NULL"))
    }

    pub(crate) fn length(what: &str, found: usize, expected: usize) -> Self {
        let message = format!("{what} has length {found}, expected {expected}");
        Self::new(Status::WrongLength, "ffi/length", message)
    }
}

impl<E: Into<adafed::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self {
            status: Status::of(&error),
            code: error.code().to_owned(),
            message: error.to_string(),
            retryable: error.is_retryable(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { status, code, message, retryable } = failure;
        let (code, message) = (pointer::c_string(&code), pointer::c_string(&message));
        Self { status, code, message, retryable }
    }
}

/// The status that came with the error; `ADAFED_STATUS_NULL_POINTER` for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_error_status(error: Option<&Error>) -> Status {
    error.map_or(Status::NullPointer, |error| error.status)
}

/// A stable identifier such as `privacy/budget`; a server's refusal has the server's code.
/// Lives as long as the error. Empty for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_error_code(error: Option<&Error>) -> *const c_char {
    error.map_or(c"".as_ptr(), |error| error.code.as_ptr())
}

/// What was wrong, what was expected and what to do, in English. Lives as long as the error.
/// Empty for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_error_message(error: Option<&Error>) -> *const c_char {
    error.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Whether the same call may succeed later without any change. False for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_error_is_retryable(error: Option<&Error>) -> bool {
    error.is_some_and(|error| error.retryable)
}

/// Frees an error. NULL is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_error_free(error: Option<Box<Error>>) {
    drop(error);
}
