//! What a task would cost, before it is created, and whether its caps allow it.

use adafed_privacy::accounting::calibration::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use adafed_privacy::{Epsilon, PrivacyPhase, PrivacyPlan};
use adafed_wire::{TaskPlan, TaskSettings};

use super::{Account, Charges};
use crate::report::Forecast;

/// Computes a task's forecast. Takes as long as some tens of epsilons.
pub(crate) fn forecast(plan: &TaskPlan, settings: &TaskSettings) -> Forecast {
    let privacy = &plan.privacy;
    let cap = [settings.device_epsilon_cap, settings.task_epsilon_cap];
    let cap = cap.into_iter().flatten().min_by(f64::total_cmp);
    let whole = account(privacy, Charges::all(privacy));
    let one = one_round(privacy);
    let within_cap = cap.map(|cap| rounds_within(privacy, cap));
    let fitting = cap.filter(|cap| whole.epsilon() > *cap).and_then(|cap| fitting(privacy, cap));
    let last = privacy.rounds().saturating_sub(1);
    let masked = [privacy.warmup.rounds.min(last), last];
    let mut forecast = Forecast {
        task: plan.task.clone(),
        possible: true,
        reasons: Vec::new(),
        rounds: privacy.rounds(),
        delta: privacy.delta.value(),
        epsilon_all_rounds: whole.epsilon(),
        accountant: whole.accountant(),
        epsilon_one_round: one,
        rounds_within_cap: within_cap,
        noise_multiplier_within_cap: fitting,
        noise_multiplier_warmup: privacy.warmup.noise_multiplier.value(),
        noise_multiplier_main: privacy.main.noise_multiplier.value(),
        expected_batch: privacy.expected_batch(),
        parameters: plan.layout.len() as u64,
        active_coordinates: masked.map(|round| plan.active_coordinates(round) as u64),
        update_bytes: [0, masked[0]].map(|round| plan.expected_update_bytes(round)),
    };
    forecast.reasons = impossible(plan, settings, &forecast, cap);
    forecast.possible = forecast.reasons.is_empty();
    forecast
}

fn account(plan: &PrivacyPlan, charges: Charges) -> Account {
    Account::of(&charges.composition(plan), plan)
}

/// Epsilon of the costlier phase's round.
fn one_round(plan: &PrivacyPlan) -> f64 {
    let phases = [
        (plan.warmup, Charges { warmup: 1, main: 0 }),
        (plan.main, Charges { warmup: 0, main: 1 }),
    ];
    let costs = phases.into_iter().filter(|(phase, _)| phase.rounds > 0);
    costs.map(|(_, charges)| account(plan, charges).epsilon()).fold(0.0, f64::max)
}

/// The first rounds of the plan, as many as cost at most `cap` together.
fn rounds_within(plan: &PrivacyPlan, cap: f64) -> u64 {
    let cost = |rounds: u64| {
        let warmup = rounds.min(plan.warmup.rounds);
        account(plan, Charges { warmup, main: rounds - warmup }).epsilon()
    };
    // The invariant: `least` rounds fit, `most` + 1 do not or do not exist.
    let (mut least, mut most) = (0, plan.rounds());
    while least < most {
        let middle = least + (most - least).div_ceil(2);
        if cost(middle) <= cap {
            least = middle;
        } else {
            most = middle - 1;
        }
    }
    least
}

/// Noise multiplier of the main phase, the warm-up's in proportion, with which all rounds fit.
fn fitting(plan: &PrivacyPlan, cap: f64) -> Option<f64> {
    let main = plan.main.noise_multiplier.value();
    let shape = |phase: PrivacyPhase| PhaseShape {
        rate: plan.rate,
        steps: phase.rounds.saturating_mul(u64::from(plan.local_steps)),
        relative_noise: phase.noise_multiplier.value() / main,
    };
    let phases: Vec<_> =
        [plan.warmup, plan.main].into_iter().filter(|p| p.rounds > 0).map(shape).collect();
    let target = Target {
        epsilon: Epsilon::new(cap).ok()?,
        delta: plan.delta,
        adjacency: plan.adjacency,
        by: CalibrateBy::Tightest,
    };
    noise_multiplier(&target, &phases).ok().map(|sigma| sigma.value())
}

/// What the caps make impossible, each with the numbers that would fit.
fn impossible(
    plan: &TaskPlan,
    settings: &TaskSettings,
    forecast: &Forecast,
    cap: Option<f64>,
) -> Vec<String> {
    let (Some(cap), Some(fits)) = (cap, forecast.rounds_within_cap) else { return Vec::new() };
    let (rounds, delta) = (forecast.rounds, forecast.delta);
    let noise = forecast.noise_multiplier_within_cap.map_or_else(
        || "no noise multiplier reaches it".to_owned(),
        |sigma| format!("a noise multiplier of {sigma:.4} would fit every round"),
    );
    let one = forecast.epsilon_one_round;
    if one > cap {
        return vec![format!(
            "one round alone costs epsilon {one:.4} at delta {delta:e}, the cap is {cap}; {noise}, \
             or raise the cap to {one:.4} at least"
        )];
    }
    let Some(population) = settings.population else { return Vec::new() };
    // Every round that ends with a step needs the least reports, each a round of some device.
    let each = u128::from(rounds) * u128::from(plan.rounds.least_reports);
    let needed = each.div_ceil(u128::from(population.max(1)));
    if needed <= u128::from(fits) {
        return Vec::new();
    }
    let possible =
        u128::from(fits) * u128::from(population) / u128::from(plan.rounds.least_reports.max(1));
    vec![format!(
        "{rounds} rounds of {} reports ask {needed} rounds of each of {population} devices, the \
         cap {cap} allows {fits}; {possible} rounds would fit, or {noise}",
        plan.rounds.least_reports
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    fn with_cap(cap: f64) -> TaskSettings {
        TaskSettings { device_epsilon_cap: Some(cap), ..TaskSettings::default() }
    }

    #[test]
    fn without_a_cap_everything_is_possible() {
        let plan = plan("free");
        let found = forecast(&plan, &TaskSettings::default());
        assert!(found.possible && found.reasons.is_empty());
        assert_eq!(found.epsilon_all_rounds, plan.privacy.epsilon().epsilon);
        assert!(found.epsilon_one_round < found.epsilon_all_rounds);
        assert_eq!((found.rounds_within_cap, found.noise_multiplier_within_cap), (None, None));
    }

    #[test]
    fn the_numbers_that_are_said_to_fit_do_fit() {
        let mut plan = plan("fits");
        let whole = plan.privacy.epsilon().epsilon;
        let cap = 0.8 * whole;
        let found = forecast(&plan, &with_cap(cap));
        let fits = found.rounds_within_cap.unwrap();
        assert!(rounds_within(&plan.privacy, cap) == fits && fits < found.rounds);
        let sigma = found.noise_multiplier_within_cap.unwrap();
        let sigma = adafed_privacy::NoiseMultiplier::new(sigma).unwrap();
        plan.privacy.warmup.noise_multiplier = sigma;
        plan.privacy.main.noise_multiplier = sigma;
        let epsilon = plan.privacy.epsilon().epsilon;
        assert!(epsilon <= cap && epsilon > 0.99 * cap, "{epsilon} of {cap}");
    }

    #[test]
    fn a_cap_below_one_round_is_impossible_whoever_takes_part() {
        let plan = plan("dear");
        let found = forecast(&plan, &with_cap(0.5 * one_round(&plan.privacy)));
        assert!(!found.possible);
        assert!(found.reasons[0].contains("one round alone"), "{:?}", found.reasons);
        assert_eq!(found.rounds_within_cap, Some(0));
    }

    #[test]
    fn too_few_devices_for_the_cap_are_told_what_would_fit() {
        let plan = plan("few");
        let cap = 0.8 * plan.privacy.epsilon().epsilon;
        let few = TaskSettings { population: Some(1), ..with_cap(cap) };
        let found = forecast(&plan, &few);
        assert!(!found.possible && found.reasons[0].contains("rounds would fit"));
        let enough = TaskSettings { population: Some(100), ..with_cap(cap) };
        assert!(forecast(&plan, &enough).possible);
    }
}
