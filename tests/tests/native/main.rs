//! Apps in other languages against a live server: the examples in C, C++ and Python.
#![cfg(target_os = "linux")]

#[path = "../../../ffi/tests/library/build.rs"]
#[allow(dead_code, reason = "shared with the tests of the library alone")]
mod build;
mod images;

use std::path::{Path, PathBuf};
use std::process::Command;

use adafed::nn::{Model, ModelSpec};
use adafed::wire::{TaskPlan, TaskSettings};
use adafed_tests::fixture::{Failure, plan, privacy};
use adafed_tests::host::Host;
use adafed_tests::process::Process;
use build::{CRATE, has, library, run};
use images::Images;

/// Local steps of a round, enough to be killed between two of them.
const STEPS: u32 = 12;

/// A server, a device's folder and its examples.
struct Scene {
    folder: tempfile::TempDir,
    host: Host,
    images: Images,
}

impl Scene {
    fn new(examples: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let host = Host::start(folder.path(), &plan(privacy(1, 1, STEPS)?, 1)?)?;
        let images = Images::write(folder.path(), examples)?;
        Ok(Self { folder, host, images })
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments that every example takes.
    fn arguments(&self, command: &mut Command, home: &str) {
        command.args([self.host.address.as_str(), "test"]);
        command.arg(self.home(home)).arg(&self.host.token);
        command.arg(&self.images.images).arg(&self.images.labels);
    }

    /// Builds an example with its own Makefile.
    fn make(&self, example: &str, compiler: &str) -> PathBuf {
        let variable = if example == "c" { "CC" } else { "CXX" };
        let include = Path::new(CRATE).join("../ffi/include");
        let mut command = Command::new("make");
        command.arg("-C").arg(Path::new(CRATE).join("../examples").join(example));
        command
            .arg(format!("{variable}={compiler}"))
            .arg(format!("OUT={}", self.home("").display()));
        command.arg(format!("INCLUDE={}", include.display()));
        run(command.arg(format!("LIB={}", library().display())));
        self.home("client")
    }
}

/// The share of examples that a client says it predicted right.
fn share_predicted(said: &str) -> Result<f64, Failure> {
    let line = said.lines().find_map(|line| line.strip_prefix("predicted "));
    let (right, of) = line.and_then(|l| l.split_once(" of ")).ok_or("nothing was predicted")?;
    Ok(right.trim().parse::<f64>()? / of.trim().parse::<f64>()?)
}

fn assert_learnt(said: &str, weights: &Path) -> Result<(), Failure> {
    // Chance is 0.1; two noisy rounds of a linear model go a part of the way.
    let share = share_predicted(said)?;
    assert!(share > 0.3, "{share}");
    assert!(weights.metadata()?.len() > 4 * 7850, "the model was written");
    Ok(())
}

#[test]
fn the_plan_that_comes_with_the_clients_is_whole() -> Result<(), Failure> {
    let plan: TaskPlan = serde_json::from_str(include_str!("../../../examples/c/plan.json"))?;
    plan.check()?;
    assert_eq!(ModelSpec::from_json(&plan.model)?.layout()?, plan.layout);
    Ok(())
}

#[test]
fn a_client_in_c_is_killed_goes_on_to_the_same_bytes_and_predicts() -> Result<(), Failure> {
    for compiler in ["gcc", "clang"].into_iter().filter(|c| has(c, "the client in C")) {
        killed_and_resumed(compiler)?;
    }
    Ok(())
}

fn killed_and_resumed(compiler: &str) -> Result<(), Failure> {
    let scene = Scene::new(20_000)?;
    let program = scene.make("c", compiler);
    let client = |home: &str| {
        let mut command = Command::new(&program);
        scene.arguments(&mut command, home);
        command
    };
    let mut killed = Process::start(&mut client("device"))?;
    killed.wait_for("trained round 0 step 3")?;
    killed.kill()?;
    // A twin has the same state, but no snapshot: it trains the round from its start.
    run(Command::new("cp").arg("-r").arg(scene.home("device")).arg(scene.home("twin")));
    std::fs::remove_file(scene.home("twin").join("client.snapshot"))?;
    let said = run(client("device").arg("released"));
    assert!(said.contains("restored"), "{said}");
    assert!(!said.contains("step 1 ") && said.contains("step 12 "), "{said}");
    let fresh = run(client("twin").arg("released"));
    assert!(fresh.contains("trained round 0 step 1 "), "{fresh}");
    let release = |home: &str| std::fs::read(scene.home(home).join("outbox.bin"));
    assert!(release("device")? == release("twin")?, "the same bytes, whole or resumed");
    let said = run(&mut client("device"));
    assert!(said.contains("uploaded round 1") && said.contains("finished"), "{said}");
    assert_learnt(&said, &scene.home("device.safetensors"))
}

#[test]
fn a_client_in_c_is_clean_under_valgrind() -> Result<(), Failure> {
    let what = "the client in C under valgrind";
    if !(has("gcc", what) && has("valgrind", what)) {
        return Ok(());
    }
    let scene = Scene::new(60)?;
    let mut client = Command::new("valgrind");
    client.args(["--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    client.arg(scene.make("c", "gcc"));
    scene.arguments(&mut client, "device");
    let said = run(&mut client);
    assert!(said.contains("finished") && share_predicted(&said).is_ok(), "{said}");
    Ok(())
}

#[test]
fn two_participants_of_one_process_share_nothing_but_the_task() -> Result<(), Failure> {
    let what = "two participants in one process";
    for compiler in ["gcc", "clang"].into_iter().filter(|c| has(c, what)) {
        let folder = tempfile::tempdir()?;
        let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 2)?)?;
        let program = folder.path().join("pair");
        build::compile(compiler, "c/pair.c", &[], &program);
        let mut pair = Command::new(program);
        pair.arg(&host.address).arg(folder.path().join("one")).arg(folder.path().join("two"));
        let said = run(pair.arg(&host.token));
        assert!(said.contains("all as expected"), "{said}");
    }
    Ok(())
}

#[test]
fn a_client_in_cpp_takes_part() -> Result<(), Failure> {
    for compiler in ["g++", "clang++"].into_iter().filter(|c| has(c, "the client in C++")) {
        let scene = Scene::new(600)?;
        let mut client = Command::new(scene.make("cpp", compiler));
        scene.arguments(&mut client, "device");
        assert_learnt(&run(&mut client), &scene.home("device.safetensors"))?;
    }
    Ok(())
}

#[test]
fn a_client_in_python_takes_part() -> Result<(), Failure> {
    if !has("python3", "the client in Python") {
        return Ok(());
    }
    let scene = Scene::new(600)?;
    let mut client = Command::new("python3");
    client.arg(Path::new(CRATE).join("../examples/python/client.py"));
    client.env("PYTHONDONTWRITEBYTECODE", "1").arg(library().join("libadafed.so"));
    scene.arguments(&mut client, "device");
    assert_learnt(&run(&mut client), &scene.home("device.safetensors"))
}

#[test]
fn a_device_whose_policy_refuses_ends_with_its_own_status() -> Result<(), Failure> {
    if !has("gcc", "a refusal in C") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(40, 160, STEPS)?, 1)?)?;
    let images = Images::write(folder.path(), 10)?;
    let scene = Scene { folder, host, images };
    let mut client = Command::new(scene.make("c", "gcc"));
    scene.arguments(&mut client, "device");
    assert_eq!(client.output()?.status.code(), Some(3));
    Ok(())
}

/// Longest that a step may take to hear that it is called off, and most memory that a round of
/// the convolutional network may take above its examples.
const HEARD_MS: f64 = 50.0;
const ROUND_KIB: u64 = 60 << 10;

#[test]
fn a_round_of_a_convolutional_network_is_small_and_stops_at_once() -> Result<(), Failure> {
    if !has("gcc", "memory of a round") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let host = Host::on(&folder.path().join("server.sqlite").display().to_string(), None)?;
    let (spec, mut plan) = (ModelSpec::mnist_cnn(), plan(privacy(1, 1, 3)?, 1)?);
    (plan.model, plan.layout) = (serde_json::to_string(&spec)?, spec.layout()?);
    let parameters = Model::new(&spec)?.initial(1);
    let created = host.service.create_task(plan, parameters, TaskSettings::default());
    host.runtime.block_on(created)?;
    let program = folder.path().join("round");
    build::compile("gcc", "c/round.c", &["-O2"], &program);
    let mut round = Command::new(program);
    round.arg(&host.address).arg(folder.path().join("device")).arg(&host.token);
    let said = run(&mut round);
    eprint!("{said}");
    let numbers: Vec<f64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [heard_ms, round_kib] = numbers[..] else { return Err(said.into()) };
    assert!(heard_ms < HEARD_MS && round_kib < ROUND_KIB as f64, "{said}");
    Ok(())
}
