//! Paths of the HTTP interface, written once for both sides.

use crate::{DeviceId, Digest, TaskId};

/// `POST`: a device enrols.
pub const DEVICES: &str = "/v1/devices";
/// `POST`: a device asks for work.
pub const CHECKIN: &str = "/v1/checkin";

/// `GET`: a task's plan.
#[must_use]
pub fn plan(task: &TaskId) -> String {
    format!("/v1/tasks/{task}/plan")
}

/// `GET`: a model, mask or scale state of a task, by content.
#[must_use]
pub fn content(task: &TaskId, digest: &Digest) -> String {
    format!("/v1/tasks/{task}/content/{digest}")
}

/// `PUT`: a device's update of a round.
#[must_use]
pub fn update(task: &TaskId, round: u64, device: &DeviceId) -> String {
    format!("/v1/tasks/{task}/rounds/{round}/updates/{device}")
}
