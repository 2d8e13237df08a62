//! Requests that share a transaction: each with its own answer, and how many a second.

use std::time::{Duration, Instant};

use adafed_algorithm::{Layout, TensorLayout};
use adafed_wire::{Assignment, CheckinResponse, Receipt, TaskSettings, encode};
use axum::body::Bytes;
use tokio::task::JoinSet;

use crate::Error;
use crate::testing::{D, Device, Fixture, name, on_both_databases, plan, update, update_message};

/// Sends an update of each device at the same time; the answers in their order.
async fn send_together(f: &Fixture, sent: &[(&Device, Bytes)]) -> Vec<Result<Receipt, Error>> {
    let mut sending = JoinSet::new();
    for (at, (device, body)) in sent.iter().enumerate() {
        let (service, credential, body) =
            (f.service.clone(), device.credential(&f.clock), body.clone());
        sending
            .spawn(async move { (at, service.upload(credential, &name("task"), 0, body).await) });
    }
    let mut answers = sending.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn a_refusal_undoes_nothing_of_others_and_uses_its_signature_up() {
    let f = Fixture::with_task("task").await;
    let ((one, assignment), (two, _)) = (f.assigned("task").await, f.assigned("task").await);
    let stranger = f.device().await;
    let body = Bytes::from(update(&assignment, D, 3));
    // The second is refused between two that are taken, one of them completing the round.
    let sent = [(&one, body.clone()), (&stranger, body.clone()), (&two, body.clone())];
    let answers = send_together(&f, &sent).await;
    let fresh = |answer: &Result<Receipt, Error>| matches!(answer, Ok(r) if !r.duplicate);
    assert!(fresh(&answers[0]) && fresh(&answers[2]), "{answers:?}");
    assert!(matches!(answers[1], Err(Error::NotAssigned { round: 0 })), "{answers:?}");
    let refused = stranger.credential(&f.clock);
    for code in ["server/not-assigned", "server/replayed"] {
        let again = f.service.upload(refused, &name("task"), 0, body.clone()).await;
        assert_eq!(again.unwrap_err().code(), code);
    }
    f.service.tick().await.unwrap();
    assert_eq!(f.service.rounds(&name("task")).await.unwrap()[0].reports, 2);
}

#[tokio::test]
async fn a_request_that_the_database_refuses_fails_alone() {
    let f = Fixture::with_task("task").await;
    let (good, assignment) = f.assigned("task").await;
    let (bad, _) = f.assigned("task").await;
    f.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON updates
         WHEN NEW.digest = (SELECT MAX(digest) FROM wanted) BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .await;
    f.execute("CREATE TABLE wanted (digest TEXT)").await;
    let bodies = [3, 4].map(|value| Bytes::from(update(&assignment, D, value)));
    let digest = adafed_wire::Digest::of(&bodies[1]).to_string();
    f.execute(String::leak(format!("INSERT INTO wanted VALUES ('{digest}')"))).await;
    let sent = [(&good, bodies[0].clone()), (&bad, bodies[1].clone())];
    let answers = send_together(&f, &sent).await;
    assert!(matches!(answers[0], Ok(Receipt { duplicate: false })), "{answers:?}");
    assert!(matches!(answers[1], Err(Error::Storage(_))), "{answers:?}");
    f.execute("DROP TRIGGER refuse").await;
    let answers = send_together(&f, &[(&bad, bodies[1].clone())]).await;
    assert!(matches!(answers[0], Ok(Receipt { duplicate: false })), "{answers:?}");
}

/// Devices that send at the same time.
const CLIENTS: usize = 64;
/// Updates each of them sends.
const UPDATES: usize = 40;

/// Prints what this computer takes: `cargo test --release -- --ignored --nocapture updates_a_second`.
async fn updates_a_second() {
    let f = Fixture::new().await;
    let devices = (CLIENTS * UPDATES) as u32;
    let mut plan = plan("task");
    plan.layout =
        Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![3, 4_000] }] };
    plan.rounds.cohort = devices + 1;
    plan.rounds.report_goal = devices + 1;
    let parameters = vec![0.0; plan.layout.len()];
    f.service.create_task(plan, parameters, TaskSettings::default()).await.unwrap();
    let token = f.service.create_token(devices).await.unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(seat(f.service.clone(), f.clock.clone(), token.clone()));
    }
    let seated = clients.join_all().await;
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for devices in seated {
        clients.spawn(send_all(f.service.clone(), f.clock.clone(), devices));
    }
    let mut times: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{rate:.0} updates a second, half within {:?}, 99% in {p99:?}",
        times[times.len() / 2]
    );
}

type Clock = std::sync::Arc<crate::ManualClock>;

async fn seat(service: crate::Service, clock: Clock, token: String) -> Vec<(Device, Bytes)> {
    let mut seated = Vec::new();
    for _ in 0..UPDATES {
        let device = Device::new();
        device.enrol(&service, &token, &clock).await.unwrap();
        let credential = device.credential(&clock);
        let answer = service.check_in(credential, &name("task"), "0.1.0").await.unwrap();
        let CheckinResponse::Join(assignment) = answer else { panic!("{answer:?}") };
        seated.push((device, large(&assignment)));
    }
    seated
}

/// An update of about 20 KB.
fn large(assignment: &Assignment) -> Bytes {
    let values: Vec<i64> = (0..12_000).map(|j| j * 7_919 % 8_001 - 4_000).collect();
    encode(&update_message(assignment, &values)).unwrap().into()
}

async fn send_all(
    service: crate::Service,
    clock: Clock,
    devices: Vec<(Device, Bytes)>,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for (device, body) in devices {
        let (credential, begun) = (device.credential(&clock), Instant::now());
        service.upload(credential, &name("task"), 0, body).await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn updates_a_second_on_sqlite() {
    updates_a_second().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn updates_a_second_on_postgres() {
    crate::testing::on_postgres(updates_a_second()).await;
}

on_both_databases!(a_refusal_undoes_nothing_of_others_and_uses_its_signature_up);
