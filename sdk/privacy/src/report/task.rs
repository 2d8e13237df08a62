//! One task in a report: its guarantee, its plan, what was charged under it.

use serde::{Deserialize, Serialize};

use super::Account;
use super::check::{Difference, differences};
use crate::plan::{PrivacyPlan, TrustModel};
use crate::{Adjacency, Composition, Event};

/// What one row of data is, to the guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// One training example on one device.
    Example,
}

/// What epsilon is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guarantee {
    /// What is protected.
    pub unit: Unit,
    /// Which data sets are neighbours.
    pub adjacency: Adjacency,
    /// Against whom.
    pub trust: TrustModel,
}

/// Where something that shapes a step comes from; a private source cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The task does without it.
    Unused,
    /// Fixed beforehand or drawn at random: independent of all data.
    Public,
    /// Computed from releases alone: post-processing, which costs nothing.
    Released,
}

/// Sources of what shapes a task's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// Which coordinates are active.
    pub mask: Source,
    /// Centre and scale of the coordinates.
    pub scale: Source,
}

/// Rounds of a task that were charged, released or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundsCharged {
    /// Of the warm-up.
    pub warmup: u64,
    /// Of the main phase.
    pub main: u64,
}

impl RoundsCharged {
    pub(super) fn of(plan: &PrivacyPlan, rounds: impl Iterator<Item = u64>) -> Self {
        rounds.fold(Self::default(), |mut charged, round| {
            let phase = if plan.is_warmup(round) { &mut charged.warmup } else { &mut charged.main };
            *phase += 1;
            charged
        })
    }

    fn total(self) -> u64 {
        self.warmup.saturating_add(self.main)
    }

    /// What a plan charges for so many rounds.
    fn composition(self, plan: &PrivacyPlan) -> Composition {
        let phases = [(self.warmup, 0), (self.main, plan.warmup.rounds)];
        let event = |(rounds, first): (u64, u64)| {
            let event = plan.round_event(first)?;
            Some(Event { count: event.count.saturating_mul(rounds), ..event })
        };
        phases.into_iter().filter(|(rounds, _)| *rounds > 0).filter_map(event).collect()
    }
}

/// Most events that a plan charges: one a phase.
const MOST_EVENTS: usize = 2;

/// What a device was charged under one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// What epsilon is about.
    pub guarantee: Guarantee,
    /// Digest of the whole task plan that the device agreed to, hexadecimal.
    pub plan_digest: String,
    /// The privacy plan in it.
    pub plan: PrivacyPlan,
    /// Where mask and scale state come from; `None` where the device no longer knows.
    pub sources: Option<Sources>,
    /// Rounds charged.
    pub rounds_charged: RoundsCharged,
    /// Steps charged, each of them one use of a noise mechanism.
    pub steps_charged: u64,
    /// What was charged: kind, parameters and number.
    pub events: Vec<Event>,
    /// What that comes to, at the plan's delta.
    pub spent: Account,
}

impl TaskReport {
    pub(super) fn new(
        task: &str,
        plan_digest: &str,
        plan: PrivacyPlan,
        rounds_charged: RoundsCharged,
        events: Vec<Event>,
        sources: Option<Sources>,
    ) -> Self {
        let composition: Composition = events.iter().cloned().collect();
        let (adjacency, trust) = (plan.adjacency, plan.trust);
        Self {
            task: task.to_owned(),
            guarantee: Guarantee { unit: Unit::Example, adjacency, trust },
            plan_digest: plan_digest.to_owned(),
            sources,
            rounds_charged,
            steps_charged: events.iter().fold(0, |sum: u64, e| sum.saturating_add(e.count)),
            spent: Account::new(&composition, plan.delta, None),
            events,
            plan,
        }
    }

    /// The same task with every figure derived again from plan and events.
    pub(super) fn recomputed(&self) -> Self {
        let Self { task, plan_digest, plan, rounds_charged, events, sources, .. } = self;
        // What no plan charges is not composed: hundreds of events take minutes.
        let possible = events.len() <= MOST_EVENTS;
        let events = if possible { events.clone() } else { self.planned() };
        Self::new(task, plan_digest, *plan, *rounds_charged, events, *sources)
    }

    /// What the plan charges for the stated rounds.
    fn planned(&self) -> Vec<Event> {
        self.rounds_charged.composition(&self.plan).events().to_vec()
    }

    /// Where plan, rounds and events contradict each other. `at`: path of the task.
    pub(super) fn contradictions(&self, at: &str) -> Vec<Difference> {
        let mut found = Vec::new();
        if let Err(e) = self.plan.check() {
            found.push(Difference::new(format!("{at}.plan"), "unusable", e));
        }
        found.extend(differences(&format!("{at}.events"), &self.events, &self.planned()));
        let steps_a_round = u64::from(self.plan.local_steps).max(1);
        let rounds = self.steps_charged as f64 / steps_a_round as f64;
        let (name, total) = (format!("{at}.rounds_charged"), self.rounds_charged.total());
        if rounds != total as f64 {
            found.push(Difference::new(name.clone(), total, rounds));
        }
        found.extend(self.rounds_beyond_the_plan(&name));
        found
    }

    fn rounds_beyond_the_plan(&self, at: &str) -> Vec<Difference> {
        let Self { rounds_charged, plan, .. } = self;
        let phases = [
            ("warmup", rounds_charged.warmup, plan.warmup.rounds),
            ("main", rounds_charged.main, plan.main.rounds),
        ];
        let beyond = phases.into_iter().filter(|(_, charged, planned)| charged > planned);
        let difference = |(phase, charged, planned)| {
            let most = format!("at most {planned}, the rounds of the plan");
            Difference::new(format!("{at}.{phase}"), charged, most)
        };
        beyond.map(difference).collect()
    }
}
