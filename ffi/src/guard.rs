//! The boundary: failures become statuses, and unwinding ends here.

use std::any::Any;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Failure};
use crate::status::Status;

/// Where a function puts its error object, if the caller wants one. Exported functions spell
/// it and [`Out`] out, lest the header have types for them.
pub(crate) type ErrorOut<'a> = Option<&'a mut MaybeUninit<Box<Error>>>;

/// Where a function puts its result.
pub(crate) type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Runs the body of an entry point. State that a panic may leave broken is behind a mutex,
/// which remembers.
pub(crate) fn call(error: ErrorOut<'_>, body: impl FnOnce() -> Result<(), Failure>) -> Status {
    match catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panicked(payload))) {
        Ok(()) => Status::Ok,
        Err(failure) => {
            let status = failure.status;
            if let Some(error) = error {
                error.write(Box::new(failure.into()));
            }
            status
        }
    }
}

/// As [`call`], for a body with a result: `out` is written on success only, and a missing one
/// is refused before anything is done.
pub(crate) fn give<T>(
    out: Out<'_, T>,
    error: ErrorOut<'_>,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Status {
    call(error, || {
        let out = required(out, "the place for the result")?;
        out.write(body()?);
        Ok(())
    })
}

/// What must not be NULL.
pub(crate) fn required<T>(pointer: Option<T>, what: &str) -> Result<T, Failure> {
    pointer.ok_or_else(|| Failure::null(what))
}

/// For functions without a status, such as those that free.
pub(crate) fn quietly(body: impl FnOnce()) {
    let _ = call(None, || {
        body();
        Ok(())
    });
}

fn panicked(payload: Box<dyn Any + Send>) -> Failure {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    // The payload's own destructor must not unwind either.
    std::mem::forget(payload);
    let text = text.unwrap_or_else(|| "no reason given".to_owned());
    let message = format!("AdaFed failed within, which is a bug: {text}");
    Failure::new(Status::Panicked, "ffi/panicked", message)
}
