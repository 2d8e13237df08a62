//! What goes wrong between servers and their PostgreSQL: starts, repetitions and crashes.

use adafed_wire::{DeviceId, Receipt, TaskSettings};
use axum::body::Bytes;

use crate::testing::postgres::{Postgres, SKIPPED};
use crate::testing::{D, Device, Fixture, name, on_postgres, plan, update};
use crate::{Database, Error, Service};

/// Servers on the fixture's database: its own and another.
async fn two(f: &Fixture) -> [Service; 2] {
    [f.service.clone(), f.replica().await]
}

async fn send(
    service: &Service,
    f: &Fixture,
    device: &Device,
    body: Bytes,
) -> Result<Receipt, Error> {
    service.upload(device.credential(&f.clock), &name("task"), 0, body).await
}

#[tokio::test]
async fn servers_that_start_together_agree_on_the_schema() {
    on_postgres(async {
        // The fixture's database is used by its address only.
        let f = Fixture::new().await;
        f.execute("DROP SCHEMA public CASCADE").await;
        f.execute("CREATE SCHEMA public").await;
        let open = || Service::open_with_clock(&f.config, f.clock.clone());
        let (one, two, three) = tokio::join!(open(), open(), open());
        for service in [one, two, three] {
            assert!(service.unwrap().tasks().await.unwrap().is_empty());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_request_is_taken_by_one_of_two_servers() {
    on_postgres(async {
        let f = Fixture::with_task("task").await;
        let services = two(&f).await;
        let (device, assignment) = f.assigned("task").await;
        let (credential, task) = (device.credential(&f.clock), name("task"));
        let body = Bytes::from(update(&assignment, D, 1));
        let (one, other) = tokio::join!(
            services[0].upload(credential, &task, 0, body.clone()),
            services[1].upload(credential, &task, 0, body),
        );
        let taken = [&one, &other].into_iter().filter(|r| r.is_ok()).count();
        let replayed = |r: &Result<Receipt, Error>| matches!(r, Err(Error::Replayed { .. }));
        assert_eq!(taken, 1, "{one:?} {other:?}");
        assert!(replayed(&one) || replayed(&other));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_enrols_at_two_servers_at_once_uses_its_token_once() {
    on_postgres(async {
        let f = Fixture::new().await;
        let services = two(&f).await;
        for _ in 0..10 {
            let (device, token) = (Device::new(), f.service.create_token(1).await.unwrap());
            let (one, other) = tokio::join!(
                device.enrol(&services[0], &token, &f.clock),
                device.enrol(&services[1], &token, &f.clock),
            );
            // The request signed first is refused where the other overtook it.
            let refused = |r: &Result<DeviceId, Error>| matches!(r, Err(Error::Replayed { .. }));
            assert!(other.is_ok() && (one.is_ok() || refused(&one)), "{one:?} {other:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashes_loses_no_accepted_update() {
    // A server of its own: the others' tests go on meanwhile.
    let Some(server) = Postgres::start().unwrap() else { return eprintln!("{SKIPPED}") };
    let mut f = Fixture::new().await;
    f.config.database = Database::Postgres(server.database().await.unwrap());
    f.restart().await;
    f.service.create_task(plan("task"), vec![0.0; D], TaskSettings::default()).await.unwrap();
    let (one, assignment) = f.assigned("task").await;
    let body = Bytes::from(update(&assignment, D, 900));
    assert!(!send(&f.service, &f, &one, body.clone()).await.unwrap().duplicate);
    if !server.restart("immediate").unwrap() {
        return;
    }
    // Connections that are broken may be found out one by one.
    let mut answer = send(&f.service, &f, &one, body.clone()).await;
    for _ in 0..20 {
        if answer.is_ok() {
            break;
        }
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::StorageBusy), "{error:?}");
        answer = send(&f.service, &f, &one, body.clone()).await;
    }
    assert!(answer.unwrap().duplicate, "the update is there");
    let (two, assignment) = f.assigned("task").await;
    let body = Bytes::from(update(&assignment, D, -100));
    send(&f.service, &f, &two, body).await.unwrap();
    assert_eq!(f.service.task_status(&name("task")).await.unwrap().round, 1);
}
