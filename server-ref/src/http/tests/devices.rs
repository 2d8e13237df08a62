//! What devices get to hear.

use adafed_wire::{
    CheckinResponse, Digest, EnrolResponse, MaskMessage, ModelMessage, Receipt, TaskPlan, Update,
    encode, path,
};
use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::read;
use crate::Clock;
use crate::testing::{D, Device, Fixture, name, operator, plan, update, update_message};

#[tokio::test]
async fn a_device_enrols_fetches_and_uploads() {
    let f = Fixture::with_task("task").await;
    let token = f.send(operator("/v1/tokens", r#"{"uses": 1}"#)).await;
    assert_eq!(token.status, StatusCode::CREATED);
    let device = Device::new();
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let enrolled: EnrolResponse =
        f.send(device.enrolment(&token, f.clock.now_ms())).await.message();
    assert_eq!(enrolled.device, device.key.device());

    let answer = f.send(device.check_in("task", f.clock.now_ms())).await.message();
    let CheckinResponse::Join(assignment) = answer else { panic!("{answer:?}") };
    let fetched = f.send(read(&path::plan(&name("task")))).await;
    assert_eq!(Digest::of(&fetched.body), assignment.plan);
    assert_eq!(fetched.message::<TaskPlan>(), plan("task"));
    let fetch = async |digest| f.send(read(&path::content(&name("task"), &digest))).await;
    assert_eq!(fetch(assignment.model).await.message::<ModelMessage>().parameters, [0.0; D]);
    let mask = fetch(assignment.mask).await.message::<MaskMessage>().mask(D).unwrap();
    assert_eq!(mask.active_count(), D);

    let body = update(&assignment, D, 3);
    for duplicate in [false, true] {
        let answer = f.upload(&device, body.clone(), 0).await;
        assert_eq!(answer.message::<Receipt>(), Receipt { duplicate });
    }
    let status = f.send(read("/v1/tasks/task")).await.json();
    assert_eq!((&status["reports"], &status["participants"]), (&1.into(), &1.into()));
    let rounds = f.send(read("/v1/tasks/task/rounds")).await.json();
    assert_eq!(rounds[0]["bytes_up"], body.len());
    assert!(rounds[0]["bytes_down"].as_u64().unwrap() > fetched.body.len() as u64);
}

#[tokio::test]
async fn unsigned_and_wrongly_signed_requests_are_refused() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    let now_ms = f.clock.now_ms();
    let path = path::update(&name("task"), 0, &device.key.device());
    let body = update(&assignment, D, 1);
    let unsigned = Request::put(&path).body(Body::from(body.clone())).unwrap();
    f.send(unsigned).await.problem(401, "server/unsigned");
    let mut changed = device.request("PUT", &path, body.clone(), now_ms);
    *changed.body_mut() = Body::from(update(&assignment, D, 2));
    f.send(changed).await.problem(401, "wire/signature");
    let other_path = device.request("PUT", &format!("{path}?x=1"), body.clone(), now_ms);
    assert_eq!(f.send(other_path).await.status, StatusCode::OK, "a query is signed too");
    let mut moved = device.request("PUT", &path, body.clone(), now_ms);
    *moved.uri_mut() = format!("{path}?x=1").parse().unwrap();
    f.send(moved).await.problem(401, "wire/signature");
    let stranger = Device::new();
    let path = path::update(&name("task"), 0, &stranger.key.device());
    let answer = f.send(stranger.request("PUT", &path, body, now_ms)).await;
    answer.problem(401, "server/unknown-device");
}

#[tokio::test]
async fn a_signature_is_good_for_five_minutes_both_ways() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    let now_ms = f.clock.now_ms();
    for (time_ms, good) in [
        (now_ms - 300_000, true),
        (now_ms + 300_000, true),
        (now_ms - 300_001, false),
        (now_ms + 300_001, false),
    ] {
        let answer = f.send(device.check_in("task", time_ms)).await;
        if good {
            assert_eq!(answer.status, StatusCode::OK);
        } else {
            let detail = answer.problem(401, "server/signed-at-other-time");
            assert!(detail.contains(&now_ms.to_string()), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_device_acts_for_itself_only() {
    let f = Fixture::with_task("task").await;
    let (one, assignment) = f.assigned("task").await;
    let (two, _) = f.assigned("task").await;
    let path = path::update(&name("task"), 0, &two.key.device());
    let request = one.request("PUT", &path, update(&assignment, D, 1), f.clock.now_ms());
    f.send(request).await.problem(403, "server/other-device");
}

#[tokio::test]
async fn a_token_enrols_as_many_devices_as_it_says() {
    let f = Fixture::new().await;
    let token = f.service.create_token(2).await.unwrap();
    let devices = [Device::new(), Device::new(), Device::new()];
    let now_ms = f.clock.now_ms();
    for device in [&devices[0], &devices[0], &devices[1]] {
        let answer = f.send(device.enrolment(&token, now_ms)).await;
        assert_eq!(answer.status, StatusCode::OK, "enrolling again costs nothing");
    }
    f.send(devices[2].enrolment(&token, now_ms)).await.problem(401, "server/token");
    let mut forged = devices[2].enrolment("none", now_ms);
    *forged.body_mut() = Body::from("forged");
    f.send(forged).await.problem(400, "wire/version");
}

#[tokio::test]
async fn malformed_updates_are_refused() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    let nan: Vec<u8> = [f32::NAN; D].iter().flat_map(|x| x.to_le_bytes()).collect();
    f.upload(&device, nan, 0).await.problem(400, "wire/version");
    let mut nan = vec![adafed_wire::VERSION];
    nan.extend([f32::NAN; 64].iter().flat_map(|x| x.to_le_bytes()));
    f.upload(&device, nan, 0).await.problem(400, "wire/malformed");
    let cut = update(&assignment, D, 7);
    f.upload(&device, cut[..cut.len() - 1].to_vec(), 0).await.problem(400, "wire/malformed");
    let short = f.upload(&device, update(&assignment, D - 1, 7), 0).await;
    let detail = short.problem(400, "wire/malformed");
    assert!(detail.contains("11 values, expected 12"), "{detail}");
    let elsewhere = Update { round: 1, ..update_message(&assignment, &[1; D]) };
    let elsewhere = f.upload(&device, encode(&elsewhere).unwrap(), 0).await;
    elsewhere.problem(400, "server/malformed");
    assert_eq!(f.service.task_status(&name("task")).await.unwrap().reports, 0);
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_with_the_limit() {
    let f = Fixture::with_task("task").await;
    let (device, _) = f.assigned("task").await;
    let detail = f.upload(&device, vec![0; 9_000], 0).await.problem(413, "server/body-too-large");
    assert!(detail.contains("8192"), "{detail}");
    let request = device.request("POST", path::CHECKIN, vec![0; 1_025], f.clock.now_ms());
    let detail = f.send(request).await.problem(413, "server/body-too-large");
    assert!(detail.contains("1024"), "{detail}");
}

#[tokio::test]
async fn a_second_release_of_a_round_is_refused() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    let (first, second) = (update(&assignment, D, 1), update(&assignment, D, 2));
    f.upload(&device, first.clone(), 0).await.message::<Receipt>();
    let detail = f.upload(&device, second.clone(), 0).await.problem(409, "server/other-update");
    assert!(detail.contains(&Digest::of(&first).to_string()), "{detail}");
    assert!(detail.contains(&Digest::of(&second).to_string()), "{detail}");
}

#[tokio::test]
async fn updates_of_other_rounds_masks_models_and_plans_are_refused() {
    let f = Fixture::with_task("task").await;
    let (device, assignment) = f.assigned("task").await;
    let good = update_message(&assignment, &[1; D]);
    let wrong = Digest::of(b"wrong");
    for stale in [
        Update { mask: wrong, ..good.clone() },
        Update { model: wrong, ..good.clone() },
        Update { plan: wrong, ..good.clone() },
    ] {
        let detail =
            f.upload(&device, encode(&stale).unwrap(), 0).await.problem(409, "server/stale");
        assert!(detail.contains(&wrong.to_string()), "{detail}");
    }
    let mask = Update { mask: wrong, ..good.clone() };
    let detail = f.upload(&device, encode(&mask).unwrap(), 0).await.problem(409, "server/stale");
    assert!(detail.contains(&assignment.mask.to_string()), "{detail}");
    let future = encode(&Update { round: 5, ..good.clone() }).unwrap();
    let detail = f.upload(&device, future, 5).await.problem(404, "server/unknown-round");
    assert!(detail.contains("the current one is 0"), "{detail}");
    let outsider = f.device().await;
    let answer = f.upload(&outsider, encode(&good).unwrap(), 0).await;
    answer.problem(403, "server/not-assigned");
}

#[tokio::test]
async fn a_closed_round_acknowledges_repetitions_and_takes_nothing_new() {
    let f = Fixture::with_task("task").await;
    let (one, assignment) = f.assigned("task").await;
    let (two, _) = f.assigned("task").await;
    let (late, _) = f.assigned("task").await;
    let body = update(&assignment, D, 1);
    f.upload(&one, body.clone(), 0).await.message::<Receipt>();
    f.upload(&two, body.clone(), 0).await.message::<Receipt>();
    let detail = f.upload(&late, body.clone(), 0).await.problem(409, "server/round-closed");
    assert!(detail.contains("the current one is 1"), "{detail}");
    assert_eq!(f.upload(&one, body, 0).await.message::<Receipt>(), Receipt { duplicate: true });
    let other = f.upload(&one, update(&assignment, D, 2), 0).await;
    other.problem(409, "server/other-update");
}

#[tokio::test]
async fn a_device_without_a_seat_is_told_when_to_ask_again() {
    let f = Fixture::with_task("task").await;
    for _ in 0..3 {
        f.assigned("task").await;
    }
    let device = f.device().await;
    let answer = f.send(device.check_in("task", f.clock.now_ms())).await;
    let retry_after_s: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    let CheckinResponse::Wait { retry_after_ms } = answer.message() else { panic!("seated") };
    assert!((1_500..=2_250).contains(&retry_after_ms), "{retry_after_ms}");
    assert_eq!(retry_after_s, retry_after_ms.div_ceil(1_000));
    let unknown = f.send(device.check_in("other", f.clock.now_ms())).await;
    unknown.problem(404, "server/unknown-task");
}
