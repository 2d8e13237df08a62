//! Two servers on one database.

use adafed_wire::{CheckinResponse, Receipt};

use crate::testing::{D, Device, Fixture, name, on_postgres, update};
use crate::{Phase, Service};

async fn with_replica() -> (Fixture, Service) {
    let f = Fixture::with_task("task").await;
    let replica = f.replica().await;
    (f, replica)
}

async fn many_devices_at_two_servers_fill_exactly_the_seats() {
    let (f, replica) = with_replica().await;
    let mut asked = Vec::new();
    for i in 0..16 {
        let device = f.device().await;
        let service = if i % 2 == 0 { f.service.clone() } else { replica.clone() };
        let credential = device.credential(&f.clock);
        asked.push(tokio::spawn(async move {
            service.check_in(credential, &name("task"), "0.1.0").await.unwrap()
        }));
    }
    let mut joined = 0;
    for answer in asked {
        joined += u32::from(matches!(answer.await.unwrap(), CheckinResponse::Join(_)));
    }
    assert_eq!(joined, 3);
    assert_eq!(replica.task_status(&name("task")).await.unwrap().participants, 3);
}

async fn an_update_that_reaches_two_servers_at_once_is_taken_once() {
    let (f, replica) = with_replica().await;
    let (device, assignment) = f.assigned("task").await;
    let body = update(&assignment, D, 7);
    let send = |service: &Service| {
        let (service, credential) = (service.clone(), device.credential(&f.clock));
        let body = body.clone().into();
        tokio::spawn(async move { service.upload(credential, &name("task"), 0, body).await })
    };
    let answers = [send(&f.service), send(&replica)];
    let mut new = 0;
    for answer in answers {
        // The one signed first may find the other's signature used already.
        match answer.await.unwrap() {
            Ok(Receipt { duplicate }) => new += u32::from(!duplicate),
            Err(e) => assert_eq!(e.code(), "server/replayed"),
        }
    }
    assert_eq!(new, 1);
    assert_eq!(f.service.task_status(&name("task")).await.unwrap().reports, 1);
}

async fn two_servers_that_close_a_round_at_once_close_it_once() {
    let (f, replica) = with_replica().await;
    let (device, assignment) = f.assigned("task").await;
    f.upload(&device, update(&assignment, D, 800), 0).await.message::<Receipt>();
    f.clock.advance(60_000);
    let tick = |service: &Service| {
        let service = service.clone();
        tokio::spawn(async move { service.tick().await })
    };
    let ticks: Vec<_> = (0..6).flat_map(|_| [tick(&f.service), tick(&replica)]).collect();
    for ticked in ticks {
        ticked.await.unwrap().unwrap();
    }
    f.clock.advance(60_000);
    replica.tick().await.unwrap();
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    assert_eq!((rounds.len(), rounds[0].phase), (2, Phase::Committed));
    // One step of the plan's size, and not two.
    let other = Fixture::with_task("task").await;
    let (device, assignment) = other.assigned("task").await;
    other.upload(&device, update(&assignment, D, 800), 0).await.message::<Receipt>();
    other.clock.advance(60_000);
    other.service.tick().await.unwrap();
    let model = f.service.model(&name("task")).await.unwrap();
    assert_eq!(model, other.service.model(&name("task")).await.unwrap());
}

async fn a_server_that_died_at_its_sum_is_followed_by_another() {
    let (f, replica) = with_replica().await;
    let (device, assignment) = f.assigned("task").await;
    f.upload(&device, update(&assignment, D, 800), 0).await.message::<Receipt>();
    f.clock.advance(60_000);
    let begun = replica.begin_closing(&name("task")).await.unwrap().unwrap();
    f.service.tick().await.unwrap();
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!(status.phase, Phase::Aggregating, "the other is at it");
    f.clock.advance(31_000);
    f.service.tick().await.unwrap();
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!((status.round, status.phase), (1, Phase::Selecting));
    // The first was only slow, and comes with its sum.
    let late = replica.commit_closing(&begun, None).await.unwrap();
    assert!(late.is_none());
    assert_eq!(f.service.rounds(&name("task")).await.unwrap().len(), 2);
}

async fn any_server_serves_any_device() {
    let (f, replica) = with_replica().await;
    let services = [f.service.clone(), replica];
    let device = Device::new();
    let token = services[0].create_token(1).await.unwrap();
    device.enrol(&services[1], &token, &f.clock).await.unwrap();
    let mut answer = None;
    for service in &services {
        let credential = device.credential(&f.clock);
        let joined = service.check_in(credential, &name("task"), "0.1.0").await.unwrap();
        assert!(answer.is_none_or(|before| before == joined), "the same seat");
        answer = Some(joined);
    }
    let Some(CheckinResponse::Join(assignment)) = answer else { panic!("not seated") };
    for (service, duplicate) in services.iter().zip([false, true]) {
        let credential = device.credential(&f.clock);
        let body = update(&assignment, D, 1).into();
        let receipt = service.upload(credential, &name("task"), 0, body).await.unwrap();
        assert_eq!(receipt, Receipt { duplicate });
    }
}

/// SQLite has one server.
macro_rules! on_postgres_alone {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::on_postgres(super::$test()).await;
            })+
        }
    };
}

on_postgres_alone!(
    many_devices_at_two_servers_fill_exactly_the_seats,
    an_update_that_reaches_two_servers_at_once_is_taken_once,
    two_servers_that_close_a_round_at_once_close_it_once,
    a_server_that_died_at_its_sum_is_followed_by_another,
    any_server_serves_any_device,
);
