//! Signed privacy reports of a run's devices, as files that can be checked without it.

use std::fs;
use std::io;
use std::path::Path;

use adafed::wire::{DeviceId, SignedReport};

use super::{Error, files};

/// The report of a run: that of the device that spent most.
const OF_THE_RUN: &str = "privacy-report.json";
/// Folder with the report of every device, named after it.
const OF_DEVICES: &str = "devices";

/// The privacy reports of a run, by ascending epsilon.
#[derive(Clone, Debug)]
pub struct PrivacyReports(Vec<SignedReport>);

impl PrivacyReports {
    /// Sorts what the devices signed.
    #[must_use]
    pub fn new(mut reports: Vec<SignedReport>) -> Self {
        let epsilon = |r: &SignedReport| r.report.spent.epsilon.value();
        reports.sort_by(|a, b| epsilon(a).total_cmp(&epsilon(b)).then(a.device.cmp(&b.device)));
        Self(reports)
    }

    /// Epsilon of the device in the middle, of the upper one of two; 0 without devices.
    #[must_use]
    pub fn median_epsilon(&self) -> f64 {
        self.0.get(self.0.len() / 2).map_or(0.0, |r| r.report.spent.epsilon.value())
    }

    /// Writes `privacy-report.json`, that of the device that spent most, and one for each
    /// device into `devices`, whose reports of an earlier run go. Each file appears whole
    /// or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] naming the file or folder, [`Error::Render`] when a report cannot
    /// be written as JSON.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let devices = directory.join(OF_DEVICES);
        files::make_directory(&devices)?;
        remove_earlier(&devices)
            .map_err(|source| Error::Write { path: devices.clone(), source })?;
        for report in &self.0 {
            files::write_whole(&devices, &format!("{}.json", report.device), &text(report)?)?;
        }
        match self.0.last() {
            Some(most) => files::write_whole(directory, OF_THE_RUN, &text(most)?),
            None => Ok(()),
        }
    }
}

fn text(report: &SignedReport) -> Result<String, Error> {
    let render = |e: adafed::wire::Error| Error::Render { what: OF_THE_RUN, reason: e.to_string() };
    report.to_json().map_err(render)
}

/// Removes reports of devices that this run does not have; leaves all other files alone.
fn remove_earlier(devices: &Path) -> io::Result<()> {
    for entry in fs::read_dir(devices)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.strip_suffix(".json").is_some_and(|name| name.parse::<DeviceId>().is_ok()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
