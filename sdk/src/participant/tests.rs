//! A device on a task whose model has features.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use adafed_algorithm::{AlgorithmPlan, FederationPlan, ImportanceRule, Mask, SgdSettings};
use adafed_algorithm::{Pooling, Retention, Standardisation};
use adafed_privacy::{
    Adjacency, ClipNorm, Delta, Epsilon, NoiseMultiplier, NoiseSeed, PrivacyPhase, PrivacyPlan,
    ResolutionBits, SamplingRate, TrustModel,
};
use adafed_wire::{
    Assignment, MaskMessage, Message, ModelMessage, PackedIntegers, RoundPlan, ScaleMessage,
    TaskPlan, Update, encode,
};

use super::*;
use crate::data::features::FeatureSpec;
use crate::data::{Examples, digits};
use crate::nn::{LayerSpec, Loss, Model, ModelSpec};
use crate::store::FileStore;
use crate::transport::{self, Request, Response};

const EXAMPLES: usize = 100;

fn task() -> TaskId {
    "features".parse().unwrap()
}

fn features() -> FeatureSpec {
    serde_json::from_str(
        r#"{"type": "patches", "images": 70, "whitening": {"directions": 12, "ridge": 0.1,
            "constant": 0.3}, "filters": {"seed": 3, "images": 20, "sizes": [5], "pairs": 4,
            "ridge": 0.3, "threshold": 0.8, "grid": 2}}"#,
    )
    .unwrap()
}

fn spec() -> ModelSpec {
    ModelSpec {
        input: vec![1, 28, 28],
        features: Some(features()),
        layers: vec![LayerSpec::linear(13, 10)],
        loss: Loss::CrossEntropy,
    }
}

/// The same layers on features that an app has computed.
fn by_hand() -> (ModelSpec, Examples) {
    let data = digits(1, EXAMPLES);
    let made = features().build(data.shape()).unwrap();
    let spec = ModelSpec { input: vec![13], features: None, ..spec() };
    (spec, data.with_features(&*made).unwrap())
}

fn plan(spec: &ModelSpec) -> TaskPlan {
    let noise_multiplier = NoiseMultiplier::new(1.2).unwrap();
    let phase = PrivacyPhase { rounds: 1, noise_multiplier };
    TaskPlan {
        task: task(),
        model: serde_json::to_string(spec).unwrap(),
        layout: spec.layout().unwrap(),
        privacy: PrivacyPlan {
            trust: TrustModel::Local,
            adjacency: Adjacency::AddRemove,
            rate: SamplingRate::new(0.5).unwrap(),
            nominal_examples: EXAMPLES as u32,
            clip: ClipNorm::new(1.0).unwrap(),
            resolution_bits: ResolutionBits::DEFAULT,
            delta: Delta::new(1e-5).unwrap(),
            local_steps: 2,
            warmup: phase,
            main: phase,
        },
        algorithm: AlgorithmPlan {
            importance: ImportanceRule::Debiased,
            random_seed: 7,
            retention: Retention::full(),
            scale: "none".parse().unwrap(),
            optimizer: SgdSettings { learning_rate: 0.3, final_share: 1.0, momentum: 0.5 },
            local_learning_rate: 0.3,
        },
        rounds: RoundPlan {
            cohort: 1,
            report_goal: 1,
            least_reports: 1,
            deadline_ms: 600_000,
            retry_after_ms: 10,
        },
        federation: FederationPlan::default(),
    }
}

/// A server of two rounds on the same model.
struct Server {
    plan: TaskPlan,
    contents: HashMap<String, Vec<u8>>,
    assignment: Assignment,
    round: AtomicU64,
}

impl Server {
    fn new(spec: &ModelSpec) -> Self {
        let (plan, mut contents) = (plan(spec), HashMap::new());
        let mut keep = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            contents.insert(digest.to_string(), bytes);
            digest
        };
        let model = Model::new(spec).unwrap();
        let (mask, none) = (Mask::full(model.parameters()), Standardisation::none());
        let scale = ScaleMessage::new(&none, &mask, &plan.layout, Pooling::Coordinate);
        let assignment = Assignment {
            round: 0,
            plan: plan.digest().unwrap(),
            model: keep(encode(&ModelMessage { parameters: model.initial(1) }).unwrap()),
            mask: keep(encode(&MaskMessage::new(&mask)).unwrap()),
            scale: keep(encode(&scale).unwrap()),
        };
        Self { plan, contents, assignment, round: AtomicU64::new(0) }
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let round = self.round.load(Ordering::Relaxed);
        match (request.method, &request.path[..]) {
            ("POST", path::CHECKIN) => bytes(&match round {
                0..2 => CheckinResponse::Join(Assignment { round, ..self.assignment.clone() }),
                _ => CheckinResponse::Finished { model: self.assignment.model },
            }),
            ("GET", path) if path.ends_with("/plan") => bytes(&self.plan),
            ("GET", path) => self.contents[path.rsplit('/').next().unwrap()].clone(),
            ("PUT", _) => {
                self.round.fetch_add(1, Ordering::Relaxed);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

fn bytes<M: Message>(message: &M) -> Vec<u8> {
    encode(message).unwrap()
}

impl Transport for Server {
    fn send(&self, request: &Request) -> Result<Response, transport::Error> {
        Ok(Response { status: 200, body: self.answer(request) })
    }
}

/// Says no at the listed questions.
#[derive(Default)]
struct Interrupting(Vec<usize>, AtomicUsize);

impl Conditions for Interrupting {
    fn verdict(&self) -> Verdict {
        let asked = self.1.fetch_add(1, Ordering::Relaxed);
        if self.0.contains(&asked) { Verdict::Pause } else { Verdict::Go }
    }
}

type Device = Participant<Server, FileStore>;

fn device(folder: &Path, spec: &ModelSpec, data: Examples, interrupted: Vec<usize>) -> Device {
    let policy = Policy::new(Epsilon::new(50.0).unwrap(), Delta::new(1e-5).unwrap()).unwrap();
    Participant::builder(task())
        .transport(Server::new(spec))
        .store(FileStore::open(folder).unwrap())
        .data(Arc::new(data))
        .policy(policy)
        .conditions(Arc::new(Interrupting(interrupted, AtomicUsize::new(0))))
        .build()
        .unwrap()
}

/// Ticks to an activity, and what was seen before it.
fn tick_until(device: &mut Device, is_it: impl Fn(&Activity) -> bool) -> Vec<Activity> {
    let mut seen = Vec::new();
    loop {
        let activity = device.tick().unwrap().activity;
        if is_it(&activity) {
            return seen;
        }
        assert!(seen.len() < 1000, "{activity:?}");
        seen.push(activity);
    }
}

/// Joins, under a seed that is the same for all.
fn join(device: &mut Device) {
    tick_until(device, |a| matches!(a, Activity::Joined { .. }));
    let Phase::Training(job) = &mut device.phase else { panic!("it has joined") };
    job.reseed(NoiseSeed::predictable(5));
}

/// What the round releases, and what was done for it.
fn release(device: &mut Device) -> (PackedIntegers, Vec<Activity>) {
    let seen = tick_until(device, |a| matches!(a, Activity::Released { .. }));
    let Phase::Uploading(outbox) = &device.phase else { panic!("it is released") };
    (decode::<Update>(&outbox.body).unwrap().values, seen)
}

fn prepared(seen: &[Activity]) -> usize {
    seen.iter().filter(|activity| matches!(activity, Activity::Prepared { .. })).count()
}

/// What the layers alone release on features that were computed by hand.
fn expected() -> PackedIntegers {
    let (spec, data) = by_hand();
    let folder = tempfile::tempdir().unwrap();
    let mut device = device(folder.path(), &spec, data, vec![]);
    join(&mut device);
    let (values, seen) = release(&mut device);
    assert_eq!(prepared(&seen), 0, "there is nothing to prepare");
    values
}

#[test]
fn a_device_trains_on_features_as_if_they_had_been_computed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = device(folder.path(), &spec(), digits(1, EXAMPLES), vec![]);
    join(&mut device);
    let (values, seen) = release(&mut device);
    assert_eq!(values, expected());
    // Filters; responses to 64 images and to 6; their mean, and taking it off both; a basis, three
    // iterations, and what whitens; two pieces of examples.
    assert_eq!(prepared(&seen), 13);
    let second = tick_until(&mut device, |a| matches!(a, Activity::Released { round: 1 }));
    assert_eq!(prepared(&second), 2, "a later round only looks at the examples");
    tick_until(&mut device, |a| *a == Activity::Finished);
    assert_eq!(device.seen.unwrap().examples(1).map(Dataset::len), None, "none are held");
}

#[test]
fn what_the_host_calls_off_is_repeated_to_the_same_release() {
    let folder = tempfile::tempdir().unwrap();
    let interrupted = vec![9, 30, 60, 100, 150, 200, 250, 300, 350];
    let mut device = device(folder.path(), &spec(), digits(1, EXAMPLES), interrupted);
    join(&mut device);
    let (values, seen) = release(&mut device);
    assert!(seen.iter().filter(|a| **a == Activity::Paused).count() > 4, "{seen:?}");
    assert_eq!(values, expected());
}

#[test]
fn a_restored_round_makes_its_features_again_and_releases_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = device(folder.path(), &spec(), digits(1, EXAMPLES), vec![]);
    join(&mut first);
    tick_until(&mut first, |a| matches!(a, Activity::Trained { steps: 1, .. }));
    let saved = first.save().unwrap().unwrap();
    drop(first);
    let mut second = device(folder.path(), &spec(), digits(1, EXAMPLES), vec![]);
    second.restore(&saved).unwrap();
    let (values, seen) = release(&mut second);
    assert_eq!((values, prepared(&seen)), (expected(), 13));
}

#[test]
fn the_federations_model_predicts_from_raw_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let data = digits(1, EXAMPLES);
    let mut device = device(folder.path(), &spec(), data.clone(), vec![]);
    join(&mut device);
    let GlobalModel { model, parameters } = device.global_model().unwrap().unwrap();
    release(&mut device);
    let again = device.global_model().unwrap().unwrap().model;
    let (layers, seen) = by_hand();
    let layers = Model::new(&layers).unwrap();
    let outputs = layers.predict(&parameters, seen.inputs(), EXAMPLES).unwrap();
    for model in [model, again] {
        assert_eq!(model.predict(&parameters, data.inputs(), EXAMPLES).unwrap(), outputs);
    }
}

#[test]
fn examples_that_features_do_not_take_are_refused_before_a_charge() {
    let folder = tempfile::tempdir().unwrap();
    let (_, seen) = by_hand();
    let mut device = device(folder.path(), &spec(), seen, vec![]);
    tick_until(&mut device, |a| *a == Activity::Enrolled);
    let error = device.tick().unwrap_err();
    assert!(matches!(error, Error::ExampleShape { .. }), "{error}");
    assert_eq!(device.ledger().charged_rounds("features").count(), 0);
}
