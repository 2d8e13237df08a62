//! Privacy reports of real devices after real rounds, and the command that checks them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use adafed::data::digits;
use adafed::privacy::report::Source;
use adafed::store::{self, FileLedger, FileStore, Store};
use adafed::wire::{DeviceKey, SignedReport};
use adafed::{Activity, Participant};
use adafed_tests::fixture::{Failure, http, plan, policy, privacy, task};
use adafed_tests::host::{Host, is_finished, tick_until};

fn is_released(activity: &Activity) -> bool {
    matches!(activity, Activity::Released { .. })
}

fn kept(home: &Path) -> Result<SignedReport, Failure> {
    let text = std::fs::read_to_string(home.join("privacy-report.json"))?;
    Ok(SignedReport::from_json(&text)?)
}

#[test]
fn a_device_can_prove_what_it_spent() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let plan = plan(privacy(2, 4, 2)?, 1)?;
    let host = Host::start(folder.path(), &plan)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    tick_until(&mut device, is_finished)?;
    let report = kept(&home)?;
    assert!(report.check().is_true(), "{:?}", report.check());
    assert_eq!(report, device.privacy_report()?);
    assert_eq!((report.device, &report.plans), (device.device(), &vec![plan]));
    let task_report = &report.report.tasks[0];
    let sources = task_report.sources.ok_or("sources are known")?;
    assert_eq!((sources.mask, sources.scale), (Source::Released, Source::Released));
    assert_eq!((task_report.rounds_charged.warmup, task_report.rounds_charged.main), (2, 4));
    assert_eq!(task_report.steps_charged, 12);
    assert_eq!(report.report.spent.epsilon.value(), device.epsilon().epsilon);
    let server = host.runtime.block_on(host.service.privacy_report(&task()?))?;
    assert!((server.epsilon - report.report.spent.epsilon.value()).abs() <= 1e-9);
    Ok(())
}

#[test]
fn every_release_brings_the_report_up_to_date() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 2, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    for released in 1..=3 {
        tick_until(&mut device, is_released)?;
        let report = kept(&home)?;
        assert!(report.check().is_true(), "{:?}", report.check());
        assert_eq!(report.report.tasks[0].steps_charged, released);
    }
    // Killed between the record of the release and its report: the restart makes up for it.
    let text = std::fs::read(home.join("privacy-report.json"))?;
    drop(device);
    std::fs::remove_file(home.join("privacy-report.json"))?;
    drop(host.device(&home, digits(1, 200), 20.0)?);
    assert_eq!(std::fs::read(home.join("privacy-report.json"))?, text);
    Ok(())
}

#[test]
fn a_charge_that_is_not_released_counts() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 2, 2)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    tick_until(&mut device, |a| matches!(a, Activity::Trained { steps: 1, .. }))?;
    assert!(!home.join("privacy-report.json").exists());
    let report = device.privacy_report()?;
    assert!(report.check().is_true());
    assert_eq!(report.report.tasks[0].steps_charged, 2);
    Ok(())
}

/// A store that cannot keep reports.
struct Unwilling(FileStore);

impl Store for Unwilling {
    type Ledger = FileLedger;
    fn ledger(&self) -> Result<FileLedger, store::Error> {
        self.0.ledger()
    }
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, store::Error> {
        self.0.load(name)
    }
    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), store::Error> {
        if name == "privacy-report.json" {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(store::Error::Io { action: "write", path: name.into(), source });
        }
        self.0.save(name, bytes)
    }
    fn remove(&self, name: &str) -> Result<(), store::Error> {
        self.0.remove(name)
    }
}

#[test]
fn a_report_that_cannot_be_written_loses_no_release() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = Participant::builder(task()?)
        .transport(http(&host.address)?)
        .store(Unwilling(FileStore::open(&home)?))
        .data(Arc::new(digits(1, 200)))
        .policy(policy(20.0)?)
        .token(host.token.clone())
        .build()?;
    tick_until(&mut device, is_finished)?;
    let rounds = host.runtime.block_on(host.service.rounds(&task()?))?;
    assert_eq!(rounds.iter().map(|r| r.reports).collect::<Vec<_>>(), [1, 1]);
    assert!(!home.join("privacy-report.json").exists());
    assert!(device.privacy_report()?.check().is_true());
    Ok(())
}

/// Runs `privacy verify`, apart from any server.
fn verify(arguments: &[&str], path: &Path) -> Result<Output, Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    Ok(command.args(["privacy", "verify"]).args(arguments).arg(path).output()?)
}

/// A run's folder with two devices, and the report of the first.
fn run_folder(folder: &Path) -> Result<(PathBuf, SignedReport), Failure> {
    let host = Host::start(folder, &plan(privacy(1, 1, 1)?, 1)?)?;
    let out = folder.join("out");
    std::fs::create_dir_all(out.join("devices"))?;
    let mut first = host.device(&folder.join("first"), digits(1, 200), 20.0)?;
    tick_until(&mut first, is_finished)?;
    let report = first.privacy_report()?;
    std::fs::write(out.join("privacy-report.json"), report.to_json()?)?;
    std::fs::write(out.join("devices/a.json"), report.to_json()?)?;
    let second = host.device(&folder.join("second"), digits(2, 200), 20.0)?;
    std::fs::write(out.join("devices/b.json"), second.privacy_report()?.to_json()?)?;
    Ok((out, report))
}

#[test]
fn the_command_says_true_of_a_true_report() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (out, report) = run_folder(folder.path())?;
    let file = out.join("privacy-report.json");
    let output = verify(&[], &file)?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("\nTRUE\n") && !text.contains("FALSE"), "{text}");
    for said in ["add_remove", "poisson_gaussian, noise_multiplier 1.2, rate 0.5", "RDP", "PLD"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let json: serde_json::Value = serde_json::from_slice(&verify(&["--json"], &file)?.stdout)?;
    assert_eq!((&json["true"], &json["devices"]), (&true.into(), &1.into()));
    assert_eq!(json["reports"][0]["device"], report.device.to_string());
    let whole = verify(&[], &out)?;
    let text = String::from_utf8(whole.stdout)?;
    assert_eq!(whole.status.code(), Some(0), "{text}");
    assert!(text.contains("devices        2\n") && text.contains("median"), "{text}");
    let other = verify(&["--device", "00000000000000000000000000000000"], &file)?;
    assert_eq!(other.status.code(), Some(1));
    Ok(())
}

#[test]
fn the_command_says_where_a_false_report_differs() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (out, report) = run_folder(folder.path())?;
    let file = out.join("privacy-report.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    json["report"]["tasks"][0]["spent"]["pld"] = 0.5.into();
    std::fs::write(&file, json.to_string())?;
    let output = verify(&[], &file)?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("signature      FALSE") && text.ends_with("\nFALSE\n"), "{text}");
    assert!(text.contains("report.tasks[0].spent.pld\n") && text.contains("stated      0.5\n"));
    // Signed again by somebody else: the signature holds, the figure does not.
    let changed = SignedReport::from_json(&json.to_string())?;
    let key = DeviceKey::from_pkcs8(&DeviceKey::generate()?)?;
    let changed = SignedReport::sign(changed.report, changed.plans, &key)?;
    std::fs::write(&file, changed.to_json()?)?;
    let output = verify(&["--json", "--device", &report.device.to_string()], &file)?;
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let check = &json["reports"][0]["check"];
    assert_eq!((&json["true"], &check["signature"]), (&false.into(), &true.into()));
    assert_eq!(check["device"][0]["recomputed"], report.device.to_string());
    assert_eq!(check["numbers"][0]["field"], "report.tasks[0].spent.pld");
    assert_eq!(verify(&[], &out)?.status.code(), Some(1));
    Ok(())
}

#[test]
fn the_command_refuses_what_is_no_report() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (out, report) = run_folder(folder.path())?;
    let text = report.to_json()?;
    let file = out.join("devices/b.json");
    for (content, said) in [
        (&text[..text.len() / 2], "EOF while parsing"),
        ("", "EOF while parsing"),
        (&text.replacen("\"format\": 1", "\"format\": 2", 1), "format of the privacy report is 2"),
        (&text.replacen('{', "{\"note\": 1,", 1), "unknown field `note`"),
    ] {
        std::fs::write(&file, content)?;
        for path in [&file, &out] {
            let output = verify(&[], path)?;
            let error = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains("b.json") && error.contains(said), "{error}");
        }
    }
    for path in [out.join("none.json"), folder.path().join("first")] {
        let output = verify(&[], &path)?;
        // A device's own folder holds its report, so it can be named as well.
        assert_eq!(output.status.code(), Some(if path.is_dir() { 0 } else { 2 }));
    }
    assert_eq!(verify(&["--device", "x"], &out)?.status.code(), Some(2));
    Ok(())
}
