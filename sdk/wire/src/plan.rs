//! A task's plan: model, privacy, algorithm and rounds, in one immutable document.

use adafed_algorithm::{Aggregation, AlgorithmPlan, FederationPlan, Layout, Plans, Retention};
use adafed_privacy::{PrivacyPlan, Rounded};
use serde::{Deserialize, Serialize};

use crate::codec::{Message, encode};
use crate::{Digest, Error, TaskId};

/// How rounds are run. Nothing here touches privacy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundPlan {
    /// Devices asked to take part in a round.
    pub cohort: u32,
    /// Reports with which a round closes at once.
    pub report_goal: u32,
    /// Reports without which a round is abandoned at its deadline.
    pub least_reports: u32,
    /// Time from a round's first assignment to its deadline, in milliseconds.
    pub deadline_ms: u64,
    /// Time after which a device without an assignment asks again, in milliseconds.
    pub retry_after_ms: u64,
}

impl RoundPlan {
    fn check(&self) -> Result<(), Error> {
        let Self { cohort, report_goal, least_reports, deadline_ms, .. } = *self;
        if 1 <= least_reports && least_reports <= report_goal && report_goal <= cohort {
            if deadline_ms > 0 {
                return Ok(());
            }
            return refuse("deadline_ms", 0, "at least 1");
        }
        let value = format!("least {least_reports}, goal {report_goal}, cohort {cohort}");
        refuse("reports of a round", value, "1 <= least_reports <= report_goal <= cohort")
    }
}

/// Everything a device needs to know about a task, fixed for the task's whole life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskPlan {
    /// The task.
    pub task: TaskId,
    /// Model specification, as JSON: the server carries it without reading it.
    pub model: String,
    /// Flat order of the model's parameters.
    pub layout: Layout,
    /// Privacy.
    pub privacy: PrivacyPlan,
    /// AdaDPIGU.
    pub algorithm: AlgorithmPlan,
    /// Rounds.
    pub rounds: RoundPlan,
    /// How devices' releases become the next model. The default is left out, so that plans
    /// that do without it keep their encoding and digest.
    #[serde(default, skip_serializing_if = "FederationPlan::is_default")]
    pub federation: FederationPlan,
}

impl Message for TaskPlan {
    const NAME: &'static str = "task plan";
    const LIMIT: usize = 1 << 20;
    // No proximal term (8 bytes), then one byte each: no adaptivity, the mean, no bound,
    // uniform weights, no buffer, no refresh.
    const ADDED: &[u8] = &[0; 14];

    fn is_extended(&self) -> bool {
        !self.federation.is_default()
    }
}

/// Most values of updates, reports times parameters, that a robust rule has in memory.
pub const MOST_ROBUST_VALUES: u64 = 1 << 24;

/// Most reports whose pairwise distances multi-Krum computes: with the bound above, 2^32
/// squares, which is seconds.
pub const MOST_KRUM_REPORTS: u32 = 1 << 8;

/// Most parameters of a model that the wire carries: a full mask and model stay below
/// the message limits.
pub const MOST_PARAMETERS: usize = 50_000_000;

impl TaskPlan {
    /// Checks the whole plan.
    ///
    /// # Errors
    /// The first thing that makes it impossible, by name.
    pub fn check(&self) -> Result<(), Error> {
        self.privacy.check()?;
        self.algorithm.check()?;
        self.rounds.check()?;
        let d = self.layout.len();
        if d == 0 || d > MOST_PARAMETERS {
            return refuse("number of parameters", d, "1 to 50,000,000");
        }
        self.privacy.lattice(Rounded { each: d, once: d })?;
        if self.privacy.warmup.rounds == 0 && self.algorithm.retention != Retention::full() {
            let expected = "at least 1 where a mask is to be learned";
            return refuse("warm-up rounds", 0, expected);
        }
        self.check_federation()
    }

    /// What the federation plan needs of the others.
    fn check_federation(&self) -> Result<(), Error> {
        let Self { federation, rounds, algorithm, privacy, .. } = self;
        federation.check()?;
        if federation.proximal > 0.0 && privacy.local_steps < 2 {
            return refuse("local steps", privacy.local_steps, "at least 2 for a proximal term");
        }
        if federation.refresh.is_some() && algorithm.retention == Retention::full() {
            return refuse("retention", algorithm.retention, "below 1 where masks are made anew");
        }
        if !federation.aggregation.is_robust() {
            return Ok(());
        }
        federation.aggregation.check_reports(rounds.least_reports)?;
        self.check_robust_size()
    }

    /// Robust rules have every update of a round in memory.
    fn check_robust_size(&self) -> Result<(), Error> {
        let goal = self.rounds.report_goal;
        let values = u64::from(goal).saturating_mul(self.layout.len() as u64);
        if values > MOST_ROBUST_VALUES {
            let expected = "at most 2^24 values of updates under a robust aggregation";
            return refuse("report goal times parameters", values, expected);
        }
        let krum = matches!(self.federation.aggregation, Aggregation::MultiKrum { .. });
        if krum && goal > MOST_KRUM_REPORTS {
            return refuse("report goal", goal, "at most 256 under multi-Krum");
        }
        Ok(())
    }

    /// Digest of the plan's encoding: what devices store and compare.
    ///
    /// # Errors
    /// Those of [`encode`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&encode(self)?))
    }

    /// The parts that the training state needs.
    #[must_use]
    pub const fn plans(&self) -> Plans<'_> {
        let Self { layout, privacy, algorithm, federation, .. } = self;
        Plans { layout, privacy, algorithm, federation }
    }

    /// Active coordinates of `round`.
    #[must_use]
    pub fn active_coordinates(&self, round: u64) -> usize {
        let (privacy, d) = (&self.privacy, self.layout.len());
        if privacy.is_warmup(round) {
            return d;
        }
        let t = round - privacy.warmup.rounds;
        self.algorithm.retention.active_count(t, privacy.main.rounds, d)
    }

    /// Expected bytes of one update's values in `round`: the packed width of noise whose
    /// standard deviation is 32 to 64 units, times the active coordinates.
    #[must_use]
    pub fn expected_update_bytes(&self, round: u64) -> u64 {
        let steps = f64::from(self.privacy.local_steps).sqrt();
        let units = self.privacy.noise_std_steps(round) * steps
            / f64::from(self.upload_shift(round)).exp2();
        let active = self.active_coordinates(round) as f64;
        // The largest of `active` normal draws lies near sqrt(2 ln active) deviations.
        let largest = units * (2.0 * active.ln()).sqrt().max(1.0);
        let width = (2.0 * largest).log2().ceil();
        (active * width / 8.0).ceil() as u64
    }

    /// Right shift that coarsens a device's upload to the noise's own width: a unit of
    /// the upload is at most 1/32 of the standard deviation of its noise, so that the
    /// rounding adds less than 0.01 % to the noise variance. Post-processing of a
    /// release, hence free.
    #[must_use]
    pub fn upload_shift(&self, round: u64) -> u32 {
        let steps = f64::from(self.privacy.local_steps).sqrt();
        let std = self.privacy.noise_std_steps(round) * steps;
        (std / 32.0).log2().floor().max(0.0) as u32
    }
}

/// Names a setting out of range.
pub(crate) fn refuse<T>(
    name: &'static str,
    value: impl ToString,
    expected: &'static str,
) -> Result<T, Error> {
    let value = value.to_string();
    Err(adafed_algorithm::Error::Setting { name, value, expected }.into())
}
