//! What a device's owner allows, whatever a server asks.

use serde::{Deserialize, Serialize};

use crate::accounting;
use crate::plan::PrivacyPlan;
use crate::{Composition, Delta, Epsilon, Error, NoiseMultiplier};

/// The device's own limits. No message can change them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Largest epsilon over everything this device ever releases.
    pub epsilon_cap: Epsilon,
    /// Largest delta at which a task may state its epsilon.
    pub delta: Delta,
    /// Smallest noise multiplier of any step.
    pub least_noise_multiplier: NoiseMultiplier,
    /// Tasks that may be joined; `None` allows every task within the other limits.
    pub tasks: Option<Vec<String>>,
}

impl Policy {
    /// Checks a task's whole plan against the policy, before anything is computed.
    ///
    /// `others` is what was or may be released under other tasks. With none, the plan's
    /// parameters are fixed beforehand and the tighter accountant is valid; otherwise
    /// the server chose this plan after seeing earlier releases, so the sum goes
    /// through Renyi composition, which stays valid under such adaptivity.
    ///
    /// # Errors
    /// [`Error::Policy`] names the limit and both numbers.
    pub fn admit(&self, task: &str, plan: &PrivacyPlan, others: &Composition) -> Result<(), Error> {
        self.admit_name(task)?;
        let sigma = plan.least_noise_multiplier().value();
        let least = self.least_noise_multiplier.value();
        if sigma < least {
            let advice = "the task must use more noise, or the device's owner allow less";
            return refuse("the noise multiplier", sigma, least, advice);
        }
        if plan.delta > self.delta {
            let advice = "the task must state its epsilon at a smaller delta";
            return refuse("delta", plan.delta.value(), self.delta.value(), advice);
        }
        let epsilon = self.epsilon_with(plan, others);
        if epsilon > self.epsilon_cap.value() {
            let advice = "the task needs more noise or fewer rounds, or the cap must be raised";
            return refuse("epsilon of the whole plan", epsilon, self.epsilon_cap.value(), advice);
        }
        Ok(())
    }

    fn admit_name(&self, task: &str) -> Result<(), Error> {
        match &self.tasks {
            Some(allowed) if !allowed.iter().any(|t| t == task) => {
                refuse("a task it does not list", 0.0, 0.0, "add the task to the policy's list")
            }
            _ => Ok(()),
        }
    }

    fn epsilon_with(&self, plan: &PrivacyPlan, others: &Composition) -> f64 {
        if others.is_empty() {
            return accounting::epsilon(&plan.composition(), self.delta).epsilon;
        }
        let mut all = others.clone();
        all.extend(&plan.composition());
        accounting::rdp_epsilon(&all, self.delta)
    }
}

fn refuse(what: &'static str, found: f64, limit: f64, advice: &'static str) -> Result<(), Error> {
    Err(Error::Policy { what, found, limit, advice })
}
