//! The device's privacy ledger: append-only, chained by hashes, charged before a release.
//!
//! The ledger is the device's own memory of what it gave away. Its records outlive
//! models, tasks, data and crashes; its store is injected, so that this crate does no I/O.
//! In memory it holds some 200 bytes a round.

mod chain;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accounting::{self, EpsilonBound};
use crate::plan::PrivacyPlan;
use crate::policy::{Policy, filter_epsilon, lone_epsilon};
use crate::{Composition, Delta, Error, Event};
use chain::Chain;
pub use store::{Counter, EphemeralStore, LedgerStore};

/// Version of the records' format.
const FORMAT: u32 = 1;

/// One thing the ledger remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Record {
    /// The first record.
    Opened {
        /// Version of the format of those that follow.
        format: u32,
    },
    /// The device agreed to a task's privacy plan, within its policy.
    Accepted {
        /// Task.
        task: String,
        /// Digest of the plan, hexadecimal.
        digest: String,
        /// The plan.
        plan: PrivacyPlan,
    },
    /// A round's event was charged; from here on it counts, released or not.
    Charged {
        /// Task.
        task: String,
        /// Round.
        round: u64,
        /// What was charged.
        event: Event,
    },
    /// The bytes of a round's release, recorded before they leave.
    Released {
        /// Task.
        task: String,
        /// Round.
        round: u64,
        /// Digest of the bytes, hexadecimal.
        content: String,
    },
}

/// Proof that a round was charged: what a noise mechanism needs before it may release.
///
/// It does not count draws. Who drew a step twice and showed both would have paid for one: a
/// participant draws from the one seed that it stored before the charge, and shows what
/// [`Ledger::record_release`] recorded.
#[derive(Debug)]
pub struct Permit {
    task: String,
    round: u64,
    event: Event,
}

impl Permit {
    /// Round of the charge.
    #[must_use]
    pub const fn round(&self) -> u64 {
        self.round
    }

    /// The event of one of the charged steps, if it is what `plan` says of this round.
    pub(crate) fn covers(&self, plan: &PrivacyPlan, step: u32) -> Result<Event, Error> {
        let charged = plan.round_event(self.round) == Some(self.event);
        if charged && u64::from(step) < self.event.count {
            return Ok(Event { count: 1, ..self.event });
        }
        Err(Error::NotCharged { task: self.task.clone(), round: self.round })
    }
}

#[derive(Debug)]
struct TaskAccount {
    digest: String,
    plan: PrivacyPlan,
    charged: BTreeMap<u64, Event>,
    released: BTreeMap<u64, String>,
    /// Whether the policy was asked since the ledger was opened: its owner may have changed it.
    admitted: bool,
}

impl TaskAccount {
    fn charge(&mut self, round: u64, event: Event) -> Result<(), String> {
        if self.plan.round_event(round) != Some(event) {
            return Err(format!("its plan does not charge that for round {round}"));
        }
        self.charged.insert(round, event);
        Ok(())
    }

    fn release(&mut self, round: u64, content: String) -> Result<(), String> {
        if !self.charged.contains_key(&round) {
            return Err(format!("round {round} was not charged"));
        }
        self.released.insert(round, content);
        Ok(())
    }
}

/// The ledger of one device. One owner at a time: its store keeps others out.
#[derive(Debug)]
pub struct Ledger<S> {
    chain: Chain<S>,
    policy: Policy,
    tasks: BTreeMap<String, TaskAccount>,
}

impl<S: LedgerStore> Ledger<S> {
    /// Reads a store back, checking every hash and the counter beside it.
    ///
    /// What a crash can leave is mended: a last line cut short that was never acknowledged,
    /// a counter one behind.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a policy that means nothing;
    /// [`Error::Ledger`] when the store cannot be read, a record in it was changed, records
    /// that were acknowledged are gone (the file was cut, or an older copy put back), or
    /// the format is that of a newer version.
    pub fn open(store: S, policy: Policy) -> Result<Self, Error> {
        policy.check()?;
        let (chain, records) = Chain::open(store).map_err(ledger_error)?;
        let mut ledger = Self { chain, policy, tasks: BTreeMap::new() };
        for (index, record) in records.into_iter().enumerate() {
            ledger.apply(record).map_err(|reason| {
                ledger_error(format!("record {} is damaged: {reason}", index + 1))
            })?;
        }
        if ledger.chain.is_empty() {
            ledger.write(Record::Opened { format: FORMAT })?;
        }
        Ok(ledger)
    }

    fn apply(&mut self, record: Record) -> Result<(), String> {
        let unknown = |task: &str| format!("task {task} was never accepted");
        match record {
            Record::Opened { .. } => {}
            Record::Accepted { task, .. } if self.tasks.contains_key(&task) => {
                return Err(format!("task {task} was accepted before"));
            }
            Record::Accepted { task, digest, plan } => {
                let (charged, released) = (BTreeMap::new(), BTreeMap::new());
                let account = TaskAccount { digest, plan, charged, released, admitted: false };
                self.tasks.insert(task, account);
            }
            Record::Charged { task, round, event } => {
                let account = self.tasks.get_mut(&task).ok_or_else(|| unknown(&task))?;
                account.charge(round, event)?;
            }
            Record::Released { task, round, content } => {
                let account = self.tasks.get_mut(&task).ok_or_else(|| unknown(&task))?;
                account.release(round, content)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, record: Record) -> Result<(), Error> {
        self.chain.append(&record).map_err(ledger_error)?;
        self.apply(record).map_err(ledger_error)?;
        self.chain.settle().map_err(ledger_error)
    }

    /// Agrees to a task's plan, once; later calls compare digests. A policy that its owner
    /// made tighter meanwhile is asked again, once after each opening.
    ///
    /// # Errors
    /// [`Error::Policy`] or [`Error::Budget`] when the plan as a whole goes beyond the
    /// device's policy, [`Error::PlanChanged`] when the task came with another plan before,
    /// [`Error::Parameter`] when the plan contradicts itself.
    pub fn accept(&mut self, task: &str, digest: &str, plan: &PrivacyPlan) -> Result<(), Error> {
        if self.tasks.get(task).is_some_and(|account| account.digest == digest) {
            self.admit_again(task)?;
            return self.chain.settle().map_err(ledger_error);
        }
        self.admits(task, digest, plan)?;
        self.write(Record::Accepted { task: task.into(), digest: digest.into(), plan: *plan })?;
        self.tasks.get_mut(task).into_iter().for_each(|account| account.admitted = true);
        Ok(())
    }

    /// Whether [`Ledger::accept`] would agree to a plan, without agreeing to it.
    ///
    /// # Errors
    /// As [`Ledger::accept`], those of writing apart.
    pub fn admits(&self, task: &str, digest: &str, plan: &PrivacyPlan) -> Result<(), Error> {
        if let Some(account) = self.tasks.get(task).filter(|account| account.digest != digest) {
            let (known, offered) = (account.digest.clone(), digest.to_owned());
            return Err(Error::PlanChanged { task: task.to_owned(), known, offered });
        }
        plan.check()?;
        self.policy.admit(task, plan, &self.committed_by(|name| name != task))
    }

    /// Asks the policy about a task that was accepted before this opening.
    fn admit_again(&mut self, task: &str) -> Result<(), Error> {
        if self.tasks.get(task).is_none_or(|account| account.admitted) {
            return Ok(());
        }
        let others = self.committed_by(|name| name != task);
        let Some(account) = self.tasks.get_mut(task) else { return Ok(()) };
        self.policy.admit(task, &account.plan, &others)?;
        account.admitted = true;
        Ok(())
    }

    /// Everything that accepted plans allow in total, released yet or not.
    #[must_use]
    pub fn committed(&self) -> Composition {
        self.committed_by(|_| true)
    }

    fn committed_by(&self, pick: impl Fn(&str) -> bool) -> Composition {
        let mut all = Composition::new();
        let picked = self.tasks.iter().filter(|(name, _)| pick(name));
        picked.for_each(|(_, account)| all.extend(&account.plan.composition()));
        all
    }

    /// Charges one round and returns the permit for its release.
    ///
    /// A round that was charged but not released, as after a crash, is not charged again.
    ///
    /// # Guarantee
    /// When this returns, the charge is durable.
    ///
    /// # Errors
    /// [`Error::AlreadyReleased`] when the round's bytes are already recorded;
    /// [`Error::NotCharged`] for a task never accepted or a round outside its plan;
    /// [`Error::Policy`] or [`Error::Budget`] when the owner made the policy tighter since.
    pub fn charge(&mut self, task: &str, round: u64) -> Result<Permit, Error> {
        self.admit_again(task)?;
        let not_charged = || Error::NotCharged { task: task.to_owned(), round };
        let account = self.tasks.get(task).ok_or_else(not_charged)?;
        if account.released.contains_key(&round) {
            return Err(Error::AlreadyReleased { task: task.to_owned(), round });
        }
        let event = account.plan.round_event(round).ok_or_else(not_charged)?;
        if account.charged.contains_key(&round) {
            self.chain.settle().map_err(ledger_error)?;
        } else {
            self.write(Record::Charged { task: task.into(), round, event })?;
        }
        Ok(Permit { task: task.to_owned(), round, event })
    }

    /// Records the bytes of a release, before they leave. Consumes the permit.
    ///
    /// # Errors
    /// [`Error::AlreadyReleased`] when other bytes were recorded for the round.
    pub fn record_release(&mut self, permit: Permit, content: &str) -> Result<(), Error> {
        let Permit { task, round, .. } = permit;
        match self.released(&task, round) {
            Some(known) if known == content => self.chain.settle().map_err(ledger_error),
            Some(_) => Err(Error::AlreadyReleased { task, round }),
            None => self.write(Record::Released { task, round, content: content.to_owned() }),
        }
    }

    /// Digest of the bytes recorded for a round, if any.
    #[must_use]
    pub fn released(&self, task: &str, round: u64) -> Option<&str> {
        self.tasks.get(task)?.released.get(&round).map(String::as_str)
    }

    /// Rounds charged under a task, ascending.
    pub fn charged_rounds(&self, task: &str) -> impl Iterator<Item = u64> + '_ {
        self.tasks.get(task).into_iter().flat_map(|account| account.charged.keys().copied())
    }

    /// What was charged under a task.
    #[must_use]
    pub fn composition(&self, task: &str) -> Composition {
        let account = self.tasks.get(task);
        account.into_iter().flat_map(|a| a.charged.values().copied()).collect()
    }

    /// Every task that was accepted, by name, with digest and privacy plan.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &str, &PrivacyPlan)> {
        self.tasks.iter().map(|(task, a)| (task.as_str(), a.digest.as_str(), &a.plan))
    }

    /// Epsilon of what was charged under a task so far: a reading, not a guarantee. Which
    /// rounds were asked for, and how many, a server chose after seeing releases; what holds
    /// whatever it chooses is the epsilon of the whole plan ([`Self::committed_epsilon`]).
    #[must_use]
    pub fn epsilon(&self, task: &str, delta: Delta) -> EpsilonBound {
        accounting::epsilon(&self.composition(task), delta)
    }

    /// Epsilon, at the policy's delta, of all that accepted plans allow: what the cap is
    /// held against. One more task has to fit above it.
    #[must_use]
    pub fn committed_epsilon(&self) -> f64 {
        let mut accounts = self.tasks.values();
        match (accounts.next(), accounts.next()) {
            (None, _) => 0.0,
            (Some(only), None) => lone_epsilon(&self.policy, &only.plan),
            _ => filter_epsilon(&self.policy, &self.committed()),
        }
    }

    /// Hash of the last record, which names the ledger's state; empty before the first.
    #[must_use]
    pub fn head(&self) -> &str {
        self.chain.head()
    }

    /// The owner's limits.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}

fn ledger_error(reason: String) -> Error {
    Error::Ledger { reason }
}
