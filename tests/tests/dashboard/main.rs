//! The dashboard in a browser: every figure that it shows is the interface's, it is kept up
//! to date, nothing is refused by its own policy, and it fits a phone.

mod browser;
mod pictures;
mod proxy;

use std::collections::BTreeMap;
use std::path::Path;

use adafed::data::digits;
use adafed::store::FileStore;
use adafed::transport::{HttpTransport, Request, Transport};
use adafed::{Activity, Participant};
use adafed_server::{NewOperator, Scope};
use adafed_tests::fixture::{Failure, http, plan, privacy};
use adafed_tests::host::{Host, tick_until};
use browser::{Browser, Page};
use proxy::{Gate, PHONE, phone};
use serde_json::{Value, json};

const WINDOW: (u32, u32) = (1_280, 900);
/// Enough for a first look and two more, two seconds apart each.
const TWO_UPDATES_MS: u32 = 5_500;

type Device = Participant<HttpTransport, FileStore>;

/// A server that anybody may read, two devices and three rounds done.
struct Federation {
    host: Host,
    devices: Vec<Device>,
}

impl Federation {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let plan = plan(privacy(1, 9, 1)?, 2)?;
        let host = Host::start_as(folder, &plan, |config| config.open_reading = true)?;
        let device = |n| host.device(&folder.join(format!("device-{n}")), digits(n, 200), 20.0);
        let devices = vec![device(1)?, device(2)?];
        let mut federation = Self { host, devices };
        for _ in 0..3 {
            federation.round()?;
        }
        Ok(federation)
    }

    /// Every device reports once, which closes the round.
    fn round(&mut self) -> Result<(), Failure> {
        let uploaded = |a: &Activity| matches!(a, Activity::Uploaded { .. });
        self.devices.iter_mut().try_for_each(|device| tick_until(device, uploaded))
    }

    /// Reports evaluations by the token of an evaluator.
    fn evaluate(&self, name: &str, evaluations: &[Value]) -> Result<(), Failure> {
        let new = NewOperator { name: name.to_owned(), scope: Scope::Evaluate, expires_in_s: None };
        let token = self.host.runtime.block_on(self.host.service.create_operator(new))?.token;
        for evaluation in evaluations {
            let answer = http(&self.host.address)?.send(&Request {
                method: "POST",
                path: "/v1/tasks/test/evaluations".to_owned(),
                headers: vec![("authorization", format!("Bearer {token}"))],
                body: evaluation.to_string().into_bytes(),
            })?;
            assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        let request =
            Request { method: "GET", path: path.to_owned(), headers: vec![], body: vec![] };
        let answer = http(&self.host.address)?.send(&request)?;
        assert_eq!(answer.status, 200, "{path}");
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Every figure of the pages as the JSON interface has it.
    fn expected(&self) -> Result<BTreeMap<&'static str, Value>, Failure> {
        let status = self.get("/v1/tasks/test")?;
        let privacy = self.get("/v1/tasks/test/privacy")?;
        let rounds = self.get("/v1/tasks/test/rounds")?;
        let evaluations = self.get("/v1/tasks/test/evaluations")?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let sum = |of: &str| list(&rounds).iter().filter_map(|r| r[of].as_u64()).sum::<u64>();
        let last_of = |value: &Value| list(value).pop().ok_or("nothing is reported");
        let (live, last) = (last_of(&rounds)?, last_of(&evaluations)?);
        let saved = sum("bytes_dense") - sum("bytes_up");
        let mut expected = BTreeMap::from([
            ("live_round", live["round"].clone()),
            ("deadline_ms", live["deadline_ms"].clone()),
            ("last_phase", status["phase"].clone()),
            ("accuracy", last["accuracy"].clone()),
            ("loss", last["loss"].clone()),
            ("bytes_up", sum("bytes_up").into()),
            ("bytes_dense", sum("bytes_dense").into()),
            ("bytes_saved", saved.into()),
            ("bytes_saved_all", saved.into()),
            ("devices", list(&privacy["devices"]).len().into()),
            ("tasks", 1.into()),
            ("running", 1.into()),
        ]);
        expected.extend(STATUS.map(|name| (name, status[name].clone())));
        expected.extend(PRIVACY.map(|name| (name, privacy[name].clone())));
        Ok(expected)
    }
}

const STATUS: [&str; 10] = [
    "state",
    "round",
    "rounds",
    "phase",
    "participants",
    "reports",
    "active_coordinates",
    "parameters",
    "plan",
    "model",
];
const PRIVACY: [&str; 12] = [
    "epsilon",
    "epsilon_rdp",
    "epsilon_pld",
    "epsilon_next_round",
    "epsilon_all_rounds",
    "accountant",
    "delta",
    "adjacency",
    "unit",
    "device_epsilon_cap",
    "task_epsilon_cap",
    "halted_devices",
];

/// Every figure on the page has the one value that the interface says.
fn check(page: &Page, expected: &BTreeMap<&str, Value>, least: usize) {
    let figures = page.figures();
    assert!(figures.len() >= least, "{figures:?}");
    for (name, values) in figures {
        let exact = match &expected[name.as_str()] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        assert_eq!(values, [exact], "{name}");
    }
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
}

fn browser(test: &str) -> Option<Browser> {
    let browser = Browser::find();
    if browser.is_none() {
        println!("{test}: skipped: no Chromium");
    }
    browser
}

#[test]
fn every_figure_in_the_browser_is_the_interface_s() -> Result<(), Failure> {
    let Some(browser) = browser("every_figure_in_the_browser_is_the_interface_s") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let federation = Federation::start(folder.path())?;
    federation.evaluate(
        "hospital-a",
        &[
            json!({"round": 0, "loss": 2.302, "accuracy": 0.1, "examples": 500}),
            json!({"round": 2, "loss": 1.905_000_1, "accuracy": 0.412, "examples": 500}),
        ],
    )?;
    let expected = federation.expected()?;
    for (path, least) in [("/", 15), ("/tasks/test", 28)] {
        let address = format!("{}{path}", federation.host.address);
        let page = browser.open(folder.path(), WINDOW, TWO_UPDATES_MS, &address)?;
        check(&page, &expected, least);
        assert!(page.root("data-updates") >= Some(2), "the page was kept up to date");
        let framed = phone(&federation.host.address, path, PHONE.1)?;
        let page = browser.open(folder.path(), WINDOW, 1_000, &framed)?;
        assert_eq!(page.root("data-inner-width"), Some(PHONE.0), "the phone is a phone");
        assert_eq!(page.root("data-scroll-width"), Some(PHONE.0), "{path} fits a phone");
    }
    let address = format!("{}/tasks/none", federation.host.address);
    let page = browser.open(folder.path(), WINDOW, 500, &address)?;
    assert!(page.dom.contains("Error 404") && page.dom.contains("none"), "{}", page.dom);
    Ok(())
}

#[test]
fn a_page_that_is_open_follows_the_rounds() -> Result<(), Failure> {
    let Some(browser) = browser("a_page_that_is_open_follows_the_rounds") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let mut federation = Federation::start(folder.path())?;
    federation.evaluate("e", &[json!({"round": 1, "loss": 2.0, "examples": 9})])?;
    let before = federation.expected()?;
    assert_eq!((&before["round"], &before["accuracy"]), (&json!(3), &Value::Null));
    let gate = Gate::before(&federation.host.address, "/tasks/test")?;
    let (address, home) = (format!("{}/tasks/test", gate.address), folder.path().to_owned());
    let looking = std::thread::spawn(move || browser.open(&home, WINDOW, TWO_UPDATES_MS, &address));
    // The first look was at three rounds; the fourth is over before the second look.
    gate.second.recv()?;
    federation.round()?;
    gate.pass.send(())?;
    let page = looking.join().map_err(|_| "the browser's thread failed")??;
    let after = federation.expected()?;
    assert_eq!(after["round"], 4);
    assert_ne!(after["epsilon"], before["epsilon"]);
    check(&page, &after, 28);
    Ok(())
}
