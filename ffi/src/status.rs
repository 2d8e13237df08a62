//! What a call came to.

use adafed::{Error, data, nn, privacy, store};

/// What a call came to. Blocks of a hundred say who is to blame; a number is never used again
/// for something else, so that an unknown one can be judged by its block.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done; outputs are written. After any other status they are untouched.
    Ok = 0,
    /// Caller: a pointer that must not be NULL is.
    NullPointer = 1,
    /// Caller: text is not UTF-8, or not of the form that is asked for.
    InvalidText = 2,
    /// Caller: a number outside of its range.
    InvalidValue = 3,
    /// Caller: a buffer has not the length that is asked for.
    WrongLength = 4,
    /// Caller: the configuration lacks something that a participant needs.
    Missing = 5,
    /// Caller: another call on this object has not returned yet. Nothing was done.
    InUse = 6,
    /// There is nothing to give yet: no model, no round in progress.
    NotAvailable = 7,
    /// This build of the library has not the feature that is asked for.
    Unsupported = 8,
    /// Examples: they cannot be read, or are not what they are said to be.
    InvalidExamples = 100,
    /// Examples: they do not fit the task's model.
    ExamplesDoNotFit = 101,
    /// Model: it cannot be built, run or written.
    InvalidModel = 102,
    /// Server: it refused.
    ServerRefused = 200,
    /// Server: what it sent is not what it should be.
    InvalidMessage = 201,
    /// Budget: the device's own policy refuses.
    RefusedByPolicy = 300,
    /// Environment: the server cannot be reached.
    Unreachable = 400,
    /// Environment: the folder or the app's key store cannot be used.
    StoreFailed = 401,
    /// Environment: another participant has the folder.
    StoreLocked = 402,
    /// Environment: the privacy ledger cannot be used; nothing is released without it.
    LedgerFailed = 403,
    /// Environment: the operating system gave no randomness.
    NoRandomness = 404,
    /// Environment: the system gave no threads.
    NoThreads = 405,
    /// Callback: one of the app's callbacks failed, or gave a value that it may not.
    CallbackFailed = 500,
    /// Bug: AdaFed failed within; what is on disk is whole.
    Panicked = 900,
    /// Bug: the object failed within before. Free it and make a new one.
    Poisoned = 901,
}

impl Status {
    /// The status of an error of the SDK.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Data(data::Error::Source { .. }) => Self::CallbackFailed,
            Error::Data(_) => Self::InvalidExamples,
            Error::ExampleShape { .. }
            | Error::ExampleClasses { .. }
            | Error::TargetLength { .. } => Self::ExamplesDoNotFit,
            // What only an example can bring up.
            Error::Model(
                nn::Error::Label { .. } | nn::Error::Token { .. } | nn::Error::NotFiniteLoss { .. },
            ) => Self::InvalidExamples,
            Error::Model(_) | Error::Algorithm(_) => Self::InvalidModel,
            Error::Threads { .. } => Self::NoThreads,
            Error::Missing { .. } => Self::Missing,
            Error::Server { .. } => Self::ServerRefused,
            Error::WrongContent { .. } | Error::Layout { .. } | Error::Wire(_) => {
                Self::InvalidMessage
            }
            Error::Privacy(e) => Self::of_privacy(e),
            Error::Transport(_) => Self::Unreachable,
            Error::Store(store::Error::Locked { .. }) => Self::StoreLocked,
            Error::Store(store::Error::App { .. }) => Self::CallbackFailed,
            Error::Store(_) => Self::StoreFailed,
            _ => Self::InvalidValue,
        }
    }

    fn of_privacy(error: &privacy::Error) -> Self {
        use privacy::Error;
        match error {
            Error::Ledger { .. } => Self::LedgerFailed,
            Error::Randomness => Self::NoRandomness,
            Error::Policy { .. }
            | Error::Budget { .. }
            | Error::AlreadyReleased { .. }
            | Error::NotCharged { .. }
            | Error::PlanChanged { .. } => Self::RefusedByPolicy,
            _ => Self::InvalidValue,
        }
    }
}
