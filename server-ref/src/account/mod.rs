//! The global privacy account: what every device has been permitted to release, and
//! what that bounds its epsilon by.
//!
//! A device is charged when it is asked to take part, whether its update arrives or
//! not: from then on it may have released, and only it knows.
//!
//! # Guarantee
//! Every epsilon reported here is at least that of the device's own ledger, for the
//! ledger is charged for a subset of the same rounds.

mod forecast;
mod histogram;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use adafed_privacy::accounting::{self, Accountant};
use adafed_privacy::{Composition, Event, PrivacyPlan};
use adafed_wire::{DeviceId, Digest};

pub(crate) use forecast::forecast;
pub(crate) use histogram::{histogram, quantiles};

use crate::Error;

/// Rounds a device has been charged for. All devices with the same charges have the
/// same epsilon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Charges {
    pub(crate) warmup: u64,
    pub(crate) main: u64,
}

/// The charges of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) device: DeviceId,
    pub(crate) charges: Charges,
}

impl Charges {
    /// A device that takes part in every round.
    pub(crate) const fn all(plan: &PrivacyPlan) -> Self {
        Self { warmup: plan.warmup.rounds, main: plan.main.rounds }
    }

    /// A device that takes part in `round` as well.
    pub(crate) const fn and(self, plan: &PrivacyPlan, round: u64) -> Self {
        if plan.is_warmup(round) {
            Self { warmup: self.warmup + 1, ..self }
        } else {
            Self { main: self.main + 1, ..self }
        }
    }

    pub(crate) const fn rounds(self) -> u64 {
        self.warmup.saturating_add(self.main)
    }

    /// What the device was charged for, one event a phase.
    pub(crate) fn events(self, plan: &PrivacyPlan) -> Vec<Event> {
        let rounds = |count: u64, of_round: Option<Event>| {
            let times = |e: Event| Event { count: e.count.saturating_mul(count), ..e };
            of_round.map(times).filter(|_| count > 0)
        };
        let warmup = rounds(self.warmup, plan.round_event(0));
        let main = rounds(self.main, plan.round_event(plan.warmup.rounds));
        warmup.into_iter().chain(main).collect()
    }

    /// Everything the device may have released.
    fn composition(self, plan: &PrivacyPlan) -> Composition {
        self.events(plan).into_iter().collect()
    }

    /// Whether `other` has at least these charges, hence at least this epsilon.
    const fn is_within(self, other: Self) -> bool {
        self.warmup <= other.warmup && self.main <= other.main
    }
}

/// Epsilon by both accountants, either of them possibly +infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) rdp: f64,
    pub(crate) pld: f64,
}

impl Account {
    fn of(composition: &Composition, plan: &PrivacyPlan) -> Self {
        Self {
            rdp: accounting::rdp_epsilon(composition, plan.delta),
            pld: accounting::pld_epsilon(composition, plan.delta),
        }
    }

    /// The tighter bound: both are valid, for a task's parameters never change.
    pub(crate) const fn epsilon(self) -> f64 {
        self.rdp.min(self.pld)
    }

    /// The accountant of the tighter bound; Renyi where they are equal.
    pub(crate) fn accountant(self) -> Accountant {
        if self.pld < self.rdp { Accountant::Pld } else { Accountant::Rdp }
    }

    /// The privacy loss distribution's epsilon, where it has one.
    pub(crate) fn finite_pld(self) -> Option<f64> {
        self.pld.is_finite().then_some(self.pld)
    }

    /// The account with the larger epsilon.
    fn larger(self, other: Self) -> Self {
        if other.epsilon() > self.epsilon() { other } else { self }
    }
}

/// Computes accounts, each of them once.
#[derive(Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<(Digest, Charges), Account>>>);

impl Accounts {
    /// The account of each of `charges` under the plan with digest `plan_digest`.
    pub(crate) async fn accounts(
        &self,
        plan_digest: Digest,
        plan: PrivacyPlan,
        charges: Vec<Charges>,
    ) -> Result<Vec<Account>, Error> {
        let this = self.clone();
        let compute =
            move || charges.into_iter().map(|c| this.account(plan_digest, &plan, c)).collect();
        crate::blocking(compute).await
    }

    /// The account with the largest epsilon among `charges`; 0 when there are none.
    pub(crate) async fn largest(
        &self,
        plan_digest: Digest,
        plan: PrivacyPlan,
        charges: &[Charges],
    ) -> Result<Account, Error> {
        Ok(largest(&self.accounts(plan_digest, plan, maximal(charges)).await?))
    }

    /// The account of `charges`, computed here and now if it is not known.
    pub(crate) fn account(
        &self,
        plan_digest: Digest,
        plan: &PrivacyPlan,
        charges: Charges,
    ) -> Account {
        let key = (plan_digest, charges);
        if let Some(&known) = self.lock().get(&key) {
            return known;
        }
        // Computed without the lock: at worst twice, and always to the same number.
        let account = match charges.rounds() {
            0 => Account::default(),
            _ => Account::of(&charges.composition(plan), plan),
        };
        self.lock().insert(key, account);
        account
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Digest, Charges), Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account with the largest epsilon; nothing released costs nothing.
pub(crate) fn largest(accounts: &[Account]) -> Account {
    accounts.iter().copied().fold(Account::default(), Account::larger)
}

/// The charges that no other charges contain: the largest epsilon is among theirs.
fn maximal(charges: &[Charges]) -> Vec<Charges> {
    let contained = |c: &Charges| charges.iter().any(|o| o != c && c.is_within(*o));
    charges.iter().copied().filter(|c| !contained(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn taking_part_in_every_round_costs_what_the_plan_says() {
        let plan = plan("all").privacy;
        assert_eq!(Charges::all(&plan).composition(&plan), plan.composition());
    }

    #[test]
    fn only_maximal_charges_are_computed() {
        let c = |warmup, main| Charges { warmup, main };
        let all = [c(0, 3), c(1, 3), c(2, 1), c(1, 1), c(2, 0)];
        assert_eq!(maximal(&all), [c(1, 3), c(2, 1)]);
        assert!(maximal(&[]).is_empty());
    }

    #[test]
    fn the_tighter_accountant_is_named() {
        let plan = plan("both").privacy;
        let charges = Charges::all(&plan);
        let account = Accounts::default().account(Digest::of(b""), &plan, charges);
        let bound = plan.epsilon();
        assert_eq!((account.epsilon(), account.accountant()), (bound.epsilon, bound.accountant));
        assert!(account.rdp.is_finite() && account.finite_pld().is_some());
    }

    #[tokio::test]
    async fn epsilon_grows_with_every_charged_round() {
        let (accounts, plan) = (Accounts::default(), plan("growth").privacy);
        let charges: Vec<Charges> = (0..4).map(|main| Charges { warmup: 1, main }).collect();
        let accounts = accounts.accounts(Digest::of(b""), plan, charges).await.unwrap();
        assert!(accounts.is_sorted_by(|a, b| a.epsilon() < b.epsilon()));
        assert!(accounts[0].epsilon() > 0.0);
    }
}
