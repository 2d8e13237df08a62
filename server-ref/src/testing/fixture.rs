//! What the tests share: a small plan, a service on a temporary file under a manual
//! clock, and devices that sign.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use adafed_algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Pooling, Retention, ScaleRule,
    ScaleSettings, Schedule, SgdSettings, TensorLayout,
};
use adafed_privacy::{
    Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
    SamplingRate, TrustModel,
};
use adafed_wire::{
    Assignment, CheckinRequest, CheckinResponse, DEVICE_HEADER, DeviceId, DeviceKey, EnrolRequest,
    Message, PackedIntegers, RoundPlan, SIGNATURE_HEADER, SignedParts, TIME_HEADER, TaskId,
    TaskPlan, TaskSettings, Update, decode, encode, path,
};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection};
use tempfile::TempDir;
use tower::ServiceExt;

use super::postgres::Postgres;
use crate::http::Problem;
use crate::store::devices::Credential;
use crate::{Clock, Database, ManualClock, ServerConfig, Service};

pub(crate) const ADMIN: &str = "an operator's long token";
/// Parameters of the plan's model.
pub(crate) const D: usize = 12;

/// One warm-up and two main rounds; cohort 3, goal 2, at least 1; half the coordinates
/// active in the main phase.
pub(crate) fn plan(name: &str) -> TaskPlan {
    let layout = Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![3, D / 3] }] };
    let rounds = RoundPlan {
        cohort: 3,
        report_goal: 2,
        least_reports: 1,
        deadline_ms: 60_000,
        retry_after_ms: 1_500,
    };
    let model = "{}".into();
    let (task, privacy, algorithm) = (name.parse().unwrap(), privacy(), algorithm());
    let federation = FederationPlan::default();
    TaskPlan { task, model, layout, privacy, algorithm, rounds, federation }
}

fn privacy() -> PrivacyPlan {
    let noise_multiplier = NoiseMultiplier::new(1.0).unwrap();
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.1).unwrap(),
        nominal_examples: 100,
        clip: ClipNorm::new(1.0).unwrap(),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5).unwrap(),
        local_steps: 2,
        warmup: PrivacyPhase { rounds: 1, noise_multiplier },
        main: PrivacyPhase { rounds: 2, noise_multiplier },
    }
}

fn algorithm() -> AlgorithmPlan {
    AlgorithmPlan {
        importance: ImportanceRule::Abs,
        random_seed: 1,
        retention: Retention::new(0.5, 0.5, Schedule::Static).unwrap(),
        scale: ScaleSettings::new(ScaleRule::Minimal, Pooling::Row),
        optimizer: SgdSettings { learning_rate: 0.5, final_share: 1.0, momentum: 0.9 },
        local_learning_rate: 0.1,
    }
}

tokio::task_local! {
    /// The database of the fixtures that a test makes; an SQLite file where none is set.
    static DATABASE: &'static Postgres;
}

/// Runs a test on PostgreSQL, on one server for all; says so where there is none.
pub(crate) async fn on_postgres(test: impl Future<Output = ()>) {
    static SERVER: LazyLock<Option<Postgres>> =
        LazyLock::new(|| Postgres::start().expect("the installed PostgreSQL starts"));
    match SERVER.as_ref() {
        Some(server) => DATABASE.scope(server, test).await,
        None => eprintln!("{}", super::postgres::SKIPPED),
    }
}

/// Runs every test that is named on both databases.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test().await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                $crate::testing::on_postgres(super::$test()).await;
            })+
        }
    };
}
pub(crate) use on_both_databases;

/// A service on a database of its own.
pub(crate) struct Fixture {
    pub(crate) service: Service,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: ServerConfig,
    // Deleted when the fixture goes.
    folder: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::configured(|_| {}).await
    }

    /// A fixture whose settings are changed first.
    pub(crate) async fn configured(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = ([127, 0, 0, 1], 0).into();
        let database = match DATABASE.try_with(|server| *server) {
            Ok(server) => server.database().await.unwrap().as_str().into(),
            Err(_) => Database::from(folder.path().join("server.sqlite")),
        };
        let mut config = ServerConfig::new(listen, database, ADMIN);
        config.limits.max_body_bytes = 8 << 10;
        change(&mut config);
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let service = Service::open_with_clock(&config, clock.clone()).await.unwrap();
        Self { service, clock, config, folder }
    }

    /// The database's file.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("server.sqlite")
    }

    /// Changes the database behind the service's back.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let address = match &self.config.database {
            Database::Sqlite(path) => format!("sqlite://{}", path.display()),
            Database::Postgres(address) => address.clone(),
        };
        let mut connection = AnyConnection::connect(&address).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A service on the SQLite file that `sql` describes.
    pub(crate) async fn of_sql(sql: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.sqlite");
        // The dump names tables before those they refer to.
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.foreign_keys(false).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let config = ServerConfig::new(([127, 0, 0, 1], 0).into(), file, ADMIN);
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let service = Service::open_with_clock(&config, clock.clone()).await.unwrap();
        Self { service, clock, config, folder }
    }

    /// A fixture with a task of [`plan`], starting from zeros.
    pub(crate) async fn with_task(task: &str) -> Self {
        let fixture = Self::new().await;
        fixture.create_task(task).await;
        fixture
    }

    /// A task of [`plan`], starting from zeros.
    pub(crate) async fn create_task(&self, task: &str) {
        let settings = TaskSettings::default();
        self.service.create_task(plan(task), vec![0.0; D], settings).await.unwrap();
    }

    /// Another server on the same database, under the same clock.
    pub(crate) async fn replica(&self) -> Service {
        Service::open_with_clock(&self.config, self.clock.clone()).await.unwrap()
    }

    /// Drops the service without a word, as a kill would, and opens the file again.
    pub(crate) async fn restart(&mut self) {
        let clock = self.clock.clone();
        self.service = Service::open_with_clock(&self.config, clock).await.unwrap();
    }

    pub(crate) async fn device(&self) -> Device {
        let device = Device::new();
        let token = self.service.create_token(1).await.unwrap();
        device.enrol(&self.service, &token, &self.clock).await.unwrap();
        device
    }

    /// A device that takes part in the current round.
    pub(crate) async fn assigned(&self, task: &str) -> (Device, Assignment) {
        let device = self.device().await;
        match self.check_in(&device, task).await {
            CheckinResponse::Join(assignment) => (device, assignment),
            other => panic!("not asked to take part: {other:?}"),
        }
    }

    /// As [`assigned`](Self::assigned), with a public weight.
    pub(crate) async fn assigned_with_weight(
        &self,
        task: &str,
        weight: u32,
    ) -> (Device, Assignment) {
        let (device, assignment) = self.assigned(task).await;
        self.service.set_weight(device.key.device(), weight).await.unwrap();
        (device, assignment)
    }

    /// A check-in with SDK `version`.
    pub(crate) async fn check_in_as(
        &self,
        device: &Device,
        task: &str,
        version: &str,
    ) -> Result<CheckinResponse, crate::Error> {
        self.service.check_in(device.credential(&self.clock), &name(task), version).await
    }

    pub(crate) async fn check_in(&self, device: &Device, task: &str) -> CheckinResponse {
        self.check_in_as(device, task, "0.1.0").await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn upload(&self, device: &Device, body: Vec<u8>, round: u64) -> Answer {
        let path = path::update(&name("task"), round, &device.key.device());
        self.send(device.request("PUT", &path, body, self.clock.now_ms())).await
    }
}

pub(crate) fn name(task: &str) -> TaskId {
    task.parse().unwrap()
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn message<M: Message>(&self) -> M {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        decode(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks a problem document; its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.kind, format!("urn:adafed:problem:{code}"));
        assert_eq!(problem.status, status);
        problem.detail
    }
}

/// A device's key, and when it signed last.
pub(crate) struct Device {
    pub(crate) key: DeviceKey,
    signed_ms: AtomicU64,
}

impl Device {
    pub(crate) fn new() -> Self {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
        Self { key, signed_ms: AtomicU64::new(0) }
    }

    /// A time to sign at: now, but later than the last.
    pub(crate) fn next_ms(&self, now_ms: u64) -> u64 {
        let later = |last: u64| Some(now_ms.max(last + 1));
        let last = self.signed_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        now_ms.max(last.unwrap_or(0) + 1)
    }

    pub(crate) fn credential(&self, clock: &ManualClock) -> Credential {
        Credential { device: self.key.device(), signed_ms: self.next_ms(clock.now_ms()) }
    }

    pub(crate) async fn enrol(
        &self,
        service: &Service,
        token: &str,
        clock: &ManualClock,
    ) -> Result<DeviceId, crate::Error> {
        let signed_ms = self.credential(clock).signed_ms;
        service.enrol(token, self.key.public_key(), signed_ms).await
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        time_ms: u64,
    ) -> Request<Body> {
        let time_ms = self.next_ms(time_ms);
        let signature = self.key.sign(SignedParts { method, path, time_ms, body: &body });
        let request = Request::builder().method(method).uri(path);
        let request = request.header(DEVICE_HEADER, self.key.device().to_string());
        let request = request.header(TIME_HEADER, time_ms).header(SIGNATURE_HEADER, signature);
        request.body(body.into()).unwrap()
    }

    pub(crate) fn enrolment(&self, token: &str, time_ms: u64) -> Request<Body> {
        let public_key = self.key.public_key();
        let body = encode(&EnrolRequest { token: token.into(), public_key }).unwrap();
        self.request("POST", path::DEVICES, body, time_ms)
    }

    pub(crate) fn check_in(&self, task: &str, time_ms: u64) -> Request<Body> {
        let body = CheckinRequest { task: name(task), version: "0.1.0".into() };
        self.request("POST", path::CHECKIN, encode(&body).unwrap(), time_ms)
    }
}

/// An update for an assignment, all values alike.
pub(crate) fn update(assignment: &Assignment, active: usize, value: i64) -> Vec<u8> {
    encode(&update_message(assignment, &vec![value; active])).unwrap()
}

pub(crate) fn update_message(assignment: &Assignment, values: &[i64]) -> Update {
    Update {
        task: name("task"),
        round: assignment.round,
        plan: assignment.plan,
        model: assignment.model,
        mask: assignment.mask,
        // A hostile device is not bound by types.
        values: PackedIntegers::pack(&serde_json::from_value(values.into()).unwrap()).unwrap(),
    }
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub(crate) fn operator(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("authorization", format!("Bearer {ADMIN}"));
    request.body(body.into()).unwrap()
}
