//! Whole tasks: rounds, charges, restarts and a full disk.

use adafed_wire::{CheckinResponse, Receipt, TaskSettings};

use crate::testing::{D, Device, Fixture, name, on_both_databases, plan, update, update_message};
use crate::{Clock, Error, Phase, Service, TaskState};

/// Runs the current round to its end with two devices that send `values`.
async fn run_round(f: &Fixture, active: usize, values: [i64; 2]) {
    for value in values {
        let (device, assignment) = f.assigned("task").await;
        let body = update(&assignment, active, value);
        let round = assignment.round;
        f.upload(&device, body, round).await.message::<Receipt>();
    }
}

async fn a_task_runs_to_its_end() {
    let f = Fixture::with_task("task").await;
    run_round(&f, D, [900, -100]).await;
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!((status.round, status.phase), (1, Phase::Selecting));
    assert_eq!(status.active_coordinates, 6, "the mask is learned in the warm-up");
    assert!(f.service.model(&name("task")).await.unwrap().iter().all(|x| *x < 0.0));
    run_round(&f, 6, [5, 5]).await;
    run_round(&f, 6, [5, 5]).await;
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!((status.state, status.round), (TaskState::Finished, 3));
    let device = f.device().await;
    let answer = f.check_in(&device, "task").await;
    assert_eq!(answer, CheckinResponse::Finished { model: status.model });
}

async fn the_model_does_not_depend_on_the_order_of_arrival() {
    let mut models = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let f = Fixture::with_task("task").await;
        let (one, assignment) = f.assigned("task").await;
        let (two, _) = f.assigned("task").await;
        let values: Vec<i64> = (0..D as i64).map(|i| i * 977 - 4_000).collect();
        let bodies = [values.clone(), values.iter().map(|v| v / 3 + 1).collect()]
            .map(|v| adafed_wire::encode(&update_message(&assignment, &v)).unwrap());
        for at in order {
            let device = [&one, &two][at];
            f.upload(device, bodies[at].clone(), 0).await.message::<Receipt>();
        }
        models.push(f.service.model(&name("task")).await.unwrap());
    }
    assert_eq!(models[0], models[1]);
    assert_ne!(models[0], [0.0; D]);
}

async fn a_round_closes_at_its_deadline_with_what_it_has() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    f.upload(&device, update(&assignment, D, 1), 0).await.message::<Receipt>();
    f.clock.advance(60_000);
    let body = update(&assignment, D, 1);
    let again = f.upload(&device, body, 0).await.message::<Receipt>();
    assert!(again.duplicate, "requests keep the time between ticks");
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    let phases: Vec<Phase> = rounds.iter().map(|r| r.phase).collect();
    assert_eq!(phases, [Phase::Committed, Phase::Selecting]);
    assert_eq!(rounds[0].closed_ms, Some(f.clock.now_ms()));
}

async fn an_abandoned_round_uses_up_its_number_and_keeps_its_charges() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    f.clock.advance(60_000);
    f.service.tick().await.unwrap();
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    assert_eq!((rounds[0].phase, rounds[1].round), (Phase::Abandoned, 1));
    let late = f.upload(&device, update(&assignment, D, 1), 0).await;
    late.problem(409, "server/round-closed");
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!((report.devices.len(), report.devices[0].rounds_charged), (1, 1));
    assert_eq!(report.devices[0].device, device.key.device());
    assert!(report.epsilon > 0.0 && report.epsilon < report.epsilon_all_rounds);
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!(status.epsilon, report.epsilon);
    assert_eq!(status.active_coordinates, D as u64, "nothing was learned: the mask stays full");
}

async fn a_step_to_a_model_that_is_not_finite_is_not_taken() {
    let f = Fixture::new().await;
    let mut wild = plan("task");
    wild.algorithm.optimizer.learning_rate = 1e300;
    f.service.create_task(wild, vec![0.25; D], TaskSettings::default()).await.unwrap();
    run_round(&f, D, [1 << 30, 1 << 30]).await;
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    assert_eq!((rounds[0].phase, rounds[1].phase), (Phase::Abandoned, Phase::Selecting));
    assert_eq!(f.service.model(&name("task")).await.unwrap(), [0.25; D]);
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!(report.devices.len(), 2, "the charges stay");
}

async fn a_device_that_asks_again_is_charged_once() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    for _ in 0..3 {
        let answer = f.check_in(&device, "task").await;
        assert_eq!(answer, CheckinResponse::Join(assignment.clone()));
    }
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!(report.devices[0].rounds_charged, 1);
    assert_eq!(report.histogram.iter().map(|b| b.devices).sum::<u64>(), 1);
}

async fn after_a_kill_everything_is_as_before() {
    let mut f = Fixture::with_task("task").await;
    run_round(&f, D, [900, -100]).await;
    let (one, assignment) = f.assigned("task").await;
    let body = update(&assignment, 6, 4);
    f.upload(&one, body.clone(), 1).await.message::<Receipt>();
    f.service.tick().await.unwrap();
    let task = name("task");
    let before = (
        f.service.task_status(&task).await.unwrap(),
        f.service.rounds(&task).await.unwrap(),
        f.service.privacy_report(&task).await.unwrap(),
        f.service.model(&task).await.unwrap(),
    );
    f.restart().await;
    let after = (
        f.service.task_status(&task).await.unwrap(),
        f.service.rounds(&task).await.unwrap(),
        f.service.privacy_report(&task).await.unwrap(),
        f.service.model(&task).await.unwrap(),
    );
    assert_eq!(before, after);
    assert!(f.upload(&one, body, 1).await.message::<Receipt>().duplicate);
    let (two, assignment) = f.assigned("task").await;
    f.upload(&two, update(&assignment, 6, 4), 1).await.message::<Receipt>();
    assert_eq!(f.service.task_status(&task).await.unwrap().round, 2);
}

async fn a_server_that_died_before_aggregating_does_so_when_it_is_back() {
    let mut f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    f.upload(&device, update(&assignment, D, 900), 0).await.message::<Receipt>();
    f.execute("UPDATE rounds SET phase = 'aggregating'").await;
    f.restart().await;
    f.service.tick().await.unwrap();
    f.service.tick().await.unwrap();
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    assert_eq!((rounds.len(), rounds[0].phase), (2, Phase::Committed));
}

#[tokio::test]
async fn a_full_database_says_so_and_loses_nothing() {
    let mut f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    let kept = update(&assignment, D, 1);
    f.upload(&device, kept.clone(), 0).await.message::<Receipt>();
    f.service.close().await.unwrap();
    // A limit below the file's size stops it from growing, as a full disk does.
    f.config.max_database_bytes = Some(4096);
    f.restart().await;
    let error = fill(&f.service).await;
    assert!(matches!(error, Error::StorageFull) && error.is_retryable(), "{error:?}");
    let device_status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!((device_status.participants, device_status.reports), (1, 1));
    f.config.max_database_bytes = None;
    f.restart().await;
    assert!(f.upload(&device, kept, 0).await.message::<Receipt>().duplicate);
    f.service.create_token(1).await.unwrap();
}

/// Creates tokens until the database refuses.
async fn fill(service: &Service) -> Error {
    for _ in 0..10_000 {
        if let Err(e) = service.create_token(1).await {
            return e;
        }
    }
    panic!("the database never filled up");
}

#[tokio::test]
async fn a_read_only_database_says_so_and_loses_nothing() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    f.service.0.store.set_read_only(true).await;
    let refused = f.upload(&device, update(&assignment, D, 1), 0).await;
    let detail = refused.problem(503, "server/storage");
    assert!(detail.contains("nothing was stored"), "{detail}");
    assert_eq!(refused.headers["retry-after"], "10");
    f.service.0.store.set_read_only(false).await;
    let taken = f.upload(&device, update(&assignment, D, 1), 0).await.message::<Receipt>();
    assert!(!taken.duplicate);
}

async fn a_database_of_a_newer_version_is_refused() {
    let f = Fixture::new().await;
    f.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 9999, 'future', TRUE, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    let error = Service::open(&f.config).await.unwrap_err();
    assert!(matches!(error, Error::SchemaTooNew { version: 9999 }), "{error:?}");
}

#[tokio::test]
async fn impossible_settings_and_files_are_refused_by_name() {
    let f = Fixture::new().await;
    let mut config = f.config.clone();
    config.admin_token = "short".into();
    let error = Service::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("admin token"), "{error}");
    let mut config = f.config.clone();
    config.database = f.file().join("below/a/file.sqlite").into();
    assert!(matches!(Service::open(&config).await.unwrap_err(), Error::Storage(_)));
    assert!(!format!("{config:?}").contains(crate::testing::ADMIN));
}

#[tokio::test]
async fn a_file_is_opened_by_exactly_its_name() {
    let f = Fixture::new().await;
    for name in ["with space.sqlite", "50%25?mode=ro#x&y.sqlite", "gr\u{fc}n+'\"\\;.sqlite"] {
        let file = f.file().with_file_name(name);
        let mut config = f.config.clone();
        config.database = file.clone().into();
        let service = Service::open(&config).await.unwrap();
        service.create_token(1).await.unwrap();
        service.close().await.unwrap();
        assert!(file.exists(), "{name}");
    }
}

async fn a_plan_that_cannot_be_run_is_refused() {
    let f = Fixture::new().await;
    let mut wrong = plan("task");
    wrong.rounds.report_goal = 9;
    assert!(matches!(
        f.service.create_task(wrong, vec![0.0; D], TaskSettings::default()).await,
        Err(Error::Wire(_))
    ));
    let nan = f.service.create_task(plan("task"), vec![f32::NAN; D], TaskSettings::default()).await;
    assert_eq!(nan.unwrap_err().code(), "algorithm/not-finite");
    assert!(f.service.tasks().await.unwrap().is_empty());
}

async fn many_devices_at_once_fill_exactly_the_seats() {
    let f = Fixture::with_task("task").await;
    let mut devices = Vec::new();
    for _ in 0..12 {
        devices.push(f.device().await);
    }
    let ask = |device: Device| {
        let service = f.service.clone();
        let credential = device.credential(&f.clock);
        tokio::spawn(async move {
            let answer = service.check_in(credential, &name("task"), "0.1.0").await.unwrap();
            matches!(answer, CheckinResponse::Join(_))
        })
    };
    let mut joined = 0;
    for asked in devices.into_iter().map(ask).collect::<Vec<_>>() {
        joined += u32::from(asked.await.unwrap());
    }
    assert_eq!(joined, 3);
}

on_both_databases!(
    a_task_runs_to_its_end,
    the_model_does_not_depend_on_the_order_of_arrival,
    a_round_closes_at_its_deadline_with_what_it_has,
    an_abandoned_round_uses_up_its_number_and_keeps_its_charges,
    a_step_to_a_model_that_is_not_finite_is_not_taken,
    a_device_that_asks_again_is_charged_once,
    after_a_kill_everything_is_as_before,
    a_server_that_died_before_aggregating_does_so_when_it_is_back,
    a_database_of_a_newer_version_is_refused,
    a_plan_that_cannot_be_run_is_refused,
    many_devices_at_once_fill_exactly_the_seats
);
