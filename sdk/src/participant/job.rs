//! One round on a device: what was fetched, how far training is, and what will leave.

use std::sync::Arc;

use adafed_algorithm::{Mask, Standardisation};
use adafed_privacy::{NoiseSeed, Permit, RoundRelease};
use adafed_wire::{
    Assignment, Digest, MaskMessage, Message, ModelMessage, PackedIntegers, ScaleMessage, TaskId,
    TaskPlan, Update, decode, encode,
};
use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::{Conditions, Verdict};
use crate::Error;
use crate::data::Dataset;
use crate::data::features::Featured;
use crate::nn::{Model, ModelSpec};
use crate::train::{Kept, LocalRound, Setting};
use crate::transport::Transport;

/// The part of a job that is saved. As secret as the examples: it holds the seed.
#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    assignment: Assignment,
    #[serde(with = "serde_bytes")]
    plan: Vec<u8>,
    #[serde(with = "serde_bytes")]
    mask: Vec<u8>,
    #[serde(with = "serde_bytes")]
    scale: Vec<u8>,
    seed: NoiseSeed,
    steps: u32,
    sums: RoundRelease,
    parameters: ModelMessage,
    /// The round's model, where the plan's proximal term draws local steps back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<ModelMessage>,
}

impl Message for Saved {
    const NAME: &'static str = "saved round";
    const LIMIT: usize = adafed_wire::LARGEST;
    // No start.
    const ADDED: &[u8] = &[0];

    fn is_extended(&self) -> bool {
        self.start.is_some()
    }
}

/// A round in progress.
pub(super) struct Job {
    saved: Saved,
    plan: TaskPlan,
    model: Model,
    /// The model without its features, which are computed once and not in every step.
    layers: Model,
    mask: Mask,
    standardisation: Standardisation,
    /// What the steps of the round share; made by the first one.
    kept: Option<Arc<Kept>>,
}

impl Job {
    /// Fetches everything an assignment names, checks it, and draws a fresh seed.
    pub(super) fn fetch<T: Transport>(
        connection: &mut Connection<T>,
        task: &TaskId,
        assignment: &Assignment,
    ) -> Result<Self, Error> {
        let (decoded, plan) = connection.plan::<TaskPlan>(task, &assignment.plan)?;
        let (parameters, _) =
            connection.content::<ModelMessage>(task, &assignment.model, "model")?;
        let (_, mask) = connection.content::<MaskMessage>(task, &assignment.mask, "mask")?;
        let (_, scale) =
            connection.content::<ScaleMessage>(task, &assignment.scale, "scale state")?;
        let seed = NoiseSeed::from_os()?;
        let assignment = assignment.clone();
        let (steps, sums) = (0, RoundRelease::new());
        let proximal = decoded.federation.proximal > 0.0;
        let start = proximal.then(|| parameters.clone());
        let saved = Saved { assignment, plan, mask, scale, seed, steps, sums, parameters, start };
        Self::new(saved, task)
    }

    /// Goes on from saved bytes.
    pub(super) fn restore(bytes: &[u8], task: &TaskId) -> Result<Self, Error> {
        Self::new(decode(bytes)?, task)
    }

    fn new(saved: Saved, task: &TaskId) -> Result<Self, Error> {
        let plan: TaskPlan = decode(&saved.plan)?;
        // A plan has one encoding: its digest can be computed from what it says.
        if plan.task != *task || plan.digest()? != saved.assignment.plan {
            let digest = saved.assignment.plan.to_string();
            return Err(Error::WrongContent { what: "plan", digest });
        }
        plan.check()?;
        let model = Model::new(&ModelSpec::from_json(&plan.model)?)?;
        if *model.layout() != plan.layout {
            let (layout, model) = (plan.layout.len(), model.layout().len());
            return Err(Error::Layout { layout, model });
        }
        let d = plan.layout.len();
        adafed_algorithm::TrainingState::new(&plan.layout, saved.parameters.parameters.clone())?;
        check_start(&saved, &plan)?;
        let mask = decode::<MaskMessage>(&saved.mask)?.mask(d)?;
        let scale: ScaleMessage = decode(&saved.scale)?;
        let standardisation = scale.standardisation(&mask, &plan.layout)?;
        let layers = model.layers();
        Ok(Self { saved, plan, model, layers, mask, standardisation, kept: None })
    }

    pub(super) fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(encode(&self.saved)?)
    }

    pub(super) const fn plan(&self) -> &TaskPlan {
        &self.plan
    }

    pub(super) fn plan_digest(&self) -> String {
        self.saved.assignment.plan.to_string()
    }

    pub(super) const fn round(&self) -> u64 {
        self.saved.assignment.round
    }

    /// The model that the round starts from.
    pub(super) const fn model(&self) -> Digest {
        self.saved.assignment.model
    }

    /// What the plan describes: features and layers.
    pub(super) const fn described(&self) -> &Model {
        &self.model
    }

    pub(super) const fn steps(&self) -> u32 {
        self.saved.steps
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.saved.steps >= self.plan.privacy.local_steps
    }

    /// Refuses examples that the model cannot take, before anything is charged.
    pub(super) fn check_examples(&self, data: &dyn Dataset) -> Result<(), Error> {
        let (found, expected) = (data.shape(), self.model.input_shape());
        if found != expected {
            let (found, expected) = (found.to_vec(), expected.to_vec());
            return Err(Error::ExampleShape { found, expected });
        }
        let (found, expected) = (data.target_len(), self.model.target_len());
        if found != expected {
            return Err(Error::TargetLength { found, expected });
        }
        let (classes, outputs) = (data.classes(), self.model.classes());
        if classes > outputs {
            return Err(Error::ExampleClasses { classes, outputs });
        }
        if self.model.feature_spec().is_some() {
            Featured::check(data, self.model.seen_shape())?;
        }
        Ok(())
    }

    /// One private step on what the layers take (the examples, or their features), or
    /// [`Error::Interrupted`] and no change.
    pub(super) fn step(
        &mut self,
        data: &dyn Dataset,
        permit: &Permit,
        conditions: &dyn Conditions,
    ) -> Result<(), Error> {
        let setting = Setting {
            model: &self.layers,
            data,
            plans: self.plan.plans(),
            mask: &self.mask,
            standardisation: &self.standardisation,
        };
        let local = match self.kept.take() {
            Some(kept) => LocalRound::resume(setting, kept),
            None => LocalRound::new(setting)?,
        };
        let may_go_on = || conditions.verdict() == Verdict::Go;
        let local = local.interruptible(&may_go_on);
        let Saved { seed, steps, sums, parameters, start, assignment, .. } = &mut self.saved;
        let released = local.step(&parameters.parameters, permit, seed, *steps)?;
        if *steps + 1 < self.plan.privacy.local_steps {
            let start = start.as_ref().map_or(&[][..], |start| &start.parameters);
            local.sgd(&mut parameters.parameters, start, &released, assignment.round)?;
        }
        sums.add(&released)?;
        *steps += 1;
        local.reuse(released);
        self.kept = Some(local.kept());
        Ok(())
    }

    /// Goes on under another seed: tests compare what two devices release.
    #[cfg(test)]
    pub(super) fn reseed(&mut self, seed: NoiseSeed) {
        self.saved.seed = seed;
    }

    /// What leaves the device.
    pub(super) fn release(&self, task: &TaskId) -> Result<Outbox, Error> {
        let Assignment { round, plan, model, mask, .. } = self.saved.assignment;
        let shift = self.plan.upload_shift(round);
        let values = PackedIntegers::pack(&self.saved.sums.coarsened(shift))?;
        let update = Update { task: task.clone(), round, plan, model, mask, values };
        Ok(Outbox { round, body: encode(&update)? })
    }
}

/// A round's start is there exactly where the plan needs it; a step checks its length.
fn check_start(saved: &Saved, plan: &TaskPlan) -> Result<(), Error> {
    if saved.start.is_some() == (plan.federation.proximal > 0.0) {
        return Ok(());
    }
    let reason = "it keeps the model it started from, or does not, against its plan".to_owned();
    Err(adafed_wire::Error::Malformed { what: Saved::NAME, reason }.into())
}

/// A release on its way: the exact bytes, kept until the server has them.
#[derive(Serialize, Deserialize)]
pub(super) struct Outbox {
    pub(super) round: u64,
    #[serde(with = "serde_bytes")]
    pub(super) body: Vec<u8>,
}

impl Message for Outbox {
    const NAME: &'static str = "outbox";
    const LIMIT: usize = Update::LIMIT + 64;
}

impl Outbox {
    pub(super) fn digest(&self) -> String {
        Digest::of(&self.body).to_string()
    }

    pub(super) fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(encode(self)?)
    }

    pub(super) fn restore(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes)?)
    }
}
