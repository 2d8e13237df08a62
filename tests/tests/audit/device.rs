//! A whole device against a whole server: everything that leaves it, and what its ledger says
//! at the moment at which an update does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use adafed::Next;
use adafed::data::{Examples, digits};
use adafed::transport::{Error, HttpTransport, Request, Response, Transport};
use adafed::wire::Digest;
use adafed_tests::fixture::{self, Failure, http};
use adafed_tests::host::Host;

use crate::setup::{Records, ledger};

/// A request on its way, and the device's records when it left.
struct Sent {
    request: Request,
    records: String,
}

impl Sent {
    fn is_update(&self) -> bool {
        self.request.method == "PUT" && self.request.path.contains("/updates/")
    }
}

/// Reads the device's ledger before it lets a request pass.
struct Spy {
    inner: HttpTransport,
    ledger: PathBuf,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Transport for Spy {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let records = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        let sent = Sent { request: request.clone(), records };
        self.sent.lock().map_err(|e| Error { reason: e.to_string() })?.push(sent);
        self.inner.send(request)
    }
}

/// All requests of a device that takes part in four rounds of two steps.
fn requests(folder: &Path, data: Examples) -> Result<Vec<Sent>, Failure> {
    let host = Host::start(folder, &fixture::plan(fixture::privacy(2, 2, 2)?, 1)?)?;
    let inner = http(&host.address)?;
    let (home, sent) = (folder.join("device"), Arc::new(Mutex::new(Vec::new())));
    let spy = Spy { inner, ledger: home.join("ledger.jsonl"), sent: sent.clone() };
    let mut device = fixture::device(&home, spy, &host.token, data, fixture::policy(100.0)?)?;
    while device.tick()?.next != Next::Never {}
    drop(device);
    let sent = Arc::into_inner(sent).ok_or("somebody still listens")?;
    Ok(sent.into_inner()?)
}

#[test]
fn an_update_is_charged_and_recorded_before_its_first_byte_leaves() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (task, delta) = (fixture::task()?, fixture::privacy(2, 2, 2)?.delta);
    let sent = requests(folder.path(), digits(1, 50))?;
    let updates: Vec<&Sent> = sent.iter().filter(|sent| sent.is_update()).collect();
    assert_eq!(updates.len(), 4);
    let mut spent = 0.0;
    for (round, Sent { request, records }) in (0..).zip(updates) {
        // Killed now, the device would start again with these records.
        let after = ledger(Records::of(records)?)?;
        assert!(after.charged_rounds(task.as_str()).eq(0..=round));
        let recorded = after.released(task.as_str(), round).ok_or("no release is recorded")?;
        assert_eq!(recorded, Digest::of(&request.body).to_string());
        let epsilon = after.epsilon(task.as_str(), delta).epsilon;
        assert!(epsilon > spent);
        spent = epsilon;
    }
    Ok(())
}

/// Requests other than updates, without what names a device or is itself a digest.
fn besides_updates(sent: &[Sent]) -> BTreeSet<(String, String, Vec<u8>)> {
    let of = |request: &Request| {
        let parts = request.path.split('/').map(|part| {
            let digest = part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
            if digest { "*" } else { part }
        });
        let enrols = request.path.ends_with("enrol") || request.path.ends_with("devices");
        let body = if enrols { Vec::new() } else { request.body.clone() };
        (request.method.to_owned(), parts.collect::<Vec<_>>().join("/"), body)
    };
    sent.iter().filter(|sent| !sent.is_update()).map(|sent| of(&sent.request)).collect()
}

#[test]
fn nothing_besides_updates_depends_on_the_examples() -> Result<(), Failure> {
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let many = requests(one.path(), digits(1, 300))?;
    let few = requests(other.path(), digits(2, 3))?;
    assert_eq!(besides_updates(&many), besides_updates(&few));
    assert_eq!(besides_updates(&many).len(), 4, "{:?}", besides_updates(&many));
    // Nor do the headers, but for the device's name, the time and the signature.
    let names = |sent: &[Sent]| -> BTreeSet<&str> {
        sent.iter().flat_map(|s| &s.request.headers).map(|(name, _)| *name).collect()
    };
    assert_eq!(names(&many), names(&few));
    Ok(())
}
