//! What operators and caps do to a task, and what devices are told then.

use adafed_algorithm::{Buffer, FederationPlan, Weights};
use adafed_wire::{CheckinResponse, Receipt, TaskPlan, TaskSettings};

use crate::testing::{D, Device, Fixture, name, on_both_databases, plan, update};
use crate::{Error, Phase, TaskState};

async fn with(settings: TaskSettings) -> Fixture {
    with_plan(plan("task"), settings).await
}

async fn with_plan(plan: TaskPlan, settings: TaskSettings) -> Fixture {
    let f = Fixture::new().await;
    f.service.create_task(plan, vec![0.0; D], settings).await.unwrap();
    f
}

/// Runs the current round to its end with new devices; the devices.
async fn run_round(f: &Fixture, active: usize) -> Vec<Device> {
    let mut devices = Vec::new();
    for value in [3, 4] {
        let (device, assignment) = f.assigned("task").await;
        let body = update(&assignment, active, value);
        f.upload(&device, body, assignment.round).await.message::<Receipt>();
        devices.push(device);
    }
    devices
}

async fn waits(f: &Fixture, device: &Device) -> u64 {
    match f.check_in(device, "task").await {
        CheckinResponse::Wait { retry_after_ms } => retry_after_ms,
        other => panic!("not told to wait: {other:?}"),
    }
}

async fn a_paused_task_seats_nobody_and_still_takes_reports() {
    let f = with(TaskSettings::default()).await;
    let (seated, assignment) = f.assigned("task").await;
    let status = f.service.pause(&name("task")).await.unwrap();
    assert_eq!(status.state, TaskState::Paused);
    let other = f.device().await;
    waits(&f, &other).await;
    f.upload(&seated, update(&assignment, D, 1), 0).await.message::<Receipt>();
    let again = f.service.pause(&name("task")).await.unwrap_err();
    assert!(matches!(again, Error::TaskState { state: "paused", .. }), "{again}");
    f.service.resume(&name("task")).await.unwrap();
    assert!(matches!(f.check_in(&other, "task").await, CheckinResponse::Join(_)));
}

async fn a_cancelled_task_ends_with_its_model_and_its_charges() {
    let f = with(TaskSettings::default()).await;
    run_round(&f, D).await;
    let (seated, assignment) = f.assigned("task").await;
    let before = f.service.model(&name("task")).await.unwrap();
    let status = f.service.cancel(&name("task")).await.unwrap();
    assert_eq!((status.state, status.phase), (TaskState::Cancelled, Phase::Abandoned));
    let late = f.upload(&seated, update(&assignment, 6, 1), 1).await;
    late.problem(409, "server/round-closed");
    let finished = CheckinResponse::Finished { model: status.model };
    assert_eq!(f.check_in(&seated, "task").await, finished);
    assert_eq!(f.service.model(&name("task")).await.unwrap(), before);
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!(report.devices.len(), 3, "who was seated stays charged");
    for refused in [
        f.service.cancel(&name("task")).await,
        f.service.resume(&name("task")).await,
        f.service.pause(&name("task")).await,
        f.service.set_settings(&name("task"), TaskSettings::default()).await,
    ] {
        assert!(matches!(refused, Err(Error::TaskState { state: "cancelled", .. })));
    }
}

/// Epsilon of a device that took part in the plan's first round, and in the first two.
async fn costs() -> (f64, f64) {
    let f = with(TaskSettings::default()).await;
    f.assigned("task").await;
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    let task = plan("task").privacy;
    let two = adafed_privacy::accounting::epsilon(
        &[task.round_event(0).unwrap(), task.round_event(1).unwrap()].into_iter().collect(),
        task.delta,
    );
    (report.epsilon, two.epsilon)
}

async fn a_device_at_its_cap_is_not_seated_again_and_others_are() {
    let (one, two) = costs().await;
    let cap = (one + two) / 2.0;
    let f = with(TaskSettings { device_epsilon_cap: Some(cap), ..TaskSettings::default() }).await;
    let devices = run_round(&f, D).await;
    waits(&f, &devices[0]).await;
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!((report.halted_devices, report.device_epsilon_cap), (2, Some(cap)));
    assert!(report.devices.iter().all(|d| d.halted && d.epsilon <= cap));
    f.assigned("task").await;
}

async fn a_task_halts_before_it_exceeds_its_cap_and_goes_on_under_a_higher_one() {
    let (one, two) = costs().await;
    let cap = (one + two) / 2.0;
    let f = with(TaskSettings { task_epsilon_cap: Some(cap), ..TaskSettings::default() }).await;
    run_round(&f, D).await;
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!((status.state, status.round), (TaskState::Halted, 1));
    assert!(status.epsilon <= cap && status.epsilon_next_round > cap);
    let device = f.device().await;
    let finished = CheckinResponse::Finished { model: status.model };
    assert_eq!(f.check_in(&device, "task").await, finished);
    let refused = f.service.resume(&name("task")).await.unwrap_err();
    assert!(matches!(refused, Error::TaskState { state: "halted", .. }), "{refused}");
    let higher = TaskSettings { task_epsilon_cap: Some(2.0 * two), ..TaskSettings::default() };
    f.service.set_settings(&name("task"), higher).await.unwrap();
    let status = f.service.resume(&name("task")).await.unwrap();
    assert_eq!((status.state, status.phase), (TaskState::Running, Phase::Selecting));
    run_round(&f, 6).await;
    assert_eq!(f.service.task_status(&name("task")).await.unwrap().round, 2);
}

async fn a_task_that_its_own_caps_make_impossible_is_not_created() {
    let (one, _) = costs().await;
    let f = Fixture::new().await;
    let settings = TaskSettings { device_epsilon_cap: Some(0.9 * one), ..TaskSettings::default() };
    let forecast = f.service.forecast(plan("task"), settings.clone()).await.unwrap();
    assert!(!forecast.possible);
    let refused = f.service.create_task(plan("task"), vec![0.0; D], settings).await.unwrap_err();
    assert!(refused.to_string().contains("noise multiplier"), "{refused}");
    assert!(f.service.tasks().await.unwrap().is_empty());
}

async fn a_device_rests_between_its_rounds_and_an_old_app_is_told_to_update() {
    let settings = TaskSettings {
        separation_ms: 10_000,
        least_client: Some("0.1.0".into()),
        ..TaskSettings::default()
    };
    let f = with(settings).await;
    let devices = run_round(&f, D).await;
    let retry_ms = waits(&f, &devices[0]).await;
    assert!((10_000..=10_750).contains(&retry_ms), "{retry_ms}");
    f.clock.advance(10_000);
    assert!(matches!(f.check_in(&devices[0], "task").await, CheckinResponse::Join(_)));
    let old = f.device().await;
    let refused = f.check_in_as(&old, "task", "0.0.9").await.unwrap_err();
    assert!(refused.to_string().contains("from 0.1.0 to any"), "{refused}");
}

async fn a_buffered_task_takes_late_updates_into_the_current_round() {
    let buffer = Some(Buffer { most_staleness: 1, exponent: 0.5 });
    let mut task = plan("task");
    task.privacy.main.rounds = 4;
    task.federation = FederationPlan { buffer, ..FederationPlan::DEFAULT };
    let f = with_plan(task, TaskSettings::default()).await;
    run_round(&f, D).await;
    let (slow, one) = f.assigned("task").await;
    run_round(&f, 6).await;
    let (slower, two) = f.assigned("task").await;
    assert_eq!((one.round, two.round), (1, 2));
    let body = update(&one, 6, 500);
    f.upload(&slow, body.clone(), 1).await.message::<Receipt>();
    let receipt: Receipt = f.upload(&slow, body, 1).await.message();
    assert!(receipt.duplicate);
    let rounds = f.service.rounds(&name("task")).await.unwrap();
    assert_eq!((rounds[2].reports, rounds[2].stale_reports), (0, 1));
    let before = f.service.model(&name("task")).await.unwrap();
    f.upload(&slower, update(&two, 6, -500), 2).await.message::<Receipt>();
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!(status.round, 3, "a late and a fresh update reach the goal together");
    assert_ne!(f.service.model(&name("task")).await.unwrap(), before);
}

async fn without_a_buffer_and_from_the_warm_up_late_updates_are_refused() {
    let buffer = Some(Buffer { most_staleness: 3, exponent: 0.5 });
    for buffer in [None, buffer] {
        let mut task = plan("task");
        task.federation = FederationPlan { buffer, ..FederationPlan::DEFAULT };
        let f = with_plan(task, TaskSettings::default()).await;
        let (slow, warmup) = f.assigned("task").await;
        run_round(&f, D).await;
        f.upload(&slow, update(&warmup, D, 1), 0).await.problem(409, "server/round-closed");
    }
}

async fn public_weights_count_where_the_plan_has_them() {
    let mut models = Vec::new();
    for weights in [Weights::Uniform, Weights::Public { cap: 3 }] {
        let mut task = plan("task");
        task.federation = FederationPlan { weights, ..FederationPlan::DEFAULT };
        let f = with_plan(task, TaskSettings::default()).await;
        for (weight, value) in [(1, 900), (3, -300)] {
            let (device, assignment) = f.assigned_with_weight("task", weight).await;
            let body = update(&assignment, D, value);
            f.upload(&device, body, 0).await.message::<Receipt>();
        }
        models.push(f.service.model(&name("task")).await.unwrap());
    }
    // Uniform: 900 - 300 moves the model; weighted: 1 * 900 - 3 * 300 does not.
    assert!(models[0].iter().all(|x| *x < 0.0));
    assert!(models[1].iter().all(|x| *x == 0.0), "{:?}", models[1]);
}

on_both_databases!(
    a_paused_task_seats_nobody_and_still_takes_reports,
    a_cancelled_task_ends_with_its_model_and_its_charges,
    a_device_at_its_cap_is_not_seated_again_and_others_are,
    a_task_halts_before_it_exceeds_its_cap_and_goes_on_under_a_higher_one,
    a_task_that_its_own_caps_make_impossible_is_not_created,
    a_device_rests_between_its_rounds_and_an_old_app_is_told_to_update,
    a_buffered_task_takes_late_updates_into_the_current_round,
    without_a_buffer_and_from_the_warm_up_late_updates_are_refused,
    public_weights_count_where_the_plan_has_them
);
