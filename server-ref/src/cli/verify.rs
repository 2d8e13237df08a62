//! `privacy verify`: checks privacy reports from their files alone.
//!
//! Exit codes: 0 where every report is true, 1 where one is not, 2 where one cannot be
//! read, or the command line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use adafed_privacy::Delta;
use adafed_privacy::accounting::Accountant;
use adafed_privacy::report::{Account, Bound, Difference};
use adafed_wire::{Check, DeviceId, SignedReport};
use clap::Args;
use serde::Serialize;

use super::verdict;

pub(super) const EXIT_CODES: &str = "Exit codes:\n  0  every report is true\n  \
    1  a report is not: each difference is printed with its field\n  \
    2  a report cannot be read, or is malformed; wrong command line";

const IN_A_FOLDER: &str = "privacy-report.json";

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// Report to check; or a folder, for its privacy-report.json and all reports in its
    /// folder `devices`, with the largest and the median epsilon.
    #[arg(value_name = "REPORT")]
    path: PathBuf,
    /// Name of the device that the report must be of, 32 hexadecimal digits.
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceId>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// A file that cannot be checked, and why, in words.
struct Unreadable {
    path: PathBuf,
    reason: String,
}

/// One report and what came of checking it.
#[derive(Serialize)]
pub(super) struct Checked {
    pub(super) file: PathBuf,
    #[serde(rename = "true")]
    pub(super) is_true: bool,
    device: String,
    epsilon: Bound,
    delta: Delta,
    accountant: Accountant,
    pub(super) check: Check,
    #[serde(skip)]
    pub(super) signed: SignedReport,
}

/// All reports of one command.
#[derive(Serialize)]
pub(super) struct Verdict {
    #[serde(rename = "true")]
    pub(super) is_true: bool,
    pub(super) devices: usize,
    pub(super) largest_epsilon: Option<Bound>,
    pub(super) median_epsilon: Option<Bound>,
    pub(super) reports: Vec<Checked>,
}

impl Verify {
    pub(super) fn run(&self) -> u8 {
        match self.verdict() {
            Ok(verdict) => self.print(&verdict),
            Err(Unreadable { path, reason }) => {
                eprintln!("adafed-server: {}: {reason}", path.display());
                2
            }
        }
    }

    fn verdict(&self) -> Result<Verdict, Unreadable> {
        let files =
            if self.path.is_dir() { in_folder(&self.path)? } else { vec![self.path.clone()] };
        let reports: Vec<Checked> =
            files.into_iter().map(|file| self.check(file)).collect::<Result<_, _>>()?;
        Ok(Verdict::new(reports))
    }

    fn check(&self, file: PathBuf) -> Result<Checked, Unreadable> {
        let text = fs::read_to_string(&file).map_err(|e| unread(&file, &e))?;
        let malformed = |e: adafed_wire::Error| Unreadable {
            path: file.clone(),
            reason: format!("{e}; the file is cut short, changed, or something else"),
        };
        let signed = SignedReport::from_json(&text).map_err(malformed)?;
        let mut check = signed.check();
        let other = self.device.filter(|device| *device != signed.device);
        let other = other.map(|asked| Difference::new("device".into(), signed.device, asked));
        check.device.extend(other);
        Ok(Checked::new(file, signed, check))
    }

    fn print(&self, verdict: &Verdict) -> u8 {
        let text = if self.json {
            serde_json::to_string_pretty(verdict).unwrap_or_default() + "\n"
        } else {
            verdict::text(verdict)
        };
        // A reader that left early, such as `head`, has what it wanted; the exit code stays.
        let _ = io::stdout().write_all(text.as_bytes());
        u8::from(!verdict.is_true)
    }
}

impl Checked {
    fn new(file: PathBuf, signed: SignedReport, check: Check) -> Self {
        let Account { epsilon, delta, accountant, .. } = signed.report.spent;
        let (device, is_true) = (signed.device.to_string(), check.is_true());
        Self { file, is_true, device, epsilon, delta, accountant, check, signed }
    }
}

impl Verdict {
    fn new(reports: Vec<Checked>) -> Self {
        // The report of a run repeats that of a device.
        let by_device: BTreeMap<DeviceId, Bound> =
            reports.iter().map(|r| (r.signed.device, r.signed.report.spent.epsilon)).collect();
        let mut epsilons: Vec<Bound> = by_device.into_values().collect();
        epsilons.sort_by(|a, b| a.value().total_cmp(&b.value()));
        Self {
            is_true: reports.iter().all(|r| r.is_true),
            devices: epsilons.len(),
            largest_epsilon: epsilons.last().copied(),
            median_epsilon: epsilons.get(epsilons.len() / 2).copied(),
            reports,
        }
    }
}

fn unread(path: &Path, e: &io::Error) -> Unreadable {
    Unreadable { path: path.to_owned(), reason: format!("cannot be read: {e}") }
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let run = folder.join(IN_A_FOLDER);
    let devices = folder.join("devices");
    let mut files: Vec<PathBuf> = run.exists().then_some(run).into_iter().collect();
    if devices.is_dir() {
        for entry in fs::read_dir(&devices).map_err(|e| unread(&devices, &e))? {
            files.push(entry.map_err(|e| unread(&devices, &e))?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "json"));
    files.sort_by_key(|file| (file.starts_with(&devices), file.clone()));
    if files.is_empty() {
        let reason = format!("the folder holds neither {IN_A_FOLDER} nor devices/*.json");
        return Err(Unreadable { path: folder.to_owned(), reason });
    }
    Ok(files)
}
