//! What an administrator sends to create a task.

use adafed_algorithm::{AlgorithmPlan, FederationPlan, Layout};
use adafed_privacy::PrivacyPlan;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Message;
use crate::message::ModelMessage;
use crate::plan::{RoundPlan, TaskPlan};
use crate::{TaskId, TaskSettings};

/// An administrator creates a task.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTask {
    /// The plan, immutable from now on.
    pub plan: TaskPlan,
    /// The model before the first round, in flat order, `[d]`.
    pub parameters: Vec<f32>,
    /// How the operator runs it.
    pub settings: TaskSettings,
}

impl Message for CreateTask {
    const NAME: &'static str = "task creation";
    const LIMIT: usize = TaskPlan::LIMIT + ModelMessage::LIMIT;
    // The default federation, then no settings.
    const ADDED: &[u8] = &[0; TaskPlan::ADDED.len() + 1];

    fn is_extended(&self) -> bool {
        self.plan.is_extended() || self.settings != TaskSettings::default()
    }
}

/// The form that people read and write.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "CreateTask")]
struct Readable<P, V> {
    plan: P,
    parameters: V,
    #[serde(default)]
    settings: TaskSettings,
}

impl Serialize for CreateTask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, parameters, settings } = self;
        if serializer.is_human_readable() {
            let settings = settings.clone();
            return Readable { plan, parameters, settings }.serialize(serializer);
        }
        // In bytes, what a version adds comes last: behind the parameters.
        let first = TaskPlan { federation: FederationPlan::DEFAULT, ..plan.clone() };
        if self.is_extended() {
            (first, parameters, &plan.federation, write_settings(settings)?).serialize(serializer)
        } else {
            (first, parameters).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for CreateTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let Readable { plan, parameters, settings } = Readable::deserialize(deserializer)?;
            return Ok(Self { plan, parameters, settings });
        }
        let (first, parameters, federation, settings): (FirstPlan, _, _, String) =
            Deserialize::deserialize(deserializer)?;
        let FirstPlan { task, model, layout, privacy, algorithm, rounds } = first;
        let plan = TaskPlan { task, model, layout, privacy, algorithm, rounds, federation };
        Ok(Self { plan, parameters, settings: read_settings(&settings)? })
    }
}

/// Settings travel as JSON, so that they can grow; nothing is every default. A creation is
/// never referred to by its digest, so spaces and members left out do no harm.
fn write_settings<E: serde::ser::Error>(settings: &TaskSettings) -> Result<String, E> {
    if *settings == TaskSettings::default() {
        return Ok(String::new());
    }
    serde_json::to_string(settings).map_err(E::custom)
}

fn read_settings<E: serde::de::Error>(json: &str) -> Result<TaskSettings, E> {
    match json {
        "" => Ok(TaskSettings::default()),
        json => serde_json::from_str(json).map_err(E::custom),
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
