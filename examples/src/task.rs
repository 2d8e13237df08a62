//! From settings to a task: the noise that meets the budget, and what a run will cost.

use adafed::algorithm::{AlgorithmPlan, SgdSettings};
use adafed::nn::{Model, ModelSpec};
use adafed::privacy::accounting::EpsilonBound;
use adafed::privacy::accounting::calibration::{
    CalibrateBy, Span, Split, Target, equal_split, optimal_split,
};
use adafed::privacy::{Adjacency, PrivacyPhase, PrivacyPlan, ResolutionBits, TrustModel};
use adafed::wire::{RoundPlan, TaskId, TaskPlan};

use crate::Error;
use crate::settings::{Settings, SplitRule};

/// Time after which a round is closed with the reports it has.
const DEADLINE_MS: u64 = 120_000;
/// How often a waiting device asks again. Short: everything runs on one machine.
const RETRY_AFTER_MS: u64 = 20;

/// A task that is ready to be created.
#[derive(Debug)]
pub struct Task {
    /// Its plan.
    pub plan: TaskPlan,
    /// Its first parameters.
    pub parameters: Vec<f32>,
    /// Epsilon of a device that takes part in every round.
    pub epsilon: EpsilonBound,
}

impl Task {
    /// Calibrates the noise and puts the plan together, for devices of nominally
    /// `nominal_examples` examples each.
    ///
    /// # Errors
    /// What makes the settings impossible, such as an epsilon too small for the steps.
    pub fn new(
        settings: &Settings,
        spec: &ModelSpec,
        nominal_examples: u32,
    ) -> Result<Self, Error> {
        let model = Model::new(spec).map_err(adafed::Error::from)?;
        let plan = TaskPlan {
            task: TaskId::try_from("simulation".to_owned())?,
            model: serde_json::to_string(spec)?,
            layout: model.layout().clone(),
            privacy: privacy_plan(settings, nominal_examples)?,
            algorithm: algorithm_plan(settings),
            rounds: round_plan(settings),
            federation: settings.federation,
        };
        plan.check()?;
        let parameters = model.initial(settings.seed);
        let epsilon = plan.privacy.epsilon();
        Ok(Self { plan, parameters, epsilon })
    }
}

fn privacy_plan(settings: &Settings, nominal_examples: u32) -> Result<PrivacyPlan, Error> {
    let warmup_rounds = settings.warmup_rounds.min(settings.rounds);
    let main_rounds = settings.rounds - warmup_rounds;
    let adjacency = Adjacency::AddRemove;
    let (epsilon, delta, by) = (settings.epsilon, settings.delta, CalibrateBy::Tightest);
    let target = Target { epsilon, delta, adjacency, by };
    let span = |rounds: u64| Span {
        rate: settings.rate,
        steps: rounds.saturating_mul(u64::from(settings.local_steps)),
    };
    let (before, after) = (span(warmup_rounds), span(main_rounds));
    let Split { warmup, main } = match settings.split {
        SplitRule::Equal => equal_split(&target, before, after)?,
        SplitRule::Optimal => optimal_split(&target, before, after, settings.retention.mean())?,
    };
    Ok(PrivacyPlan {
        trust: TrustModel::Local,
        adjacency,
        rate: settings.rate,
        nominal_examples,
        clip: settings.clip,
        resolution_bits: ResolutionBits::DEFAULT,
        delta: settings.delta,
        local_steps: settings.local_steps,
        warmup: PrivacyPhase { rounds: warmup_rounds, noise_multiplier: warmup },
        main: PrivacyPhase { rounds: main_rounds, noise_multiplier: main },
    })
}

fn algorithm_plan(settings: &Settings) -> AlgorithmPlan {
    let mut scale = settings.scale;
    scale.centre = settings.centre;
    AlgorithmPlan {
        importance: settings.importance,
        random_seed: settings.seed,
        retention: settings.retention,
        scale,
        optimizer: SgdSettings {
            learning_rate: settings.learning_rate,
            final_share: settings.final_share,
            momentum: settings.momentum,
        },
        local_learning_rate: settings.learning_rate,
    }
}

fn round_plan(settings: &Settings) -> RoundPlan {
    let cohort = settings.cohort();
    RoundPlan {
        cohort,
        report_goal: cohort,
        least_reports: cohort.div_ceil(2),
        deadline_ms: DEADLINE_MS,
        retry_after_ms: RETRY_AFTER_MS,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn plan(flags: &[&str]) -> PrivacyPlan {
        let arguments = ["simulate"].iter().chain(flags);
        let matches = Cli::command().try_get_matches_from(arguments).unwrap();
        privacy_plan(&Cli::from_arg_matches(&matches).unwrap().settings, 600).unwrap()
    }

    #[test]
    fn an_optimal_split_spends_the_same_budget_with_less_noise_in_the_warm_up() {
        let flags = ["--rounds", "60", "--warmup-rounds", "10", "--retention", "0.3"];
        let equal = plan(&flags);
        let optimal = plan(&[&flags[..], &["--split", "optimal"]].concat());
        assert_eq!(equal.warmup.noise_multiplier, equal.main.noise_multiplier);
        assert!(optimal.warmup.noise_multiplier < optimal.main.noise_multiplier);
        for plan in [equal, optimal] {
            assert!((7.99..=8.0).contains(&plan.epsilon().epsilon));
        }
    }

    #[test]
    fn a_run_without_a_warm_up_has_one_multiplier() {
        let plan = plan(&["--rounds", "60", "--warmup-rounds", "0", "--split", "optimal"]);
        assert_eq!(plan.warmup.noise_multiplier, plan.main.noise_multiplier);
    }
}
