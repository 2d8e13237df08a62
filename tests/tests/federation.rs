//! A federation over HTTP with a real database: what server and devices must agree on.

use std::sync::{Arc, Mutex};

use adafed::algorithm::Mask;
use adafed::data::{Examples, digits};
use adafed::nn::Model;
use adafed::privacy::Policy;
use adafed::transport::{HttpTransport, Request, Transport};
use adafed::wire::{MaskMessage, TaskPlan, decode};
use adafed::{Activity, Next};
use adafed_tests::fixture::{Failure, device, http, parameters, plan, policy, privacy, spec, task};
use adafed_tests::host::{Host, is_finished, tick_until};

#[test]
fn a_fleet_learns_and_server_and_devices_agree_on_epsilon() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let plan = plan(privacy(4, 16, 1)?, 4)?;
    let host = Host::start(folder.path(), &plan)?;
    let mut devices = Vec::new();
    for n in 0..4 {
        let home = folder.path().join(format!("device-{n}"));
        devices.push(host.device(&home, digits(n, 200), 20.0)?);
    }
    let mut open: Vec<usize> = (0..4).collect();
    while !open.is_empty() {
        open.retain(|&n| devices[n].tick().is_ok_and(|p| p.next != Next::Never));
    }
    let report = host.runtime.block_on(host.service.privacy_report(&task()?))?;
    assert_eq!(report.devices.len(), 4);
    for device in &devices {
        let server = report.devices.iter().find(|d| d.device == device.device());
        let server = server.ok_or("the server does not know the device")?;
        assert_eq!(server.rounds_charged, 20);
        assert!((server.epsilon - device.epsilon().epsilon).abs() <= 1e-9);
        assert!((report.epsilon - plan.privacy.epsilon().epsilon).abs() <= 1e-9);
    }
    let test = digits(99, 1_000);
    let accuracy = |parameters: &[f32]| -> Result<f64, Failure> {
        Ok(Model::new(&spec())?.accuracy(parameters, test.inputs(), test.targets())?)
    };
    let last = devices[0].final_model()?.ok_or("no final model")?;
    let (before, after) = (accuracy(&parameters()?)?, accuracy(&last)?);
    // Chance is 0.1; 800 digits and twenty noisy steps go a part of the way.
    assert!(after > 0.3 && after > before + 0.15, "{before} -> {after}");
    Ok(())
}

#[test]
fn masks_thaw_and_uploads_shrink_with_them() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let plan = plan(privacy(2, 6, 1)?, 1)?;
    let host = Host::start(folder.path(), &plan)?;
    let mut device = host.device(&folder.path().join("device"), digits(1, 200), 20.0)?;
    tick_until(&mut device, is_finished)?;
    let rounds = host.runtime.block_on(host.service.rounds(&task()?))?;
    let active: Vec<u64> = rounds.iter().map(|r| r.active_coordinates).collect();
    let expected =
        [1.0, 1.0, 0.3, 0.42, 0.54, 0.66, 0.78, 0.9].map(|r| (7850.0_f64 * r).ceil() as u64);
    assert_eq!(active, expected);
    for round in &rounds {
        // At most 12 bits a coordinate, and no less than the noise's entropy allows.
        let bits = round.bytes_up as f64 * 8.0 / round.active_coordinates as f64;
        assert!((6.0..12.0).contains(&bits), "round {}: {bits} bits", round.round);
    }
    Ok(())
}

#[test]
fn a_plan_beyond_the_policy_is_refused_before_anything_leaves() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(4, 16, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 200), 0.5)?;
    let refusal = loop {
        match device.tick() {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert_eq!(refusal.code(), "privacy/budget");
    assert!(refusal.to_string().contains("0.5"), "{refusal}");
    assert_eq!(device.ledger().tasks().count(), 0);
    let status = host.runtime.block_on(host.service.task_status(&task()?))?;
    assert_eq!((status.round, status.reports), (0, 0));
    Ok(())
}

#[test]
fn a_device_without_examples_releases_noise_and_is_charged() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let nothing = Examples::new(vec![1, 28, 28], vec![], vec![], 10)?;
    let mut device = host.device(&folder.path().join("device"), nothing, 20.0)?;
    tick_until(&mut device, is_finished)?;
    assert_eq!(device.ledger().composition("test").events()[0].count, 2);
    let model = device.final_model()?.ok_or("no final model")?;
    assert_ne!(model, parameters()?, "the noise moved the model");
    Ok(())
}

#[test]
fn examples_removed_or_replaced_do_not_reset_the_ledger() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 3, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let mut spent = 0.0;
    for (uploads, data) in [(1, digits(1, 200)), (1, digits(2, 200)), (1, digits(2, 7))] {
        let mut device = host.device(&home, data, 20.0)?;
        assert_eq!(device.epsilon().epsilon, spent, "nothing is forgotten, nothing is charged");
        for _ in 0..uploads {
            tick_until(&mut device, |a| matches!(a, Activity::Uploaded { .. }))?;
        }
        assert!(device.epsilon().epsilon > spent);
        spent = device.epsilon().epsilon;
    }
    Ok(())
}

#[test]
fn a_device_whose_ledger_was_put_back_or_removed_does_not_start() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 3, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let path = home.join("ledger.jsonl");
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    tick_until(&mut device, |a| matches!(a, Activity::Uploaded { round: 0 }))?;
    let older = std::fs::read(&path)?;
    tick_until(&mut device, |a| matches!(a, Activity::Uploaded { round: 1 }))?;
    drop(device);
    let newest = std::fs::read(&path)?;
    let start = || host.device(&home, digits(1, 200), 20.0);
    std::fs::write(&path, older)?;
    let error = start().err().ok_or("an older copy must be refused")?.to_string();
    assert!(error.contains("older copy"), "{error}");
    std::fs::remove_file(&path)?;
    assert!(start().is_err(), "a removed ledger must be refused");
    std::fs::write(&path, newest)?;
    assert_eq!(start()?.ledger().charged_rounds("test").count(), 2);
    Ok(())
}

#[test]
fn too_few_examples_for_the_policy_are_refused_before_anything_is_charged() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let policy = Policy { least_examples: 500, ..policy(20.0)? };
    let home = folder.path().join("device");
    let mut device = device(&home, http(&host.address)?, &host.token, digits(1, 200), policy)?;
    device.tick()?;
    let error = device.tick().err().ok_or("200 examples must be refused")?;
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!(device.ledger().tasks().count(), 0);
    Ok(())
}

#[test]
fn labels_without_an_output_are_refused_before_anything_is_charged() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let eleven = Examples::new(vec![1, 28, 28], vec![0.0; 784], vec![10], 11)?;
    let mut device = host.device(&folder.path().join("device"), eleven, 20.0)?;
    device.tick()?;
    let error = device.tick().err().ok_or("the labels must be refused")?.to_string();
    assert!(error.contains("11 classes") && error.contains("10 outputs"), "{error}");
    assert!(device.ledger().composition("test").is_empty());
    Ok(())
}

#[test]
fn examples_of_another_shape_are_refused_by_name() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let flat = Examples::new(vec![3], vec![0.0; 3], vec![0], 10)?;
    let mut device = host.device(&folder.path().join("device"), flat, 20.0)?;
    device.tick()?;
    let error = device.tick().err().ok_or("the shape must be refused")?;
    assert!(error.to_string().contains("[3]") && error.to_string().contains("[1, 28, 28]"));
    Ok(())
}

#[test]
fn a_restored_round_gives_the_same_bytes_and_cannot_be_released_twice() -> Result<(), Failure> {
    for proximal in [0.0, 0.5] {
        let mut plan = plan(privacy(1, 1, 3)?, 1)?;
        plan.federation.proximal = proximal;
        restores(&plan)?;
    }
    Ok(())
}

fn restores(plan: &TaskPlan) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), plan)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    tick_until(&mut device, |a| matches!(a, Activity::Trained { steps: 2, .. }))?;
    let snapshot = device.save()?.ok_or("a round is in progress")?;
    let twin_home = folder.path().join("twin");
    std::fs::create_dir(&twin_home)?;
    for name in ["device.key", "enrolled", "ledger.jsonl", "ledger.counter"] {
        std::fs::copy(home.join(name), twin_home.join(name))?;
    }
    tick_until(&mut device, |a| matches!(a, Activity::Released { .. }))?;
    let outbox = std::fs::read(home.join("outbox.bin"))?;
    // A twin device restores the same snapshot in the middle of local training.
    let mut twin = host.device(&twin_home, digits(1, 200), 20.0)?;
    twin.restore(&snapshot)?;
    tick_until(&mut twin, |a| matches!(a, Activity::Released { .. }))?;
    assert_eq!(std::fs::read(twin_home.join("outbox.bin"))?, outbox);
    assert!(twin.privacy_report()?.check().is_true());
    // On the device that has released already, the recorded bytes leave instead.
    device.restore(&snapshot)?;
    let progress = device.tick()?;
    assert!(matches!(progress.activity, Activity::Released { round: 0 }), "{progress:?}");
    assert_eq!(std::fs::read(home.join("outbox.bin"))?, outbox);
    tick_until(&mut device, |a| matches!(a, Activity::Uploaded { round: 0 }))?;
    // After that, the old snapshot is dropped.
    device.restore(&snapshot)?;
    let progress = device.tick()?;
    assert!(matches!(progress.activity, Activity::Dropped { round: 0, .. }), "{progress:?}");
    assert_eq!(device.ledger().composition("test").events()[0].count, 3);
    Ok(())
}

/// Keeps the masks that pass through.
struct Listening {
    inner: HttpTransport,
    masks: Arc<Mutex<Vec<Mask>>>,
}

impl Transport for Listening {
    fn send(
        &self,
        request: &Request,
    ) -> Result<adafed::transport::Response, adafed::transport::Error> {
        let response = self.inner.send(request)?;
        let mask = decode::<MaskMessage>(&response.body).and_then(|m| m.mask(7_850));
        if let (Ok(mask), Ok(mut masks)) = (mask, self.masks.lock()) {
            masks.push(mask);
        }
        Ok(response)
    }
}

#[test]
fn published_masks_are_nested() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(2, 4, 1)?, 1)?)?;
    let masks = Arc::new(Mutex::new(Vec::new()));
    let transport = Listening { inner: http(&host.address)?, masks: masks.clone() };
    let home = folder.path().join("device");
    let mut device = device(&home, transport, &host.token, digits(1, 200), policy(20.0)?)?;
    tick_until(&mut device, is_finished)?;
    let masks = masks.lock().map_err(|e| e.to_string())?;
    let counts: Vec<usize> = masks.iter().map(Mask::active_count).collect();
    // The full mask of the warm-up is fetched once.
    assert_eq!(counts, [7850, 2355, 3925, 5495, 7065]);
    assert!(masks[1..].windows(2).all(|m| m[0].is_subset_of(&m[1])));
    Ok(())
}

#[test]
fn an_unreachable_server_delays_and_is_no_error() -> Result<(), Failure> {
    struct Nowhere;
    impl Transport for Nowhere {
        fn send(
            &self,
            _: &Request,
        ) -> Result<adafed::transport::Response, adafed::transport::Error> {
            Err(adafed::transport::Error { reason: "no route".into() })
        }
    }
    let folder = tempfile::tempdir()?;
    let mut device = device(folder.path(), Nowhere, "", digits(1, 10), policy(1.0)?)?;
    for _ in 0..3 {
        let progress = device.tick()?;
        assert!(matches!(progress.activity, Activity::Delayed { .. }), "{progress:?}");
        assert!(matches!(progress.next, Next::At(_)));
    }
    Ok(())
}
