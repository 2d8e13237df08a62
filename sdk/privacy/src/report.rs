//! The privacy report of a device: what was charged, what it comes to, and under which
//! reading, so that somebody else can compute it again.
//!
//! A report holds its own evidence. [`PrivacyReport::check`] derives every figure again
//! from the events and the plans in it, and names each one that is not what it should be.
//! Who made it is said by a signature, which is the business of `adafed-wire`.

mod account;
mod check;
mod statements;
mod task;

use serde::{Deserialize, Serialize};

use crate::{Composition, Error, Ledger, LedgerStore, Policy, PrivacyPlan};

pub use account::{Account, Bound};
pub use check::{Difference, RELATIVE_TOLERANCE, differences};
pub use statements::{NoiseSource, Software};
pub use task::{Guarantee, RoundsCharged, Source, Sources, TaskReport, Unit};

/// Version of the report's form. A number that this build does not know is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Format(());

impl Format {
    /// The one that this build writes and reads.
    pub const CURRENT: Self = Self(());
    const NUMBER: u32 = 1;
}

impl From<Format> for u32 {
    fn from(_: Format) -> Self {
        Format::NUMBER
    }
}

impl TryFrom<u32> for Format {
    type Error = Error;
    fn try_from(number: u32) -> Result<Self, Error> {
        if number == Self::NUMBER {
            return Ok(Self::CURRENT);
        }
        let (name, value) = ("format of the privacy report", f64::from(number));
        Err(Error::Parameter { name, value, expected: "1, the format that this build reads" })
    }
}

/// What a device has spent, and all that is needed to compute it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyReport {
    /// Form of this document.
    pub format: Format,
    /// What made it.
    pub software: Software,
    /// Where noise comes from.
    pub noise: NoiseSource,
    /// Every task that the device agreed to, by name.
    pub tasks: Vec<TaskReport>,
    /// All that was charged under all tasks, at the policy's delta.
    pub spent: Account,
    /// All that the accepted plans may come to: what the policy's cap is held against.
    pub committed: Account,
    /// The owner's limits.
    pub policy: Policy,
    /// SHA-256 of the policy's JSON: the same for devices under the same limits.
    pub policy_digest: String,
    /// Whether `committed` is within the policy's cap. It may not be where the owner
    /// lowered the cap later.
    pub within_cap: bool,
    /// Hash of the ledger's last record: which state of which ledger this is.
    pub ledger_head: String,
    /// What leaves the device, in words.
    pub released: Vec<String>,
    /// What the figures do not cover, in words.
    pub not_covered: Vec<String>,
}

impl PrivacyReport {
    /// The report of a ledger as it stands. `sources` says where mask and scale state of
    /// a task come from, which its privacy plan does not; `None` where it is not known.
    #[must_use]
    pub fn new<S: LedgerStore>(
        ledger: &Ledger<S>,
        sources: impl Fn(&str) -> Option<Sources>,
    ) -> Self {
        Self::following(None, ledger, sources)
    }

    /// The same, where an earlier report of the ledger is at hand: what did not change
    /// since is taken from it, which saves half of the time.
    #[must_use]
    pub fn following<S: LedgerStore>(
        earlier: Option<&Self>,
        ledger: &Ledger<S>,
        sources: impl Fn(&str) -> Option<Sources>,
    ) -> Self {
        let tasks = ledger.tasks().map(|(task, digest, plan)| {
            let rounds_charged = RoundsCharged::of(plan, ledger.charged_rounds(task));
            let events = ledger.composition(task).events().to_vec();
            TaskReport::new(task, digest, *plan, rounds_charged, events, sources(task))
        });
        let (policy, head) = (ledger.policy().clone(), ledger.head().to_owned());
        Self::from_parts(tasks.collect(), policy, head, Software::current(), earlier)
    }

    fn from_parts(
        tasks: Vec<TaskReport>,
        policy: Policy,
        ledger_head: String,
        software: Software,
        earlier: Option<&Self>,
    ) -> Self {
        let spent = spent(&tasks, &policy);
        let committed = match earlier {
            Some(known) if known.policy == policy && plans(&known.tasks).eq(plans(&tasks)) => {
                known.committed
            }
            _ => committed(&tasks, &policy),
        };
        Self {
            format: Format::CURRENT,
            software,
            noise: NoiseSource::current(),
            tasks,
            spent,
            committed,
            policy_digest: check::digest_of(&policy),
            within_cap: committed.epsilon.value() <= policy.epsilon_cap.value(),
            policy,
            ledger_head,
            released: statements::RELEASED.map(str::to_owned).to_vec(),
            not_covered: statements::NOT_COVERED.map(str::to_owned).to_vec(),
        }
    }
}

fn plans(tasks: &[TaskReport]) -> impl Iterator<Item = &PrivacyPlan> {
    tasks.iter().map(|task| &task.plan)
}

/// Plans after the first were chosen by a server that had seen releases: then the policy's
/// filter counts.
fn filter<'p>(tasks: &[TaskReport], policy: &'p Policy) -> Option<&'p Policy> {
    (tasks.len() > 1).then_some(policy)
}

fn spent(tasks: &[TaskReport], policy: &Policy) -> Account {
    match tasks {
        // The same question was asked for the task.
        [task] if task.plan.delta == policy.delta => task.spent,
        _ => {
            let charged = tasks.iter().flat_map(|task| task.events.iter().cloned()).collect();
            Account::new(&charged, policy.delta, filter(tasks, policy))
        }
    }
}

fn committed(tasks: &[TaskReport], policy: &Policy) -> Account {
    let mut accepted = Composition::new();
    plans(tasks).for_each(|plan| accepted.extend(&plan.composition()));
    Account::new(&accepted, policy.delta, filter(tasks, policy))
}
