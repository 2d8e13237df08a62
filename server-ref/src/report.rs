//! What the server tells people: the JSON bodies of the reading interface.

use adafed_privacy::Adjacency;
use adafed_privacy::accounting::Accountant;
use adafed_wire::{DeviceId, Digest, TaskId};
use serde::{Deserialize, Serialize};

use crate::round::Phase;

/// Whether a task still trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// Rounds are still to come.
    Running,
    /// Every round is over; the model is final.
    Finished,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The task.
    pub task: TaskId,
    /// Whether it still trains.
    pub state: TaskState,
    /// Rounds done, which is the number of the current one.
    pub round: u64,
    /// Rounds of the plan.
    pub rounds: u64,
    /// Phase of the current round, or of the last one.
    pub phase: Phase,
    /// Devices taking part in that round.
    pub participants: u32,
    /// Updates received in that round.
    pub reports: u32,
    /// Active coordinates in that round.
    pub active_coordinates: u64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Largest epsilon of any device so far, at `delta`.
    pub epsilon: f64,
    /// Epsilon of a device that takes part in every round, at `delta`.
    pub epsilon_all_rounds: f64,
    /// Delta of the plan.
    pub delta: f64,
    /// Accountant that gave `epsilon`.
    pub accountant: Accountant,
    /// Digest of the plan.
    #[serde(with = "text")]
    pub plan: Digest,
    /// Digest of the current model.
    #[serde(with = "text")]
    pub model: Digest,
}

/// One round of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// The round.
    pub round: u64,
    /// Its phase.
    pub phase: Phase,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When it closes at the latest; `None` before its first assignment.
    pub deadline_ms: Option<u64>,
    /// When it closed.
    pub closed_ms: Option<u64>,
    /// Devices that were asked to take part, hence charged.
    pub participants: u32,
    /// Updates received.
    pub reports: u32,
    /// Active coordinates.
    pub active_coordinates: u64,
    /// Bytes of the accepted updates' bodies.
    pub bytes_up: u64,
    /// Bytes of bodies sent to devices: plans, contents, answers to check-ins. A
    /// statistic, kept in memory for up to a tick: a crash may lose the last of it.
    pub bytes_down: u64,
}

/// What a task has cost its devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivacyReport {
    /// The task.
    pub task: TaskId,
    /// Neighbouring relation.
    pub adjacency: Adjacency,
    /// Unit of privacy: one training example on one device.
    pub unit: PrivacyUnit,
    /// Delta at which every epsilon here is stated.
    pub delta: f64,
    /// Largest epsilon of any device.
    pub epsilon: f64,
    /// Accountant that gave it.
    pub accountant: Accountant,
    /// Epsilon of a device that takes part in every round.
    pub epsilon_all_rounds: f64,
    /// Devices by epsilon, in ten ranges of equal width up to the largest.
    pub histogram: Vec<HistogramBucket>,
    /// Every device with a charge, by name.
    pub devices: Vec<DevicePrivacy>,
}

/// What one row of data is, to the guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrivacyUnit {
    /// One training example.
    Example,
}

/// Devices whose epsilon lies above `from` and at most at `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramBucket {
    /// Lower end, exclusive.
    pub from: f64,
    /// Upper end, inclusive.
    pub to: f64,
    /// Number of devices.
    pub devices: u64,
}

/// What a task has cost one device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DevicePrivacy {
    /// The device.
    #[serde(with = "text")]
    pub device: DeviceId,
    /// Rounds it was permitted to release in, each of them charged.
    pub rounds_charged: u64,
    /// Upper bound on its epsilon.
    pub epsilon: f64,
}

/// Names and digests as text, where people read.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
