//! What an administrator sends to create a task.

use adafed_algorithm::{AlgorithmPlan, FederationPlan, Layout};
use adafed_privacy::PrivacyPlan;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TaskId;
use crate::codec::Message;
use crate::message::ModelMessage;
use crate::plan::{RoundPlan, TaskPlan};

/// An administrator creates a task.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTask {
    /// The plan, immutable from now on.
    pub plan: TaskPlan,
    /// The model before the first round, in flat order, `[d]`.
    pub parameters: Vec<f32>,
}

impl Message for CreateTask {
    const NAME: &'static str = "task creation";
    const LIMIT: usize = TaskPlan::LIMIT + ModelMessage::LIMIT;
    const ADDED: &[u8] = TaskPlan::ADDED;

    fn is_extended(&self) -> bool {
        self.plan.is_extended()
    }
}

/// The form that people read and write.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "CreateTask")]
struct Readable<P, V> {
    plan: P,
    parameters: V,
}

impl Serialize for CreateTask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, parameters } = self;
        if serializer.is_human_readable() {
            return Readable { plan, parameters }.serialize(serializer);
        }
        // In bytes, what a version adds comes last: behind the parameters.
        let first = TaskPlan { federation: FederationPlan::DEFAULT, ..plan.clone() };
        if self.is_extended() {
            (first, parameters, &plan.federation).serialize(serializer)
        } else {
            (first, parameters).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for CreateTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let Readable { plan, parameters } = Readable::deserialize(deserializer)?;
            return Ok(Self { plan, parameters });
        }
        let (first, parameters, federation): (FirstPlan, _, _) =
            Deserialize::deserialize(deserializer)?;
        let FirstPlan { task, model, layout, privacy, algorithm, rounds } = first;
        let plan = TaskPlan { task, model, layout, privacy, algorithm, rounds, federation };
        Ok(Self { plan, parameters })
    }
}

/// A plan as version 1 has it.
#[derive(Deserialize)]
struct FirstPlan {
    task: TaskId,
    model: String,
    layout: Layout,
    privacy: PrivacyPlan,
    algorithm: AlgorithmPlan,
    rounds: RoundPlan,
}
