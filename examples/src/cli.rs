//! What the two commands do with their settings.

use std::path::Path;
use std::process::ExitCode;

use adafed::privacy::PrivacyPlan;

use crate::Error;
use crate::output;
use crate::progress::bytes;
use crate::report::{self, Report};
use crate::run::Run;
use crate::settings::Settings;
use crate::task::Task;

/// Runs a command to its exit code: 0 on success, 1 on an error, which is printed.
#[must_use]
pub fn main(settings: Settings) -> ExitCode {
    match execute(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn execute(settings: Settings) -> Result<(), Error> {
    let (json, folder, dry_run) =
        (settings.json.clone(), settings.report.clone(), settings.dry_run);
    let clients = settings.clients;
    let cohort = settings.cohort();
    let run = Run::prepare(settings)?;
    output::line(forecast(run.task(), clients, cohort))?;
    if dry_run {
        return Ok(());
    }
    // A run takes minutes: what would lose its results is found before it starts.
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).map_err(|e| unwritable(folder, e))?;
        temporary_in(folder)?;
    }
    json.as_deref().map(|file| temporary_in(folder_of(file))).transpose()?;
    let state = tempfile::tempdir()?;
    let (report, privacy) = run.execute(state.path())?;
    output::line(report::summary_table(&report))?;
    if let Some(file) = json {
        write_json(&report, &file)?;
    }
    if let Some(folder) = folder {
        privacy.write(&folder)?;
        report::write(&report, &folder)?;
        output::line(format_args!("report: {}", folder.join("report.html").display()))?;
        output::line(how_to_check(&folder))?;
    }
    Ok(())
}

/// The report alone, in one step: either the old file or the whole new one is there.
fn write_json(report: &Report, file: &Path) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(report)?;
    let mut temporary = temporary_in(folder_of(file))?;
    std::io::Write::write_all(&mut temporary, text.as_bytes())?;
    temporary.persist(file).map_err(|e| e.error)?;
    Ok(())
}

/// Where the signed privacy reports lie and how anybody checks them.
fn how_to_check(folder: &Path) -> String {
    let (most, all) = (folder.join("privacy-report.json"), folder.join("devices"));
    format!(
        "privacy report: {}, and one for each device in {}; check them with\n  \
         cargo adafed-verify {}",
        most.display(),
        all.display(),
        folder.display()
    )
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is gone again unless it is persisted.
fn temporary_in(folder: &Path) -> Result<tempfile::NamedTempFile, Error> {
    tempfile::NamedTempFile::new_in(folder).map_err(|e| unwritable(folder, e))
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::Unwritable { path: path.to_owned(), source }
}

/// What a run will cost, before anything runs.
fn forecast(task: &Task, clients: u32, cohort: u32) -> String {
    let plan = &task.plan;
    let privacy = &plan.privacy;
    let up: u64 = (0..privacy.rounds()).map(|r| task.plan.expected_update_bytes(r)).sum();
    let dense = privacy.rounds() * plan.layout.len() as u64 * 4;
    format!(
        "plan      {clients} devices, {cohort} a round, {} rounds of which {} warm-up\n\
         privacy   noise multiplier {}, {} steps at sampling rate {}, \
         epsilon {:.3} at delta {} ({} accountant, one example added or removed)\n\
         upload    about {} a device over the whole run, {} as dense float32",
        privacy.rounds(),
        privacy.warmup.rounds,
        multipliers(privacy),
        privacy.rounds() * u64::from(privacy.local_steps),
        privacy.rate,
        task.epsilon.epsilon,
        privacy.delta,
        task.epsilon.accountant,
        bytes(up),
        bytes(dense),
    )
}

fn multipliers(privacy: &PrivacyPlan) -> String {
    let (warmup, main) = (privacy.warmup, privacy.main);
    if warmup.rounds == 0 || main.rounds == 0 || warmup.noise_multiplier == main.noise_multiplier {
        return format!("{:.4}", privacy.least_noise_multiplier().value());
    }
    let (warmup, main) = (warmup.noise_multiplier.value(), main.noise_multiplier.value());
    format!("{warmup:.4} in the warm-up and {main:.4} after it")
}
