//! What the server tells people: the JSON bodies of the reading interface.

use adafed_privacy::accounting::Accountant;
use adafed_privacy::{Adjacency, Event};
use adafed_wire::{DeviceId, Digest, TaskId, TaskSettings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::round::Phase;

/// Whether a task still trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// Rounds are still to come.
    Running,
    /// The operator paused it: no device is seated, seated ones may still report.
    Paused,
    /// The operator ended it early; the model stays as it is.
    Cancelled,
    /// The next round would exceed the task's cap on epsilon; the model stays as it is.
    Halted,
    /// Every round is over; the model is final.
    Finished,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// Whether it still trains.
    pub state: TaskState,
    /// Rounds done, which is the number of the current one.
    pub round: u64,
    /// Rounds of the plan.
    pub rounds: u64,
    /// Phase of the current round, or of the last one.
    #[schema(value_type = String)]
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
    #[schema(value_type = Option<f64>)]
    pub epsilon: f64,
    /// Epsilon of a device that takes part in every round, at `delta`.
    #[schema(value_type = Option<f64>)]
    pub epsilon_all_rounds: f64,
    /// Delta of the plan.
    pub delta: f64,
    /// Accountant that gave `epsilon`.
    #[schema(value_type = String)]
    pub accountant: Accountant,
    /// Largest epsilon of any device after one more round, at `delta`.
    #[schema(value_type = Option<f64>)]
    pub epsilon_next_round: f64,
    /// How the operator runs it.
    #[schema(value_type = Object)]
    pub settings: TaskSettings,
    /// Digest of the plan.
    #[serde(with = "text")]
    #[schema(value_type = String)]
    pub plan: Digest,
    /// Digest of the current model.
    #[serde(with = "text")]
    #[schema(value_type = String)]
    pub model: Digest,
}

/// One round of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoundReport {
    /// The round.
    pub round: u64,
    /// Its phase.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When it closes at the latest; `None` before its first assignment.
    pub deadline_ms: Option<u64>,
    /// When it closed.
    pub closed_ms: Option<u64>,
    /// Devices that were asked to take part, hence charged.
    pub participants: u32,
    /// Updates received from its own devices.
    pub reports: u32,
    /// Updates of earlier rounds that went into this one's aggregate; buffered tasks only.
    pub stale_reports: u32,
    /// Devices that were asked to take part and sent nothing before the round closed.
    pub dropped: u32,
    /// When the report goal was reached.
    pub goal_ms: Option<u64>,
    /// Active coordinates.
    pub active_coordinates: u64,
    /// Bytes of the accepted updates' bodies.
    pub bytes_up: u64,
    /// Bytes that the same updates would take as dense 32-bit floats.
    pub bytes_dense: u64,
    /// Bytes of bodies sent to devices: plans, contents, answers to check-ins. A
    /// statistic, kept in memory for up to a tick: a crash may lose the last of it.
    pub bytes_down: u64,
}

/// What a task has cost its devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PrivacyReport {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// Neighbouring relation.
    #[schema(value_type = String)]
    pub adjacency: Adjacency,
    /// Unit of privacy: one training example on one device.
    pub unit: PrivacyUnit,
    /// Delta at which every epsilon here is stated.
    pub delta: f64,
    /// Largest epsilon of any device.
    #[schema(value_type = Option<f64>)]
    pub epsilon: f64,
    /// Accountant that gave it.
    #[schema(value_type = String)]
    pub accountant: Accountant,
    /// Largest epsilon of any device by the Renyi accountant.
    #[schema(value_type = Option<f64>)]
    pub epsilon_rdp: f64,
    /// Largest epsilon of any device by the privacy loss distribution; `None` where it has
    /// none to give.
    pub epsilon_pld: Option<f64>,
    /// Largest epsilon of any device after one more round.
    #[schema(value_type = Option<f64>)]
    pub epsilon_next_round: f64,
    /// Epsilon of a device that takes part in every round.
    #[schema(value_type = Option<f64>)]
    pub epsilon_all_rounds: f64,
    /// Epsilon that no device may exceed, by the operator's settings.
    pub device_epsilon_cap: Option<f64>,
    /// Epsilon at which the task halts, by the operator's settings.
    pub task_epsilon_cap: Option<f64>,
    /// Devices that another round would take beyond the device cap.
    pub halted_devices: u64,
    /// Quantiles of the devices' epsilons.
    pub quantiles: Vec<Quantile>,
    /// Devices by epsilon, in ten ranges of equal width up to the largest.
    pub histogram: Vec<HistogramBucket>,
    /// Every device with a charge, by name.
    pub devices: Vec<DevicePrivacy>,
}

/// What one row of data is, to the guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrivacyUnit {
    /// One training example.
    Example,
}

/// Devices whose epsilon lies above `from` and at most at `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramBucket {
    /// Lower end, exclusive.
    #[schema(value_type = Option<f64>)]
    pub from: f64,
    /// Upper end, inclusive.
    #[schema(value_type = Option<f64>)]
    pub to: f64,
    /// Number of devices.
    pub devices: u64,
}

/// A quantile of the devices' epsilons.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quantile {
    /// Share of the devices at or below `epsilon`.
    pub share: f64,
    /// Their largest epsilon.
    #[schema(value_type = Option<f64>)]
    pub epsilon: f64,
}

/// What a task has cost one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DevicePrivacy {
    /// The device.
    #[serde(with = "text")]
    #[schema(value_type = String)]
    pub device: DeviceId,
    /// Rounds it was permitted to release in, each of them charged.
    pub rounds_charged: u64,
    /// Upper bound on its epsilon.
    #[schema(value_type = Option<f64>)]
    pub epsilon: f64,
    /// By the Renyi accountant.
    #[schema(value_type = Option<f64>)]
    pub epsilon_rdp: f64,
    /// By the privacy loss distribution; `None` where it has none to give.
    pub epsilon_pld: Option<f64>,
    /// Whether another round would take it beyond the device cap.
    pub halted: bool,
    /// What it was charged for: one entry a phase of the plan.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
}

/// What a task would cost, told before it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// Whether it could be created.
    pub possible: bool,
    /// Why not, and what would fit; empty where it could.
    pub reasons: Vec<String>,
    /// Rounds of the plan.
    pub rounds: u64,
    /// Delta at which every epsilon here is stated.
    pub delta: f64,
    /// Epsilon of a device that takes part in every round.
    #[schema(value_type = Option<f64>)]
    pub epsilon_all_rounds: f64,
    /// Accountant that gave it.
    #[schema(value_type = String)]
    pub accountant: Accountant,
    /// Epsilon of a device that takes part in one round.
    #[schema(value_type = Option<f64>)]
    pub epsilon_one_round: f64,
    /// Rounds that one device may take part in under the smaller cap; `None` without a cap.
    pub rounds_within_cap: Option<u64>,
    /// Noise multiplier with which a device could take part in every round under the smaller
    /// cap; `None` without a cap, or where none reaches it.
    pub noise_multiplier_within_cap: Option<f64>,
    /// Noise multiplier of the warm-up.
    pub noise_multiplier_warmup: f64,
    /// Noise multiplier of the main phase.
    pub noise_multiplier_main: f64,
    /// Expected batch size of a local step.
    pub expected_batch: f64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Active coordinates of the first and of the last round under a mask.
    #[schema(value_type = Vec<u64>)]
    pub active_coordinates: [u64; 2],
    /// Expected bytes of one update's values in the first round, and in the first under a mask.
    #[schema(value_type = Vec<u64>)]
    pub update_bytes: [u64; 2],
}

/// One device, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceStatus {
    /// The device.
    #[serde(with = "text")]
    #[schema(value_type = String)]
    pub device: DeviceId,
    /// Whether its requests are taken.
    pub state: DeviceState,
    /// When it enrolled, in milliseconds since 1970.
    pub enrolled_ms: u64,
    /// When it was heard of last.
    pub seen_ms: Option<u64>,
    /// Version of its SDK, by its own word.
    pub version: Option<String>,
    /// How much its updates count where a task weighs devices; public.
    pub weight: u32,
    /// Rounds of all tasks it was charged for.
    pub rounds_charged: u64,
}

/// Whether a device's requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceState {
    /// They are.
    Active,
    /// No more; it may enrol again with a new token.
    Revoked,
    /// No more, and its key cannot enrol again.
    Banned,
}

/// An enrolment token, as the operator sees it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenStatus {
    /// SHA-256 of the token, hexadecimal.
    pub digest: String,
    /// Enrolments that it still allows.
    pub uses_left: u32,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Until when it is good.
    pub expires_ms: Option<u64>,
    /// Weight of the devices that use it.
    pub weight: u32,
}

/// What a person's or program's token allows; each scope holds those before it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read reports and models.
    Read,
    /// Report evaluations.
    Evaluate,
    /// Everything.
    Admin,
}

impl Scope {
    /// Name, as in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Evaluate => "evaluate",
            Self::Admin => "admin",
        }
    }
}

/// A token of a person or program, as the operator sees it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorStatus {
    /// Name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Until when it is good.
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
}

/// Loss and accuracy of a model, as an evaluator reports them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// Rounds that the model has seen.
    pub round: u64,
    /// Name of the evaluator's token.
    pub evaluator: String,
    /// Mean loss over its examples.
    pub loss: f64,
    /// Share of its examples that the model gets right.
    pub accuracy: Option<f64>,
    /// Number of its examples.
    pub examples: u64,
    /// When it was reported, in milliseconds since 1970.
    pub reported_ms: u64,
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
