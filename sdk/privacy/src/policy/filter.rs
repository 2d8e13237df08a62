//! The Renyi filter: a cap that holds although a server chooses tasks one after the other.
//!
//! A filter says whether the next mechanism may run, so that everything together stays
//! (cap, delta)-DP, however the next one was chosen. At one order a, fixed beforehand, it
//! may run while the divergences of order a add up to what the conversion allows: then
//! E[e^((a-1) loss)] is bounded along every path, as for non-adaptive composition (Feldman,
//! Zrnic, arXiv 2008.11193, theorem 4.3; Lecuyer, arXiv 2103.01379, theorem 1). The best
//! order of the finished sum, as an accountant takes it, would be chosen after the fact.
//!
//! The order is a function of the policy alone: the one at which plain Gaussian noise gets
//! furthest. Where only one task was ever joined nothing was chosen after a release, and
//! the tighter accountant counts; a second one is admitted only if the filter admits both,
//! so the filter's bound then covers the first one too.
//!
//! An owner who changes cap or delta later changes the order with them, which is as valid as
//! the owner's reasons are independent of what was released.

use super::Policy;
use crate::accounting::{self, default_orders};
use crate::plan::PrivacyPlan;
use crate::{Composition, Error, NoiseMultiplier};

/// Relative width at which the search for a multiplier that fits ends.
const NARROW: f64 = 1e-3;

/// Largest factor on a plan's noise that is tried.
const MOST_NOISE: f64 = 1e3;

/// Epsilon of a composition whose parts a server may have chosen after releases: by the
/// filter's order.
pub(crate) fn filter_epsilon(policy: &Policy, all: &Composition) -> f64 {
    accounting::rdp_epsilon_at(order(policy), all, policy.delta)
}

/// Epsilon of a plan that was fixed before every release, by the tighter accountant.
pub(crate) fn lone_epsilon(policy: &Policy, plan: &PrivacyPlan) -> f64 {
    accounting::epsilon(&plan.composition(), policy.delta).epsilon
}

/// Whether a plan fits above `others`. The filter is the quicker one and is asked first; a plan
/// that is the first may also pass by the tighter accountant.
pub(super) fn admit(
    policy: &Policy,
    task: &str,
    plan: &PrivacyPlan,
    others: &Composition,
) -> Result<(), Error> {
    let cap = policy.epsilon_cap.value();
    let together = |plan: &PrivacyPlan| {
        let mut all = others.clone();
        all.extend(&plan.composition());
        filter_epsilon(policy, &all)
    };
    let filtered = together(plan);
    if filtered <= cap {
        return Ok(());
    }
    let (asked, first) = (lone_epsilon(policy, plan), others.is_empty());
    if first && asked <= cap {
        return Ok(());
    }
    // What would fit is sought by the filter alone, also where the tighter accountant would
    // allow a little more: it is quick for any numbers that a server may send.
    let fits = |plan: &PrivacyPlan| together(plan) <= cap;
    Err(Error::Budget {
        task: task.to_owned(),
        asked,
        spent: if first { 0.0 } else { filter_epsilon(policy, others) },
        total: if first { asked } else { filtered },
        cap,
        noise_multiplier: multiplier_that_fits(plan, &fits),
        rounds: rounds_that_fit(plan, &fits),
    })
}

/// The filter's order a: the largest c = rdp / a with
/// a c + ln(1 - 1/a) - ln(a delta) / (a-1) <= cap.
fn order(policy: &Policy) -> f64 {
    let (cap, delta) = (policy.epsilon_cap.value(), policy.delta.value());
    let reach = |a: f64| {
        let conversion = (-1.0 / a).ln_1p() - (a.ln() + delta.ln()) / (a - 1.0);
        (cap - conversion) / a
    };
    let better = |best: f64, a: f64| if reach(a) > reach(best) { a } else { best };
    default_orders().into_iter().fold(2.0, better)
}

/// The least multiplier of the plan's phases, when all are scaled alike until they fit.
fn multiplier_that_fits(plan: &PrivacyPlan, fits: &dyn Fn(&PrivacyPlan) -> bool) -> Option<f64> {
    let scaled = |factor: f64| {
        let noise =
            |sigma: NoiseMultiplier| NoiseMultiplier::new(sigma.value() * factor).unwrap_or(sigma);
        let mut plan = *plan;
        plan.warmup.noise_multiplier = noise(plan.warmup.noise_multiplier);
        plan.main.noise_multiplier = noise(plan.main.noise_multiplier);
        plan
    };
    let (mut low, mut high) = (1.0, MOST_NOISE);
    if !fits(&scaled(high)) {
        return None;
    }
    while high / low > 1.0 + NARROW {
        let middle = f64::sqrt(low * high);
        *(if fits(&scaled(middle)) { &mut high } else { &mut low }) = middle;
    }
    Some(scaled(high).least_noise_multiplier().value())
}

/// The most rounds of the plan, cut at its end, that fit.
fn rounds_that_fit(plan: &PrivacyPlan, fits: &dyn Fn(&PrivacyPlan) -> bool) -> u64 {
    let cut = |rounds: u64| {
        let mut plan = *plan;
        plan.warmup.rounds = plan.warmup.rounds.min(rounds);
        plan.main.rounds = rounds - plan.warmup.rounds;
        plan
    };
    let (mut most, mut over) = (0, plan.rounds());
    while over - most > 1 {
        let middle = most + (over - most) / 2;
        *(if fits(&cut(middle)) { &mut most } else { &mut over }) = middle;
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delta, Epsilon, Event, SamplingRate};

    fn policy(cap: f64) -> Policy {
        Policy::new(Epsilon::new(cap).unwrap(), Delta::new(1e-5).unwrap()).unwrap()
    }

    fn gaussian(sigma: f64, count: u64) -> Composition {
        let (rate, sigma) = (SamplingRate::new(1.0).unwrap(), NoiseMultiplier::new(sigma).unwrap());
        let adjacency = crate::Adjacency::AddRemove;
        [Event::poisson_gaussian(adjacency, rate, sigma, count)].into_iter().collect()
    }

    #[test]
    fn the_order_depends_on_the_policy_alone_and_suits_gaussian_noise() {
        for cap in [0.5, 1.0, 8.0, 50.0] {
            let policy = policy(cap);
            // By the plain conversion, rho = (sqrt(cap + L) - sqrt(L))^2 and 1 + sqrt(L / rho); the
            // improved one prefers a somewhat smaller order.
            let log = 1e5_f64.ln();
            let rho = ((cap + log).sqrt() - log.sqrt()).powi(2);
            let expected = 1.0 + (log / rho).sqrt();
            let ratio = order(&policy) / expected;
            assert!((0.5..=1.0).contains(&ratio), "{cap}: {ratio}");
        }
    }

    #[test]
    fn the_filter_is_never_below_the_accountant_and_near_it_at_the_cap() {
        let policy = policy(8.0);
        for sigma in [1.5, 2.0, 5.0, 20.0] {
            for count in [1, 10, 100] {
                let all = gaussian(sigma, count);
                let best = accounting::rdp_epsilon(&all, policy.delta);
                let fixed = filter_epsilon(&policy, &all);
                assert!(fixed >= best * (1.0 - 1e-9), "{sigma} {count}");
                if (6.0..8.0).contains(&best) {
                    assert!(fixed < 1.02 * best, "{sigma} {count}: {fixed} {best}");
                }
            }
        }
    }
}
