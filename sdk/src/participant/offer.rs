//! What the server offers, what it would cost, and the model it has made so far.

use adafed_privacy::accounting::EpsilonBound;
use adafed_wire::{Digest, ModelMessage, TaskPlan};

use super::seen::Seen;
use super::{Participant, Phase};
use crate::Error;
use crate::nn::{Model, ModelSpec};
use crate::store::Store;
use crate::transport::Transport;

/// A task as its server offers it.
#[derive(Debug)]
pub struct Offer {
    /// The whole plan.
    pub plan: TaskPlan,
    /// Epsilon, at the plan's delta, of taking part in every round.
    pub epsilon: EpsilonBound,
    /// Why the device would not take part; `None` where its policy allows the task.
    pub refusal: Option<Error>,
}

/// A model of the federation, ready to predict: public, made of releases alone.
#[derive(Clone, Debug)]
pub struct GlobalModel {
    /// Its layers, and the features before them, which are made.
    pub model: Model,
    /// Its parameters, `[d]`.
    pub parameters: Vec<f32>,
}

impl<T: Transport, S: Store> Participant<T, S> {
    /// Asks for the task's plan, without agreeing to it: nothing is charged or recorded.
    /// A device that is not yet enrolled enrols. From then on a round under another plan is
    /// refused ([`adafed_privacy::Error::PlanChanged`]) until that one was asked for, too.
    ///
    /// # Errors
    /// Those of the exchange, [`Error::WrongContent`] for another task's plan, and
    /// [`Error::Wire`] for one that contradicts itself.
    pub fn offer(&mut self) -> Result<Offer, Error> {
        if !self.enrolled {
            self.enrol()?;
        }
        let plan = self.connection.offered_plan::<TaskPlan>(&self.task)?;
        let digest = plan.digest()?.to_string();
        if plan.task != self.task {
            return Err(Error::WrongContent { what: "plan", digest });
        }
        plan.check()?;
        let admitted = self.ledger.admits(self.task.as_str(), &digest, &plan.privacy);
        let enough = || self.ledger.policy().admit_examples(self.data.len());
        let refusal = admitted.and_then(|()| enough()).err().map(Error::from);
        self.offered = Some(digest);
        Ok(Offer { epsilon: plan.privacy.epsilon(), plan, refusal })
    }

    /// Fetches the newest model that the server has named to this participant: that of the
    /// round it joined last, or the final one. `None` before the first. Features that the task
    /// has and this participant has not made yet are made now, on its threads.
    ///
    /// # Errors
    /// Those of the exchange; a server may have dropped the model of an old round.
    pub fn global_model(&mut self) -> Result<Option<GlobalModel>, Error> {
        let Some(digest) = self.newest_model() else { return Ok(None) };
        let plan = match self.kept_plan(self.task.as_str())? {
            Some(plan) => plan,
            None => self.connection.offered_plan::<TaskPlan>(&self.task)?,
        };
        let model = Model::new(&ModelSpec::from_json(&plan.model)?)?;
        let (ModelMessage { parameters }, _) =
            self.connection.content(&self.task, &digest, "model")?;
        model.bind(&parameters)?;
        let seen = self.seen.as_ref().filter(|seen| seen.is_of(&model));
        let model = match seen.and_then(Seen::features) {
            Some(features) => model.with_made(features.clone()),
            None => model,
        };
        if model.feature_spec().is_some() {
            self.threads.run(|| model.features().map(drop))??;
        }
        Ok(Some(GlobalModel { model, parameters }))
    }

    fn newest_model(&self) -> Option<Digest> {
        match &self.phase {
            Phase::Finished { model } => Some(*model),
            Phase::Training(job) => Some(job.model()),
            _ => self.known_model,
        }
    }
}
