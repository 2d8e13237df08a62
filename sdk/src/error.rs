//! What can go wrong on a device, grouped by who is to blame.

use crate::{data, nn, store, transport};

/// An error of the SDK.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: examples that cannot be read or used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// Caller or peer: a model that cannot be built or run.
    #[error(transparent)]
    Model(#[from] nn::Error),
    /// Caller: the examples do not fit the task's model.
    #[error("examples have shape {found:?}, the task's model takes {expected:?}")]
    ExampleShape {
        /// Shape of the examples.
        found: Vec<usize>,
        /// Input shape of the model.
        expected: Vec<usize>,
    },
    /// Caller: the examples have labels that the task's model has no output for.
    #[error("examples have {classes} classes, the task's model has {outputs} outputs")]
    ExampleClasses {
        /// Classes of the examples.
        classes: usize,
        /// Outputs of the model.
        outputs: usize,
    },
    /// Caller: the examples have targets of another length than the task's model.
    #[error("targets have {found} values, the task's model compares {expected}")]
    TargetLength {
        /// Values of one target of the examples.
        found: usize,
        /// Values that the model's loss compares.
        expected: usize,
    },
    /// Caller: something a participant cannot be built without is missing.
    #[error("a participant needs {what}; give it to the builder")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Caller: a saved round of another device, whose ledger it belongs to.
    #[error(
        "the saved round is of device {found}, this is {expected}; a device goes on with its own"
    )]
    OtherDevice {
        /// Device that saved it.
        found: adafed_wire::DeviceId,
        /// This device.
        expected: adafed_wire::DeviceId,
    },
    /// Environment: the system gave no threads to train on.
    #[error("there are no threads to train on: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
    /// The host's conditions called off a step; nothing of it is left.
    #[error("the step was called off by the host's conditions; it will be repeated")]
    Interrupted,
    /// Peer: the server refused a request.
    #[error("the server refused ({status}, {code}): {detail}")]
    Server {
        /// HTTP status.
        status: u16,
        /// Stable code of the problem, such as `round/closed`.
        code: String,
        /// What was wrong and what to do.
        detail: String,
        /// When the server wants to be asked again at the soonest, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Peer: content that is not what it was asked for by digest.
    #[error("the server sent a {what} whose content does not match its digest {digest}")]
    WrongContent {
        /// Kind of content.
        what: &'static str,
        /// Digest that was asked for.
        digest: String,
    },
    /// Peer: the plan's layout is not that of its model.
    #[error("the task's layout of {layout} parameters is not that of its model ({model})")]
    Layout {
        /// Parameters of the layout.
        layout: usize,
        /// Parameters of the model.
        model: usize,
    },
    /// Peer: bytes that are not a message, or settings that do not fit.
    #[error(transparent)]
    Wire(#[from] adafed_wire::Error),
    /// Budget, or the privacy core refuses.
    #[error(transparent)]
    Privacy(#[from] adafed_privacy::Error),
    /// Vectors that do not fit each other.
    #[error(transparent)]
    Algorithm(#[from] adafed_algorithm::Error),
    /// Environment: the server could not be reached.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// Environment: the device's store could not be used.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Stable identifier, for logs and for the C interface.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Data(e) => e.code(),
            Self::Model(e) => e.code(),
            Self::ExampleShape { .. } => "sdk/example-shape",
            Self::TargetLength { .. } => "sdk/target-length",
            Self::ExampleClasses { .. } => "sdk/example-classes",
            Self::Missing { .. } => "sdk/missing",
            Self::OtherDevice { .. } => "sdk/other-device",
            Self::Threads { .. } => "sdk/threads",
            Self::Interrupted => "sdk/interrupted",
            Self::Server { code, .. } => code,
            Self::WrongContent { .. } => "sdk/wrong-content",
            Self::Layout { .. } => "sdk/layout",
            Self::Wire(e) => e.code(),
            Self::Privacy(e) => e.code(),
            Self::Algorithm(e) => e.code(),
            Self::Transport(_) => "sdk/transport",
            Self::Store(_) => "sdk/store",
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Threads { .. } => true,
            // A repetition is signed anew, at a later time.
            Self::Server { code, .. } if code == "server/replayed" => true,
            Self::Server { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Privacy(e) => e.is_retryable(),
            _ => false,
        }
    }

    /// When the server wants to be asked again at the soonest, in milliseconds, where it
    /// said so.
    pub(crate) const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Server { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}
