//! What AdaFed's devices and servers say to each other: messages and their one codec,
//! masks and sparse updates, names by content, signed requests and signed privacy reports.
#![forbid(unsafe_code)]

mod codec;
mod create;
mod error;
mod ids;
mod message;
mod packed;
pub mod path;
mod plan;
mod report;
mod settings;
mod signature;

pub use codec::{EXTENDED_VERSION, LARGEST, MEDIA_TYPE, Message, VERSION, decode, encode};
pub use create::CreateTask;
pub use error::Error;
pub use ids::{DeviceId, Digest, TaskId};
pub use message::{
    Assignment, CheckinRequest, CheckinResponse, EnrolRequest, EnrolResponse, MaskMessage,
    ModelMessage, Receipt, ScaleMessage, Update,
};
pub use packed::PackedIntegers;
pub use plan::{MOST_KRUM_REPORTS, MOST_PARAMETERS, MOST_ROBUST_VALUES, RoundPlan, TaskPlan};
pub use report::{Check, SignedReport};
pub use settings::{RetryWindow, TaskSettings};
pub use signature::{DEVICE_HEADER, DeviceKey, SIGNATURE_HEADER, SignedParts, TIME_HEADER, verify};
