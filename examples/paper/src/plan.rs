//! From settings to a task's plan: the noise that meets the budget.

use adafed::algorithm::{AlgorithmPlan, FederationPlan, ImportanceRule, Layout, SgdSettings};
use adafed::nn::ModelSpec;
use adafed::privacy::accounting::calibration::{CalibrateBy, PhaseShape, Target, noise_multiplier};
use adafed::privacy::{
    Adjacency, ClipNorm, Composition, Delta, Epsilon, NoiseMultiplier, PrivacyPhase, PrivacyPlan,
    ResolutionBits, SamplingRate, TrustModel,
};
use adafed::wire::{RoundPlan, TaskId, TaskPlan};

use crate::released::{ReleasePlan, Uses};
use crate::result::Beside;
use crate::settings::{Quantile, Ranking, SecondMoment, Settings};
use crate::{Error, moment, quantile};

/// The plans of a run: of training, and of what else is released.
pub(crate) struct Plans {
    /// Training.
    pub(crate) training: TaskPlan,
    /// The second moment, where one is released.
    pub(crate) second_moment: Option<ReleasePlan>,
    /// The counts that the clip norm follows, where it does.
    pub(crate) counts: Option<ReleasePlan>,
}

impl Plans {
    /// What is released beside the gradients.
    pub(crate) fn beside(&self) -> Vec<Beside> {
        let plans = [("second moment", &self.second_moment), ("counts", &self.counts)];
        let beside = |(what, plan): (&'static str, &Option<ReleasePlan>)| {
            let privacy = plan.as_ref()?.privacy();
            let noise_multiplier = privacy.least_noise_multiplier().value();
            let (what, rate, releases) = (what.to_owned(), privacy.rate.value(), privacy.rounds());
            Some(Beside { what, noise_multiplier, rate, releases })
        };
        plans.into_iter().filter_map(beside).collect()
    }

    /// Every plan by which something is released.
    fn all(&self) -> impl Iterator<Item = &TaskPlan> {
        let beside = [&self.second_moment, &self.counts].into_iter().flatten();
        beside.map(ReleasePlan::task).chain([&self.training])
    }

    /// All releases of the run.
    pub(crate) fn composition(&self) -> Composition {
        let plans = self.all().map(|plan| &plan.privacy);
        plans.flat_map(|plan| (0..plan.rounds()).filter_map(|r| plan.round_event(r))).collect()
    }

    /// Expected upload of one device over the run, in bytes.
    pub(crate) fn bytes_up(&self) -> u64 {
        let bytes = |plan: &TaskPlan| {
            (0..plan.privacy.rounds()).map(|r| plan.expected_update_bytes(r)).sum::<u64>()
        };
        self.all().map(bytes).sum()
    }
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
    settings.check()?;
    let (epsilon, delta) = (Epsilon::new(settings.epsilon)?, Delta::new(settings.delta)?);
    let (adjacency, by) = (Adjacency::AddRemove, CalibrateBy::Tightest);
    let target = Target { epsilon, delta, adjacency, by };
    let rate = rate(settings.batch, examples)?;
    let rounds = rounds(settings, rate);
    let noise = multipliers(settings, &target, rate, rounds, examples)?;
    let least = u64::from(settings.warmup > 0.0);
    let warmup = ((settings.warmup * rounds as f64).round() as u64).clamp(least, rounds);
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier: noise.step };
    let devices = settings.devices.max(1);
    let privacy = PrivacyPlan {
        trust: TrustModel::Local,
        adjacency,
        rate,
        nominal_examples: (examples / devices).max(1) as u32,
        clip: ClipNorm::new(settings.clip)?,
        resolution_bits: ResolutionBits::DEFAULT,
        delta,
        local_steps: settings.local_steps,
        warmup: phase(warmup),
        main: phase(rounds.saturating_sub(warmup)),
    };
    let counts = noise.counts.map(|uses| quantile::plan(settings, &privacy, uses)).transpose()?;
    let inputs = spec.input.iter().product();
    let second_moment =
        noise.second_moment.map(|uses| moment::plan(settings, &privacy, uses, examples, inputs));
    let second_moment = second_moment.transpose()?;
    let training = task(settings, spec, layout, privacy)?;
    Ok(Plans { training, second_moment, counts })
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
            // A run puts its own seed in.
            random_seed: 0,
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

/// Sampling rate for `batch` expected examples; 0 stands for all, without sampling.
fn rate(batch: usize, examples: usize) -> Result<SamplingRate, Error> {
    let share = (batch as f64 / examples as f64).min(1.0);
    Ok(SamplingRate::new(if batch == 0 { 1.0 } else { share })?)
}

/// The noise of each kind of release.
struct Noise {
    step: NoiseMultiplier,
    second_moment: Option<Uses>,
    counts: Option<Uses>,
}

/// Noise multipliers that together meet the budget: a release beside training has its share of
/// mu^2, the sum over uses of (rate / noise)^2, as far as sampling leaves that alone.
fn multipliers(
    settings: &Settings,
    target: &Target,
    rate: SamplingRate,
    rounds: u64,
    examples: usize,
) -> Result<Noise, Error> {
    let steps = rounds * u64::from(settings.local_steps);
    let mut beside = Vec::new();
    if let Some(SecondMoment { share, .. }) = settings.second_moment() {
        beside.push((SamplingRate::new(1.0)?, 1, share));
    }
    if let Some(Quantile { share, batch, .. }) = settings.quantile {
        beside.push((self::rate(batch, examples)?, rounds, share));
    }
    let left = beside.iter().fold(1.0, |left, (.., share)| left - share);
    if beside.iter().any(|(.., share)| !(*share > 0.0 && *share < 1.0)) || left <= 0.0 {
        let expected = "numbers above 0, together below 1".to_owned();
        return Err(Error::Settings { what: "shares of second-moment and quantile", expected });
    }
    let shape = |(rate, steps, share): (SamplingRate, u64, f64)| {
        let relative_noise = rate.value() * (steps as f64 / share).sqrt();
        PhaseShape { rate, steps, relative_noise }
    };
    let training = match beside.is_empty() {
        true => PhaseShape { rate, steps, relative_noise: 1.0 },
        false => shape((rate, steps, left)),
    };
    let mut shapes: Vec<PhaseShape> = beside.into_iter().map(shape).collect();
    shapes.push(training);
    let base = noise_multiplier(target, &shapes)?.value();
    let mut all = shapes.iter().map(|shape| {
        let noise_multiplier = NoiseMultiplier::new(base * shape.relative_noise)?;
        Ok::<_, Error>(Uses { rate: shape.rate, rounds: shape.steps, noise_multiplier })
    });
    Ok(Noise {
        second_moment: settings.second_moment().and_then(|_| all.next()).transpose()?,
        counts: settings.quantile.and_then(|_| all.next()).transpose()?,
        step: NoiseMultiplier::new(base * training.relative_noise)?,
    })
}

/// Rounds of a run, of which settings that were checked say either the number or the epochs.
fn rounds(settings: &Settings, rate: SamplingRate) -> u64 {
    let steps = |epochs: f64| (epochs / rate.value()).round() as u64;
    let rounds = |epochs| (steps(epochs) / u64::from(settings.local_steps.max(1))).max(1);
    settings.rounds.or(settings.epochs.map(rounds)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use adafed::nn::Model;

    use super::*;

    fn planned(more: &str) -> Result<Plans, Error> {
        let text = format!(
            "data = \"digits\"\nmodel = \"linear\"\nepsilon = 4\nbatch = 100\nrounds = 3\n\
             clip = 1\nlearning-rate = 1\n{more}"
        );
        let settings: Settings = toml::from_str(&text).unwrap();
        let spec = settings.model.spec(&[1, 8, 8], 10);
        plans(&settings, &spec, Model::new(&spec).unwrap().layout(), 1000)
    }

    #[test]
    fn a_second_moment_is_of_one_device() {
        const MOMENT: &str = "second-moment = { share = 0.1, ridge = 1 }";
        let plans = planned(MOMENT).unwrap();
        let [beside] = plans.beside().try_into().unwrap();
        assert_eq!((beside.what.as_str(), beside.rate, beside.releases), ("second moment", 1.0, 1));
        let error = planned(&format!("devices = 2\n{MOMENT}")).err().unwrap().to_string();
        assert!(error.contains("second-moment") && error.contains("one device"), "{error}");
        // 64 x 64 values of ten bits or so.
        let more = plans.bytes_up() - planned("").unwrap().bytes_up();
        assert!((4096..3 * 4096).contains(&more), "{more} bytes for the moment");
    }

    #[test]
    fn an_oracle_needs_a_warmup() {
        let error = planned("importance = \"oracle\"").err().unwrap().to_string();
        assert!(error.contains("warmup: above 0 for an oracle"), "{error}");
    }
}
