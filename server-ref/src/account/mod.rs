//! The global privacy account: what every device has been permitted to release, and
//! what that bounds its epsilon by.
//!
//! A device is charged when it is asked to take part, whether its update arrives or
//! not: from then on it may have released, and only it knows.
//!
//! # Guarantee
//! Every epsilon reported here is at least that of the device's own ledger, for the
//! ledger is charged for a subset of the same rounds.

mod histogram;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use adafed_privacy::accounting::{self, Accountant, EpsilonBound};
use adafed_privacy::{Composition, Event, PrivacyPlan};
use adafed_wire::{DeviceId, Digest};

pub(crate) use histogram::histogram;

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

    pub(crate) const fn rounds(self) -> u64 {
        self.warmup.saturating_add(self.main)
    }

    /// Everything the device may have released.
    fn composition(self, plan: &PrivacyPlan) -> Composition {
        let rounds = |count: u64, of_round: Option<Event>| {
            let times = |e: Event| Event { count: e.count.saturating_mul(count), ..e };
            of_round.map(times)
        };
        let warmup = rounds(self.warmup, plan.round_event(0));
        let main = rounds(self.main, plan.round_event(plan.warmup.rounds));
        warmup.into_iter().chain(main).collect()
    }

    /// Whether `other` has at least these charges, hence at least this epsilon.
    const fn is_within(self, other: Self) -> bool {
        self.warmup <= other.warmup && self.main <= other.main
    }
}

/// Computes epsilons, each of them once.
#[derive(Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<(Digest, Charges), EpsilonBound>>>);

impl Accounts {
    /// Epsilon of each of `charges` under the plan with digest `plan_digest`.
    pub(crate) async fn epsilons(
        &self,
        plan_digest: Digest,
        plan: PrivacyPlan,
        charges: Vec<Charges>,
    ) -> Result<Vec<EpsilonBound>, Error> {
        let this = self.clone();
        let compute =
            move || charges.into_iter().map(|c| this.epsilon(plan_digest, &plan, c)).collect();
        crate::blocking(compute).await
    }

    /// The largest epsilon among `charges`; 0 when there are none.
    pub(crate) async fn largest(
        &self,
        plan_digest: Digest,
        plan: PrivacyPlan,
        charges: &[Charges],
    ) -> Result<EpsilonBound, Error> {
        let bounds = self.epsilons(plan_digest, plan, maximal(charges)).await?;
        Ok(largest(&bounds))
    }

    fn epsilon(&self, plan_digest: Digest, plan: &PrivacyPlan, charges: Charges) -> EpsilonBound {
        let key = (plan_digest, charges);
        if let Some(&known) = self.lock().get(&key) {
            return known;
        }
        // Computed without the lock: at worst twice, and always to the same number.
        let bound = match charges.rounds() {
            0 => NOTHING,
            _ => accounting::epsilon(&charges.composition(plan), plan.delta),
        };
        self.lock().insert(key, bound);
        bound
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Digest, Charges), EpsilonBound>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing released costs nothing, by any accountant.
const NOTHING: EpsilonBound = EpsilonBound { epsilon: 0.0, accountant: Accountant::Rdp };

/// The largest bound.
pub(crate) fn largest(bounds: &[EpsilonBound]) -> EpsilonBound {
    let larger = |a: EpsilonBound, b: &EpsilonBound| if b.epsilon > a.epsilon { *b } else { a };
    bounds.iter().fold(NOTHING, larger)
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

    #[tokio::test]
    async fn epsilon_grows_with_every_charged_round() {
        let (accounts, plan) = (Accounts::default(), plan("growth").privacy);
        let charges: Vec<Charges> = (0..4).map(|main| Charges { warmup: 1, main }).collect();
        let bounds = accounts.epsilons(Digest::of(b""), plan, charges).await.unwrap();
        assert!(bounds.is_sorted_by(|a, b| a.epsilon < b.epsilon));
        assert!(bounds[0].epsilon > 0.0);
    }
}
