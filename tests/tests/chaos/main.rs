//! The whole server under generated operations with faults: kills, restarts, clocks that
//! step, full disks, repeated, late, wrong and forged requests, on real processes.
//!
//! Every answer and everything that the servers show must be explained by a model of a few
//! sets: each acknowledged update is in the sum exactly once, models follow from the
//! acknowledged bodies, whoever was asked to join is charged once and for ever, and a kill
//! changes nothing. A failure prints its shrunk operations as a file; kept in
//! `reproductions`, it is run again by every later run.

mod database;
mod device;
mod model;
mod operations;
mod random;
mod replica;
mod run;
mod shrink;
mod task;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use adafed_tests::fixture::Failure;
use database::Home;
use operations::{Case, Database};
use run::{Run, Tally};

/// Operations of a run.
const OPERATIONS: usize = 60;
/// Runs at the same time: mostly they wait for processes and disks.
const WORKERS: usize = 3;

#[test]
fn what_is_acknowledged_survives_chaos_on_sqlite() -> Result<(), Failure> {
    survive(cases(Database::Sqlite, 0..25))
}

#[test]
fn what_is_acknowledged_survives_chaos_on_postgres() -> Result<(), Failure> {
    survive(cases(Database::Postgres, 0..10))
}

/// `cargo test --workspace --test chaos -- --ignored --nocapture thousand`
#[test]
#[ignore = "takes minutes"]
fn what_is_acknowledged_survives_chaos_a_thousand_times() -> Result<(), Failure> {
    let seeds = std::env::var("ADAFED_CHAOS_SEED").unwrap_or_default().parse().unwrap_or(1_000);
    let mut all = cases(Database::Sqlite, seeds..seeds + 600);
    all.extend(cases(Database::Postgres, seeds..seeds + 400));
    survive(all)
}

#[test]
fn failures_that_were_fixed_stay_fixed() -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/reproductions");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            cases.push(serde_json::from_str(&std::fs::read_to_string(path)?)?);
        }
    }
    survive(cases)
}

fn cases(database: Database, seeds: std::ops::Range<u64>) -> Vec<Case> {
    seeds.map(|seed| Case::draw(seed, database, OPERATIONS)).collect()
}

/// Runs all cases, a few at the same time; the first failure is shrunk and told.
fn survive(cases: Vec<Case>) -> Result<(), Failure> {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let failed = Mutex::new(None);
    let started = Instant::now();
    let work = || -> Result<(), String> {
        let mut home = Home::new().map_err(|e| e.to_string())?;
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run(case, &mut home) {
                Ok(done) => tally.lock().map_err(|e| e.to_string())?.add(done),
                Err(e) => {
                    next.store(cases.len(), Ordering::Relaxed);
                    let mut failed = failed.lock().map_err(|e| e.to_string())?;
                    failed.get_or_insert((case.clone(), e.to_string()));
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "a worker panicked".to_owned())?)
    })?;
    if let Some((case, e)) = failed.into_inner()? {
        return Err(tell(case, e));
    }
    let tally = tally.into_inner()?;
    println!("{} runs in {:.1?}: {tally:?}", cases.len(), started.elapsed());
    Ok(())
}

/// One run; nothing where its database is not installed.
fn run(case: &Case, home: &mut Home) -> Result<Tally, Failure> {
    if home.has(case.database)? { Run::of(case, home) } else { Ok(Tally::default()) }
}

/// Shrinks a failing case and writes it down.
fn tell(case: Case, first: String) -> Failure {
    let seed = case.seed;
    println!("seed {seed} failed: {first}\nshrinking");
    let mut last = first;
    let smallest = shrink::shrink(case, |case| {
        let done = Home::new().and_then(|mut home| run(case, &mut home));
        done.is_err_and(|e| {
            last = e.to_string();
            true
        })
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}.json"));
    let text = serde_json::to_string_pretty(&smallest).unwrap_or_default();
    let kept = std::fs::write(&path, &text).map_or_else(|e| e.to_string(), |()| String::new());
    let operations = smallest.operations.len();
    format!("{last}\nseed {seed}, {operations} operations, {}{kept}:\n{text}", path.display())
        .into()
}
