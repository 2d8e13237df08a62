//! What a device's owner allows, whatever a server asks.

mod filter;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plan::PrivacyPlan;
use crate::{Composition, Delta, Epsilon, Error, NoiseMultiplier};

pub(crate) use filter::{filter_epsilon, lone_epsilon};

/// The device's own limits. No message can change them.
///
/// Reading one through serde checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Policy {
    /// Largest epsilon over everything this device ever releases.
    pub epsilon_cap: Epsilon,
    /// Delta at which the cap holds, and the largest at which a task may state its epsilon.
    pub delta: Delta,
    /// Smallest noise multiplier of any step.
    pub least_noise_multiplier: NoiseMultiplier,
    /// Tasks that may be joined; `None` allows every task within the other limits.
    pub tasks: Option<Vec<String>>,
    /// Fewest examples with which the device takes part. Whether it does is seen by the
    /// server and not covered by epsilon; with 0, nothing depends on the number of examples.
    pub least_examples: u64,
    /// Most local steps of one round.
    pub most_local_steps: u32,
}

impl Policy {
    /// Noise multiplier that [`Policy::new`] asks for at least: below, one step already
    /// costs an epsilon of several units on the examples in its batch.
    pub const LEAST_NOISE_MULTIPLIER: f64 = 0.5;
    /// Local steps that [`Policy::new`] allows at most.
    pub const MOST_LOCAL_STEPS: u32 = 10_000;

    /// A policy with these two limits, any task, any number of examples, and the least
    /// noise and most steps of the constants here.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a delta that is not strictly between 0 and 1.
    pub fn new(epsilon_cap: Epsilon, delta: Delta) -> Result<Self, Error> {
        let policy = Self {
            epsilon_cap,
            delta,
            least_noise_multiplier: NoiseMultiplier::new(Self::LEAST_NOISE_MULTIPLIER)?,
            tasks: None,
            least_examples: 0,
            most_local_steps: Self::MOST_LOCAL_STEPS,
        };
        policy.check().map(|()| policy)
    }

    /// Checks what single fields cannot.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a delta that is not strictly between 0 and 1.
    pub fn check(&self) -> Result<(), Error> {
        let delta = self.delta.value();
        if delta > 0.0 && delta < 1.0 {
            return Ok(());
        }
        Err(Error::Parameter { name: "delta", value: delta, expected: "a number in (0, 1)" })
    }

    /// Checks a task's whole plan against the policy, before anything is computed.
    ///
    /// `others` is what was or may be released under other tasks. With none, the plan's
    /// parameters are fixed beforehand and the tighter accountant is valid; otherwise
    /// the server chose this plan after seeing earlier releases, and the sum has to pass
    /// a Renyi filter, which is valid under such adaptivity.
    ///
    /// # Errors
    /// [`Error::Policy`] names the limit and both numbers; [`Error::Budget`] also what is
    /// left and what would fit.
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
        if plan.local_steps > self.most_local_steps {
            let advice = "the task must do fewer local steps a round";
            let (steps, most) = (f64::from(plan.local_steps), f64::from(self.most_local_steps));
            return refuse("the local steps of a round", steps, most, advice);
        }
        filter::admit(self, task, plan, others)
    }

    /// Checks the size of the device's data set, before anything is computed.
    ///
    /// # Errors
    /// [`Error::Policy`] with both numbers.
    pub fn admit_examples(&self, examples: usize) -> Result<(), Error> {
        if examples as u64 >= self.least_examples {
            return Ok(());
        }
        let advice = "wait until there are more, or let the device's owner ask for fewer";
        let (found, least) = (examples as f64, self.least_examples as f64);
        refuse("to take part with this number of examples", found, least, advice)
    }

    fn admit_name(&self, task: &str) -> Result<(), Error> {
        match &self.tasks {
            Some(allowed) if !allowed.iter().any(|t| t == task) => {
                refuse("a task it does not list", 0.0, 0.0, "add the task to the policy's list")
            }
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policy = Self::deserialize(deserializer)?;
        policy.check().map_err(serde::de::Error::custom)?;
        Ok(policy)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

fn refuse(what: &'static str, found: f64, limit: f64, advice: &'static str) -> Result<(), Error> {
    Err(Error::Policy { what, found, limit, advice })
}
