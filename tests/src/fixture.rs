//! Small federations for tests: a linear model, few rounds, a server of their own.

use std::path::Path;
use std::sync::Arc;

use adafed::algorithm::{AlgorithmPlan, FederationPlan, ImportanceRule, SgdSettings};
use adafed::data::Examples;
use adafed::nn::{LayerSpec, Loss, Model, ModelSpec};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, Epsilon, NoiseMultiplier, Policy, PrivacyPhase, PrivacyPlan,
    ResolutionBits, SamplingRate, TrustModel,
};
use adafed::store::FileStore;
use adafed::transport::{HttpTransport, Transport};
use adafed::wire::{RoundPlan, TaskId, TaskPlan};
use adafed::{Error, Participant};

/// What goes wrong in a fixture is a bug of the test.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Name of every test's task.
///
/// # Errors
/// Never: the name is valid.
pub fn task() -> Result<TaskId, Failure> {
    Ok("test".parse()?)
}

/// A linear classifier of 28x28 digits, 7,850 parameters.
#[must_use]
pub fn spec() -> ModelSpec {
    ModelSpec {
        input: vec![1, 28, 28],
        features: None,
        layers: vec![LayerSpec::Flatten, LayerSpec::linear(784, 10)],
        loss: Loss::CrossEntropy,
    }
}

/// Privacy of a short, loud run: epsilon near 10.
///
/// # Errors
/// Never: the constants are valid.
pub fn privacy(warmup: u64, main: u64, local_steps: u32) -> Result<PrivacyPlan, Failure> {
    let noise_multiplier = NoiseMultiplier::new(1.2)?;
    Ok(PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.5)?,
        nominal_examples: 200,
        clip: ClipNorm::new(1.0)?,
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5)?,
        local_steps,
        warmup: PrivacyPhase { rounds: warmup, noise_multiplier },
        main: PrivacyPhase { rounds: main, noise_multiplier },
    })
}

/// A task's plan over [`privacy`], for `cohort` devices a round.
///
/// # Errors
/// Never: the constants are valid.
pub fn plan(privacy: PrivacyPlan, cohort: u32) -> Result<TaskPlan, Failure> {
    let spec = spec();
    Ok(TaskPlan {
        task: task()?,
        model: serde_json::to_string(&spec)?,
        layout: spec.layout()?,
        privacy,
        algorithm: AlgorithmPlan {
            importance: ImportanceRule::Debiased,
            random_seed: 7,
            retention: "0.3:0.9:linear".parse()?,
            scale: "minimal:row".parse()?,
            optimizer: SgdSettings { learning_rate: 0.3, final_share: 1.0, momentum: 0.5 },
            local_learning_rate: 0.3,
        },
        rounds: RoundPlan {
            cohort,
            report_goal: cohort,
            least_reports: cohort,
            deadline_ms: 600_000,
            retry_after_ms: 10,
        },
        federation: FederationPlan::default(),
    })
}

/// The first parameters of [`spec`]'s model.
///
/// # Errors
/// Never: the model is valid.
pub fn parameters() -> Result<Vec<f32>, Failure> {
    Ok(Model::new(&spec())?.initial(1))
}

/// A policy that allows the plans of these tests.
///
/// # Errors
/// Never: the constants are valid.
pub fn policy(epsilon_cap: f64) -> Result<Policy, Failure> {
    Ok(Policy::new(Epsilon::new(epsilon_cap)?, Delta::new(1e-5)?)?)
}

/// A device with a folder of its own.
///
/// # Errors
/// Those of building a participant.
pub fn device<T: Transport>(
    folder: &Path,
    transport: T,
    token: &str,
    data: Examples,
    policy: Policy,
) -> Result<Participant<T, FileStore>, Failure> {
    let builder = Participant::builder(task()?)
        .transport(transport)
        .store(FileStore::open(folder)?)
        .data(Arc::new(data))
        .policy(policy)
        .token(token);
    Ok(builder.build()?)
}

/// A transport to a server on this machine.
///
/// # Errors
/// Those of setting up the client.
pub fn http(address: &str) -> Result<HttpTransport, Failure> {
    Ok(HttpTransport::new(address).map_err(Error::from)?)
}
