//! From settings to a task's plan: the noise that meets the budget.

use adafed::algorithm::{AlgorithmPlan, FederationPlan, ImportanceRule, Layout, SgdSettings};
use adafed::nn::ModelSpec;
use adafed::privacy::accounting::calibration::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, Epsilon, PrivacyPhase, PrivacyPlan, ResolutionBits, SamplingRate,
    TrustModel,
};
use adafed::wire::{RoundPlan, TaskId, TaskPlan};

use crate::Error;
use crate::settings::{Ranking, Settings};

/// The plan of a run over `examples` training examples.
///
/// # Errors
/// Settings that contradict each other, or a budget that nothing meets.
pub(crate) fn plan(
    settings: &Settings,
    spec: &ModelSpec,
    layout: &Layout,
    examples: usize,
) -> Result<TaskPlan, Error> {
    let importance = match settings.importance {
        Ranking::Released(rule) => rule,
        // The driver puts the mask in; the plan's own ranking is not used.
        Ranking::Oracle => ImportanceRule::Random,
    };
    let mut scale = settings.scale;
    (scale.centre, scale.beta2, scale.floor) = (settings.centre, settings.beta2, settings.floor);
    let plan = TaskPlan {
        task: TaskId::try_from("paper".to_owned())?,
        model: serde_json::to_string(spec)?,
        layout: layout.clone(),
        privacy: privacy(settings, examples)?,
        algorithm: AlgorithmPlan {
            importance,
            random_seed: 1,
            retention: settings.retention,
            scale,
            optimizer: SgdSettings {
                learning_rate: settings.learning_rate,
                final_share: settings.final_share,
                momentum: settings.momentum,
            },
            local_learning_rate: settings.learning_rate,
        },
        rounds: round_plan(settings.devices as u32),
        federation: FederationPlan { refresh: settings.refresh, ..Default::default() },
    };
    plan.check()?;
    Ok(plan)
}

fn round_plan(devices: u32) -> RoundPlan {
    let (deadline_ms, retry_after_ms) = (60_000, 1_000);
    let (cohort, report_goal, least_reports) = (devices, devices, devices);
    RoundPlan { cohort, report_goal, least_reports, deadline_ms, retry_after_ms }
}

fn privacy(settings: &Settings, examples: usize) -> Result<PrivacyPlan, Error> {
    let (epsilon, delta) = (Epsilon::new(settings.epsilon)?, Delta::new(settings.delta)?);
    let (adjacency, by) = (Adjacency::AddRemove, CalibrateBy::Tightest);
    let target = Target { epsilon, delta, adjacency, by };
    let rate = match settings.batch {
        0 => 1.0,
        batch => (batch as f64 / examples as f64).min(1.0),
    };
    let rate = SamplingRate::new(rate)?;
    let rounds = rounds(settings, rate)?;
    let least = u64::from(settings.warmup > 0.0);
    let warmup = ((settings.warmup * rounds as f64).round() as u64).clamp(least, rounds);
    let steps = rounds * u64::from(settings.local_steps);
    let shape = PhaseShape { rate, steps, relative_noise: 1.0 };
    let noise_multiplier = noise_multiplier(&target, &[shape])?;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    Ok(PrivacyPlan {
        trust: TrustModel::Local,
        adjacency,
        rate,
        nominal_examples: (examples / settings.devices.max(1)).max(1) as u32,
        clip: ClipNorm::new(settings.clip)?,
        resolution_bits: ResolutionBits::DEFAULT,
        delta,
        local_steps: settings.local_steps,
        warmup: phase(warmup),
        main: phase(rounds.saturating_sub(warmup)),
    })
}

fn rounds(settings: &Settings, rate: SamplingRate) -> Result<u64, Error> {
    match (settings.epochs, settings.rounds) {
        (None, Some(rounds)) => Ok(rounds),
        (Some(epochs), None) => {
            let steps = (epochs / rate.value()).round() as u64;
            Ok((steps / u64::from(settings.local_steps.max(1))).max(1))
        }
        _ => Err(Error::Settings {
            what: "epochs and rounds",
            expected: "give exactly one of them".to_owned(),
        }),
    }
}
