//! The app's callbacks as the SDK's traits.
//!
//! Callbacks made from one configuration run one at a time, whatever thread they are on.

mod conditions;
mod examples;
mod keys;
mod log;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use conditions::ConditionsCallback;
pub(crate) use conditions::HostConditions;
pub use examples::ExampleCallback;
pub(crate) use examples::HostExamples;
pub(crate) use keys::{DeviceStore, HostKeys};
pub use keys::{LoadKeyCallback, SaveKeyCallback};
pub(crate) use log::Listeners;
pub use log::{EventCallback, LogCallback};
pub(crate) use transport::HostTransport;
pub use transport::TransportCallback;

/// Whose turn it is to call the app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<Mutex<()>>);

impl Turn {
    pub(crate) fn take(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
