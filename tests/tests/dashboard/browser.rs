//! A browser without a window, and what it made of a page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adafed_tests::fixture::Failure;

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// An installed Chromium.
pub(crate) struct Browser {
    program: PathBuf,
}

/// What it made of a page.
pub(crate) struct Page {
    /// The document, after its scripts have run.
    pub(crate) dom: String,
    /// What the browser said meanwhile.
    pub(crate) log: String,
}

impl Browser {
    /// The one that `CHROME` names, or one in the path.
    pub(crate) fn find() -> Option<Self> {
        let named = std::env::var_os("CHROME").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs =
            std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
        let program = named.or_else(|| programs.find(|program| program.is_file()))?;
        Some(Self { program })
    }

    fn command(&self, folder: &Path, size: (u32, u32)) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--enable-logging=stderr", "--v=0", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command.arg(format!("--window-size={},{}", size.0, size.1));
        command.stdin(Stdio::null());
        command
    }

    /// Opens a page and lets `milliseconds` pass for its scripts; they wait for answers first.
    pub(crate) fn open(
        &self,
        folder: &Path,
        size: (u32, u32),
        milliseconds: u32,
        address: &str,
    ) -> Result<Page, Failure> {
        let mut command = self.command(folder, size);
        command.arg(format!("--virtual-time-budget={milliseconds}"));
        let output = command.args(["--dump-dom", address]).output()?;
        let (dom, log) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        if !output.status.success() || dom.is_empty() {
            return Err(format!("{}: {log}", output.status).into());
        }
        Ok(Page { dom, log })
    }

    /// Makes a picture of a page, with flags of its own.
    pub(crate) fn picture(
        &self,
        folder: &Path,
        size: (u32, u32),
        flags: &[&str],
        (address, file): (&str, &Path),
    ) -> Result<(), Failure> {
        let mut command = self.command(folder, size);
        command.args(flags).arg("--virtual-time-budget=1500");
        command.arg(format!("--screenshot={}", file.display()));
        let output = command.arg(address).output()?;
        if output.status.success() { Ok(()) } else { Err("no picture".into()) }
    }
}

impl Page {
    /// Complaints: what the policy refused, errors of scripts.
    pub(crate) fn complaints(&self) -> Vec<&str> {
        let words = ["Refused to", "CONSOLE", "Content Security Policy", "Uncaught"];
        self.log.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect()
    }

    /// Every figure by name, with the different values that it has.
    pub(crate) fn figures(&self) -> BTreeMap<String, Vec<String>> {
        let mut figures: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rest in self.dom.split("data-figure=\"").skip(1) {
            let name = rest.split('"').next().unwrap_or_default();
            let value = rest.split("data-value=\"").nth(1).and_then(|r| r.split('"').next());
            let values = figures.entry(name.to_owned()).or_default();
            let value = value.unwrap_or_default().to_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        figures
    }

    /// An attribute of the root that the page's script sets.
    pub(crate) fn root(&self, attribute: &str) -> Option<u32> {
        let root = self.dom.split("<html").nth(1)?.split('>').next()?;
        let value = root.split(&format!("{attribute}=\"")).nth(1)?;
        value.split('"').next()?.parse().ok()
    }
}
