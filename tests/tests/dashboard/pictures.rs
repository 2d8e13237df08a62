//! Pictures of the dashboard, to be looked at by people.

use std::path::{Path, PathBuf};

use adafed::Next;
use adafed::algorithm::SgdSettings;
use adafed::data::digits;
use adafed::nn::Model;
use adafed::wire::{TaskPlan, TaskSettings};
use adafed_tests::fixture::{Failure, parameters, plan, privacy, spec, task};
use adafed_tests::host::Host;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::proxy::{PHONE, phone};
use crate::{Device, Federation};

const ROUNDS: (u64, u64) = (6, 60);
const DEVICES: u64 = 16;

/// `ADAFED_PICTURES=/tmp/pictures cargo test --workspace --test dashboard -- --ignored`
#[test]
#[ignore = "makes pictures for people, and takes a minute"]
fn pictures_of_a_federation() -> Result<(), Failure> {
    let (Some(browser), Some(out)) = (Browser::find(), std::env::var_os("ADAFED_PICTURES")) else {
        println!("pictures_of_a_federation: skipped: no Chromium, or ADAFED_PICTURES is not set");
        return Ok(());
    };
    let (folder, out) = (tempfile::tempdir()?, PathBuf::from(out));
    std::fs::create_dir_all(&out)?;
    let mut federation = start(folder.path())?;
    shoot(&browser, folder.path(), &out, &federation.host.address, "start")?;
    train(&mut federation)?;
    for name in ["keyboard", "wake-word", "triage"] {
        other(&federation.host, name)?;
    }
    shoot(&browser, folder.path(), &out, &federation.host.address, "later")
}

fn start(folder: &Path) -> Result<Federation, Failure> {
    let mut plan = plan(privacy(ROUNDS.0, ROUNDS.1, 1)?, 12)?;
    plan.rounds.report_goal = 10;
    plan.rounds.least_reports = 4;
    plan.rounds.deadline_ms = 90_000;
    plan.algorithm.optimizer = SgdSettings { learning_rate: 0.5, ..plan.algorithm.optimizer };
    let host = Host::start_as(folder, &plan, |config| config.open_reading = true)?;
    let device = |n| host.device(&folder.join(format!("device-{n}")), digits(n, 200), 40.0);
    let devices = (0..DEVICES).map(device).collect::<Result<_, _>>()?;
    Ok(Federation { host, devices })
}

/// Lets devices report in an order that changes, some of them rarely, and evaluates.
fn train(federation: &mut Federation) -> Result<(), Failure> {
    let test = digits(99, 1_000);
    let model = Model::new(&spec())?;
    let (mut evaluations, mut done, mut turn) = (Vec::new(), 0, 0_u64);
    while done < 57 {
        turn += 1;
        for (n, device) in federation.devices.iter_mut().enumerate() {
            // A simple sequence that looks like chance.
            let dice = (turn * 2_654_435_761 + n as u64 * 40_503) % 97;
            if dice > 20 + 4 * n as u64 {
                tick(device)?;
            }
        }
        let service = federation.host.service.clone();
        let status = federation.host.runtime.block_on(service.task_status(&task()?))?;
        if status.round > done {
            done = status.round;
            let now = federation.host.runtime.block_on(service.model(&task()?))?;
            let accuracy: f64 = model.accuracy(&now, test.inputs(), test.targets())?;
            evaluations.push((done, accuracy));
        }
    }
    let settings = TaskSettings { device_epsilon_cap: Some(28.0), ..TaskSettings::default() };
    let service = federation.host.service.clone();
    federation.host.runtime.block_on(service.set_settings(&task()?, settings))?;
    let told = |shift: f64, every: usize| -> Vec<Value> {
        let told = evaluations.iter().step_by(every).map(|(round, accuracy)| {
            let accuracy = (accuracy + shift * ((round * 7 % 5) as f64 - 3.0)).clamp(0.0, 1.0);
            let loss = 2.4 - 2.1 * accuracy;
            json!({"round": round, "loss": loss, "accuracy": accuracy, "examples": 1_000})
        });
        told.collect()
    };
    federation.evaluate("hospital-north", &told(0.0, 1))?;
    federation.evaluate("hospital-south", &told(0.012, 2))
}

fn tick(device: &mut Device) -> Result<(), Failure> {
    for _ in 0..3 {
        if device.tick()?.next != Next::Now {
            break;
        }
    }
    Ok(())
}

/// A task beside, with a state of its own.
fn other(host: &Host, name: &str) -> Result<(), Failure> {
    let plan = TaskPlan { task: name.parse()?, ..plan(privacy(2, 30, 1)?, 4)? };
    let service = &host.service;
    let task = &name.parse()?;
    host.runtime.block_on(async {
        service.create_task(plan, parameters()?, TaskSettings::default()).await?;
        match name {
            "triage" => drop(service.pause(task).await?),
            "wake-word" => drop(service.cancel(task).await?),
            _ => {}
        }
        Ok(())
    })
}

fn shoot(
    browser: &Browser,
    folder: &Path,
    out: &Path,
    address: &str,
    when: &str,
) -> Result<(), Failure> {
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let light = ["--blink-settings=preferredColorScheme=1"];
    for (path, page, tall) in [("/", "tasks", 900), ("/tasks/test", "task", 2_700)] {
        let desk = format!("{address}{path}");
        let file = |look: &str| out.join(format!("{when}-{page}-{look}.png"));
        let desktop = (1_280, tall);
        browser.picture(folder, desktop, &light, (&desk, &file("light")))?;
        browser.picture(folder, desktop, &dark, (&desk, &file("dark")))?;
        // A window is at least 500 wide; the phone's frame leaves the rest of it white.
        for (look, height) in [("phone", PHONE.1), ("phone-long", 2 * tall)] {
            let framed = phone(address, path, height)?;
            browser.picture(folder, (500, height), &light, (&framed, &file(look)))?;
        }
    }
    for part in ["accuracy", "epsilons", "seats", "privacy"] {
        let framed = phone(address, &format!("/tasks/test#{part}"), PHONE.1)?;
        let file = out.join(format!("{when}-phone-{part}.png"));
        browser.picture(folder, (500, PHONE.1), &light, (&framed, &file))?;
    }
    Ok(())
}
