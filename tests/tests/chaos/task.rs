//! The task of a run: a warm-up round, then half the coordinates under a mask.

use adafed::algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Retention, Schedule, SgdSettings,
    TensorLayout,
};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
    SamplingRate, TrustModel,
};
use adafed_tests::fixture::Failure;
use adafed_wire::{RoundPlan, TaskPlan};

use super::model::{DEADLINE_MS, MOMENTUM, RATE};
use super::operations::Task;

pub(crate) fn plan(task: &Task) -> Result<TaskPlan, Failure> {
    let optimizer = SgdSettings { learning_rate: RATE, final_share: 1.0, momentum: MOMENTUM };
    Ok(TaskPlan {
        task: "chaos".parse()?,
        model: "{}".into(),
        layout: Layout {
            tensors: vec![TensorLayout { name: "w".into(), shape: vec![task.coordinates] }],
        },
        privacy: privacy(task.rounds)?,
        algorithm: AlgorithmPlan {
            importance: ImportanceRule::Abs,
            random_seed: 1,
            retention: Retention::new(0.5, 0.8, Schedule::Linear)?,
            scale: "minimal:coordinate".parse()?,
            optimizer,
            local_learning_rate: 0.0,
        },
        rounds: RoundPlan {
            cohort: task.cohort,
            report_goal: task.report_goal,
            least_reports: task.least_reports,
            deadline_ms: DEADLINE_MS,
            retry_after_ms: 1_000,
        },
        federation: FederationPlan::default(),
    })
}

fn privacy(rounds: u64) -> Result<PrivacyPlan, Failure> {
    let noise_multiplier = NoiseMultiplier::new(1.0)?;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    Ok(PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.1)?,
        nominal_examples: 100,
        clip: ClipNorm::new(1.0)?,
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5)?,
        local_steps: 2,
        warmup: phase(1),
        main: phase(rounds - 1),
    })
}

/// What one unit of an upload adds to a device's mean gradient: 2^shift grid / (E L).
pub(crate) fn unit(plan: &TaskPlan, round: u64) -> f64 {
    let privacy = &plan.privacy;
    let grid = privacy.clip.value() / f64::from(privacy.resolution_bits.steps_per_clip());
    let uses = f64::from(privacy.local_steps) * privacy.expected_batch();
    f64::from(plan.upload_shift(round)).exp2() * grid / uses
}
