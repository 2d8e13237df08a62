//! A device killed at random instants of a run of rounds, again and again: its ledger
//! never forgets a released event, never fails to open, and counts at most one round, the
//! one in flight, that the server does not have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adafed::privacy::{Ledger, NoiseMultiplier, PrivacyPhase, PrivacyPlan};
use adafed::store::{FileStore, Store};
use adafed_tests::fixture::{Failure, policy, privacy, task};

use super::host::Host;

/// More rounds than any soak gets through.
const ROUNDS: u64 = 10_000;

/// So loud that all of them together stay within the device's policy.
const NOISE_MULTIPLIER: f64 = 100.0;

/// Kills come up to this many times later than the second upload of an undisturbed run.
const SPAN: f64 = 1.25;

/// Phases of [`phase`] that kills must have hit, of seven.
const LEAST_PHASES: usize = 4;

#[test]
fn a_device_killed_a_hundred_times_forgets_no_release() -> Result<(), Failure> {
    soak(100)
}

/// `cargo test --workspace --test crash -- --ignored --nocapture thousand`
#[test]
#[ignore = "takes minutes"]
fn a_device_killed_a_thousand_times_forgets_no_release() -> Result<(), Failure> {
    soak(1_000)
}

fn soak(kills: u32) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path())?;
    host.create(long_and_loud()?, 1)?;
    let token = host.token(1)?;
    let mut device = Device { home: folder.path().join("device"), known: Memory::new() };
    let started = Instant::now();
    let span = device.undisturbed(&host, &token)?.mul_f64(SPAN);
    let (mut instants, mut phases, mut left) = (Instants(1), BTreeMap::new(), BTreeMap::new());
    for _ in 0..kills {
        let process = host.device(&device.home, &token, 1, "")?;
        std::thread::sleep(span.mul_f64(instants.next()));
        *phases.entry(phase(&process.kill()?)).or_insert(0) += 1;
        *left.entry(device.check(&host)?).or_insert(0) += 1;
    }
    let (rounds, elapsed_s) = (device.known.len(), started.elapsed().as_secs());
    println!("{kills} kills within {span:.0?} of a start: {rounds} rounds charged, {elapsed_s} s");
    println!("killed in {phases:?}; left behind {left:?}");
    assert!(phases.len() >= LEAST_PHASES, "kills hit only {phases:?}");
    Ok(())
}

fn long_and_loud() -> Result<PrivacyPlan, Failure> {
    let noise_multiplier = NoiseMultiplier::new(NOISE_MULTIPLIER)?;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    Ok(PrivacyPlan { warmup: phase(1), main: phase(ROUNDS - 1), ..privacy(1, 1, 2)? })
}

/// What a ledger remembers: the charged rounds, each with the digest of its release.
type Memory = BTreeMap<u64, Option<String>>;

struct Device {
    home: PathBuf,
    known: Memory,
}

impl Device {
    /// From its start to its second upload.
    fn undisturbed(&mut self, host: &Host, token: &str) -> Result<Duration, Failure> {
        let started = Instant::now();
        let mut process = host.device(&self.home, token, 1, "")?;
        process.wait_for("Uploaded")?;
        process.wait_for("Uploaded")?;
        let span = started.elapsed();
        process.kill()?;
        self.check(host)?;
        Ok(span)
    }

    /// Opens the ledger of the dead device and compares it with what it held before and
    /// with what the server has; says what the kill left unfinished.
    fn check(&mut self, host: &Host) -> Result<&'static str, Failure> {
        let memory = self.memory()?;
        for (round, release) in &self.known {
            let now = memory.get(round).ok_or(format!("the charge of round {round} is lost"))?;
            assert!(release.is_none() || release == now, "the release of round {round} is lost");
        }
        // Asked last: an upload that was on its way may have arrived meanwhile.
        let status = host.status()?;
        let accepted = status.round + u64::from(status.reports > 0);
        for round in 0..accepted {
            let release = memory.get(&round).and_then(Option::as_ref);
            assert!(release.is_some(), "the server has round {round}, which no record released");
        }
        assert!(memory.keys().all(|round| *round <= accepted), "{accepted}: {memory:?}");
        self.known = memory;
        Ok(match self.known.get(&accepted) {
            None => "nothing",
            Some(None) => "a charge",
            Some(Some(_)) => "a release",
        })
    }

    fn memory(&self) -> Result<Memory, Failure> {
        let (store, task) = (FileStore::open(&self.home)?, task()?);
        let ledger = Ledger::open(store.ledger()?, policy(20.0)?)?;
        let released = |round| ledger.released(task.as_str(), round).map(str::to_owned);
        Ok(ledger.charged_rounds(task.as_str()).map(|round| (round, released(round))).collect())
    }
}

/// What a device was doing when it had said this.
fn phase(said: &str) -> &'static str {
    let last = said.lines().last().unwrap_or_default();
    match last.split([' ', '{']).next().unwrap_or_default() {
        "" => "1 starting",
        "device" => "2 enrolling or resuming",
        "Joined" => "4 charging or in its first step",
        "Trained" => "5 training or releasing",
        "Released" => "6 uploading",
        "Delayed" => "7 waiting to try again",
        _ => "3 checking in or joining",
    }
}

/// Shares of a span, spread evenly over [0, 1): SplitMix64.
struct Instants(u64);

impl Instants {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 * f64::exp2(-53.0)
    }
}
