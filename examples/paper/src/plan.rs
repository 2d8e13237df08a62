//! From settings to a task's plan: the noise that meets the budget.

use adafed::algorithm::{AlgorithmPlan, FederationPlan, ImportanceRule, Layout, SgdSettings};
use adafed::nn::ModelSpec;
use adafed::privacy::accounting::calibration::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, Epsilon, NoiseMultiplier, PrivacyPhase, PrivacyPlan,
    ResolutionBits, SamplingRate, TrustModel,
};
use adafed::wire::{RoundPlan, TaskId, TaskPlan};

use crate::Error;
use crate::settings::{Ranking, SecondMoment, Settings};

/// The plans of a run.
pub(crate) struct Plans {
    /// Training.
    pub(crate) training: TaskPlan,
    /// Noise multiplier of the second moment, where one is released.
    pub(crate) second_moment: Option<NoiseMultiplier>,
}

/// The plans of a run over `examples` training examples.
///
/// # Errors
/// Settings that contradict each other, or a budget that nothing meets.
pub(crate) fn plans(
    settings: &Settings,
    spec: &ModelSpec,
    layout: &Layout,
    examples: usize,
) -> Result<Plans, Error> {
    let (privacy, second_moment) = privacy(settings, examples)?;
    let training = task(settings, spec, layout, privacy)?;
    Ok(Plans { training, second_moment })
}

/// A task of given privacy.
///
/// # Errors
/// What makes the plan impossible.
pub(crate) fn task(
    settings: &Settings,
    spec: &ModelSpec,
    layout: &Layout,
    privacy: PrivacyPlan,
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
        privacy,
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

fn privacy(
    settings: &Settings,
    examples: usize,
) -> Result<(PrivacyPlan, Option<NoiseMultiplier>), Error> {
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
    let (noise_multiplier, second_moment) = multipliers(settings, &target, rate, steps)?;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    let plan = PrivacyPlan {
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
    };
    Ok((plan, second_moment))
}

/// The noise of a step, and of the second moment where one is released: the moment has its
/// share of mu^2, the sum over steps of (rate / noise)^2, as far as sampling leaves that alone.
fn multipliers(
    settings: &Settings,
    target: &Target,
    rate: SamplingRate,
    steps: u64,
) -> Result<(NoiseMultiplier, Option<NoiseMultiplier>), Error> {
    let training = PhaseShape { rate, steps, relative_noise: 1.0 };
    let Some(SecondMoment { share, .. }) = settings.second_moment else {
        return Ok((noise_multiplier(target, &[training])?, None));
    };
    if !(share > 0.0 && share < 1.0) {
        let expected = "a number above 0 and below 1".to_owned();
        return Err(Error::Settings { what: "share of the second moment", expected });
    }
    let whole = SamplingRate::new(1.0)?;
    let relative = [1.0 / share.sqrt(), rate.value() * (steps as f64 / (1.0 - share)).sqrt()];
    let shapes = [
        PhaseShape { rate: whole, steps: 1, relative_noise: relative[0] },
        PhaseShape { relative_noise: relative[1], ..training },
    ];
    let base = noise_multiplier(target, &shapes)?.value();
    let [moment, step] = relative.map(|relative| NoiseMultiplier::new(base * relative));
    Ok((step?, Some(moment?)))
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
