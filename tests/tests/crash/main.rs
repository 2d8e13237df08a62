//! Processes killed with SIGKILL, in the middle of what they do.

mod host;
mod soak;
mod upgrade;

use adafed_server::{PrivacyReport, RoundReport, TaskState};
use adafed_tests::fixture::Failure;
use host::Host;

#[test]
fn a_killed_server_goes_on_and_loses_or_repeats_no_upload() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut host = Host::start(folder.path())?;
    host.create_task(1, 3, 3)?;
    let token = host.token(3)?;
    // Two devices report; the third trains but is held before its upload, so that the
    // round is open when the server dies.
    let device = |host: &Host, n: u64, pause: &str| {
        host.device(&folder.path().join(format!("device-{n}")), &token, n, pause)
    };
    let mut first = device(&host, 1, "")?;
    let mut second = device(&host, 2, "")?;
    let mut third = device(&host, 3, "Released")?;
    first.wait_for("Uploaded")?;
    second.wait_for("Uploaded")?;
    third.wait_for("Released")?;
    assert_eq!(host.status()?.reports, 2);
    host.kill_and_restart()?;
    let after = host.status()?;
    assert_eq!((after.round, after.reports), (0, 2), "accepted uploads are kept");
    third.kill()?;
    let _third = device(&host, 3, "")?;
    host.wait("the end", |s| s.state == TaskState::Finished)?;
    let rounds: Vec<RoundReport> = host.get("/v1/tasks/test/rounds")?;
    let reports: Vec<u32> = rounds.iter().map(|r| r.reports).collect();
    assert_eq!(reports, [3, 3, 3, 3], "each device counts once a round");
    let privacy: PrivacyReport = host.get("/v1/tasks/test/privacy")?;
    assert!(privacy.devices.iter().all(|d| d.rounds_charged == 4), "no charge is forgotten");
    Ok(())
}

#[test]
fn a_device_killed_between_charge_and_upload_sends_the_same_bytes() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path())?;
    host.create_task(0, 1, 1).err().ok_or("a mask without a warm-up must be refused")?;
    host.create_task(1, 1, 1)?;
    let token = host.token(1)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, &token, 5, "Released")?;
    device.wait_for("Released")?;
    device.kill()?;
    let outbox = std::fs::read(home.join("outbox.bin"))?;
    let ledger = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert!(ledger.contains("\"charged\"") && ledger.contains("\"released\""));
    assert_eq!(host.status()?.reports, 0, "nothing left the device yet");

    let mut device = host.device(&home, &token, 5, "Uploaded")?;
    device.wait_for("Uploaded")?;
    device.kill()?;
    let after = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert_eq!(after, ledger, "no second charge, no second release");
    // What was sent is what the ledger recorded: the digest of the outbox's bytes.
    let recorded = ledger.lines().last().unwrap_or_default();
    let body = &outbox[outbox.len() - body_length(&outbox)..];
    let digest = adafed_wire::Digest::of(body).to_string();
    assert!(recorded.contains(&digest), "{recorded}");
    host.wait("the next round", |s| s.round == 1)
}

/// Length of the update inside an outbox: all but version, round and length prefix.
fn body_length(outbox: &[u8]) -> usize {
    // Version byte, one-byte round, then a varint length: 251 announces two bytes.
    match outbox[2] {
        251 => outbox.len() - 5,
        252 => outbox.len() - 7,
        _ => outbox.len() - 3,
    }
}

#[test]
fn a_device_killed_while_training_repeats_the_round_to_the_same_bytes() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path())?;
    host.create_task(1, 1, 1)?;
    let token = host.token(1)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, &token, 6, "Trained")?;
    device.wait_for("Trained")?;
    device.kill()?;
    // A twin that never crashed, from the same stored round.
    let twin = folder.path().join("twin");
    std::fs::create_dir(&twin)?;
    for entry in std::fs::read_dir(&home)? {
        let entry = entry?;
        std::fs::copy(entry.path(), twin.join(entry.file_name()))?;
    }
    let mut outboxes = Vec::new();
    for home in [&home, &twin] {
        let mut device = host.device(home, &token, 6, "Released")?;
        device.wait_for("Released")?;
        device.kill()?;
        outboxes.push(std::fs::read(home.join("outbox.bin"))?);
    }
    assert_eq!(outboxes[0], outboxes[1]);
    let ledger = std::fs::read_to_string(home.join("ledger.jsonl"))?;
    assert_eq!(ledger.matches("\"kind\":\"charged\"").count(), 1, "charged once");
    Ok(())
}
