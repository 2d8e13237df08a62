//! A whole device against a whole server: what its ledger says at the moment at which an
//! update leaves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use adafed::Next;
use adafed::data::digits;
use adafed::transport::{Error, HttpTransport, Request, Response, Transport};
use adafed::wire::Digest;
use adafed_server::{Server, ServerConfig};
use adafed_tests::fixture::{self, Failure, http};
use tokio::runtime::Runtime;

use crate::setup::{Records, ledger};

/// An update on its way, and the device's records when it left.
struct Sent {
    body: Vec<u8>,
    records: String,
}

/// Reads the device's ledger before it lets an update pass.
struct Spy {
    inner: HttpTransport,
    ledger: PathBuf,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Transport for Spy {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        if request.method == "PUT" && request.path.contains("/updates/") {
            let records = std::fs::read_to_string(&self.ledger).unwrap_or_default();
            let sent = Sent { body: request.body.clone(), records };
            self.sent.lock().map_err(|e| Error { reason: e.to_string() })?.push(sent);
        }
        self.inner.send(request)
    }
}

/// The updates of a device that takes part in four rounds of two steps.
fn updates(folder: &Path) -> Result<Vec<Sent>, Failure> {
    let runtime = Runtime::new()?;
    let listen = ([127, 0, 0, 1], 0).into();
    let config = ServerConfig::new(listen, folder.join("server.sqlite"), "administrator-of-tests");
    let server = runtime.block_on(Server::bind(config))?;
    let inner = http(&format!("http://{}", server.local_addr()))?;
    let service = server.service().clone();
    runtime.spawn(server.run(std::future::pending()));
    let plan = fixture::plan(fixture::privacy(2, 2, 2)?, 1)?;
    runtime.block_on(service.create_task(plan, fixture::parameters()?))?;
    let token = runtime.block_on(service.create_token(1))?;
    let (home, sent) = (folder.join("device"), Arc::new(Mutex::new(Vec::new())));
    let spy = Spy { inner, ledger: home.join("ledger.jsonl"), sent: sent.clone() };
    let mut device = fixture::device(&home, spy, &token, digits(1, 50), fixture::policy(100.0)?)?;
    while device.tick()?.next != Next::Never {}
    drop(device);
    let sent = Arc::into_inner(sent).ok_or("somebody still listens")?;
    Ok(sent.into_inner()?)
}

#[test]
fn an_update_is_charged_and_recorded_before_its_first_byte_leaves() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (task, delta) = (fixture::task()?, fixture::privacy(2, 2, 2)?.delta);
    let sent = updates(folder.path())?;
    assert_eq!(sent.len(), 4);
    let mut spent = 0.0;
    for (round, Sent { body, records }) in (0..).zip(sent) {
        // Killed now, the device would start again with these records.
        let after = ledger(Records::of(&records)?)?;
        assert!(after.charged_rounds(task.as_str()).eq(0..=round));
        let recorded = after.released(task.as_str(), round).ok_or("no release is recorded")?;
        assert_eq!(recorded, Digest::of(&body).to_string());
        let epsilon = after.epsilon(task.as_str(), delta).epsilon;
        assert!(epsilon > spent);
        spent = epsilon;
    }
    Ok(())
}
