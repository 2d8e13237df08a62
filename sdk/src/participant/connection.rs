//! Signed exchanges with the server, and the content fetched by digest.

use std::sync::Arc;

use adafed_wire::{
    DEVICE_HEADER, DeviceId, DeviceKey, Digest, EnrolRequest, Message, SIGNATURE_HEADER,
    SignedParts, TIME_HEADER, TaskId, decode, encode, path,
};
use serde::Deserialize;

use crate::Error;
use crate::clock::Clock;
use crate::transport::{Request, Transport};

/// Bytes of message bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent by the device.
    pub up_bytes: u64,
    /// Received by the device.
    pub down_bytes: u64,
}

pub(super) struct Connection<T> {
    transport: T,
    key: DeviceKey,
    clock: Arc<dyn Clock>,
    traffic: Traffic,
    // Time of the last signature: the server takes a device's requests in the order of theirs,
    // each once.
    signed_ms: u64,
    // Content is named by its digest and never changes: the plan is the same in every
    // round, a mask in many.
    cache: Vec<(Digest, Vec<u8>)>,
}

/// Contents kept: a plan, a mask and a scale state.
const CACHED: usize = 3;

/// A problem document (RFC 9457), as far as a device reads it.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    detail: String,
    retry_after_ms: Option<u64>,
}

impl<T: Transport> Connection<T> {
    pub(super) fn new(transport: T, key: DeviceKey, clock: Arc<dyn Clock>) -> Self {
        let traffic = Traffic::default();
        Self { transport, key, clock, traffic, signed_ms: 0, cache: Vec::new() }
    }

    pub(super) fn device(&self) -> DeviceId {
        self.key.device()
    }

    pub(super) const fn key(&self) -> &DeviceKey {
        &self.key
    }

    pub(super) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(super) fn enrol(&mut self, token: &str) -> Result<(), Error> {
        let request = EnrolRequest { token: token.to_owned(), public_key: self.key.public_key() };
        self.post(path::DEVICES, &request).map(drop)
    }

    pub(super) fn post<M: Message>(&mut self, path: &str, message: &M) -> Result<Vec<u8>, Error> {
        self.send("POST", path.to_owned(), encode(message)?)
    }

    pub(super) fn upload(
        &mut self,
        task: &TaskId,
        round: u64,
        body: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.send("PUT", path::update(task, round, &self.device()), body.to_vec())
    }

    /// The plan of a task, with its encoding.
    pub(super) fn plan<M: Message>(
        &mut self,
        task: &TaskId,
        digest: &Digest,
    ) -> Result<(M, Vec<u8>), Error> {
        self.fetch(path::plan(task), digest, "plan")
    }

    /// The plan that the server has for a task, whichever it is: to look at, not to train by.
    pub(super) fn offered_plan<M: Message>(&mut self, task: &TaskId) -> Result<M, Error> {
        Ok(decode(&self.send("GET", path::plan(task), Vec::new())?)?)
    }

    /// Content by digest, with its encoding.
    pub(super) fn content<M: Message>(
        &mut self,
        task: &TaskId,
        digest: &Digest,
        what: &'static str,
    ) -> Result<(M, Vec<u8>), Error> {
        self.fetch(path::content(task, digest), digest, what)
    }

    fn fetch<M: Message>(
        &mut self,
        path: String,
        digest: &Digest,
        what: &'static str,
    ) -> Result<(M, Vec<u8>), Error> {
        let cached = self.cache.iter().find(|(d, _)| d == digest).map(|(_, b)| b.clone());
        let bytes = match cached {
            Some(bytes) => bytes,
            None => self.send("GET", path, Vec::new())?,
        };
        if Digest::of(&bytes) != *digest {
            return Err(Error::WrongContent { what, digest: digest.to_string() });
        }
        // A model changes every round: keeping it would only push out what does not.
        if what != "model" {
            self.cache.retain(|(d, _)| d != digest);
            self.cache.insert(0, (*digest, bytes.clone()));
            self.cache.truncate(CACHED);
        }
        Ok((decode(&bytes)?, bytes))
    }

    fn send(
        &mut self,
        method: &'static str,
        path: String,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let time_ms = self.clock.now_ms().max(self.signed_ms + 1);
        self.signed_ms = time_ms;
        let signature = self.key.sign(SignedParts { method, path: &path, time_ms, body: &body });
        let headers = vec![
            (DEVICE_HEADER, self.device().to_string()),
            (TIME_HEADER, time_ms.to_string()),
            (SIGNATURE_HEADER, signature),
            ("content-type", adafed_wire::MEDIA_TYPE.to_owned()),
        ];
        let request = Request { method, path, headers, body };
        self.traffic.up_bytes += request.body.len() as u64;
        let response = self.transport.send(&request)?;
        self.traffic.down_bytes += response.body.len() as u64;
        if (200..300).contains(&response.status) {
            return Ok(response.body);
        }
        Err(refusal(response.status, &response.body))
    }
}

fn refusal(status: u16, body: &[u8]) -> Error {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_else(|_| unknown());
    let code = problem.kind.strip_prefix("urn:adafed:problem:").unwrap_or(&problem.kind);
    let code = code.to_owned();
    let Problem { detail, retry_after_ms, .. } = problem;
    Error::Server { status, code, detail, retry_after_ms }
}

/// What stands for a body that is no problem document.
fn unknown() -> Problem {
    Problem { kind: String::new(), detail: "no reason given".into(), retry_after_ms: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::transport::{self, Response};

    /// Answers everything with a problem, and keeps the times of signing.
    #[derive(Default)]
    struct Refusing {
        times: Mutex<Vec<u64>>,
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now_ms(&self) -> u64 {
            7
        }
    }

    impl Transport for Refusing {
        fn send(&self, request: &Request) -> Result<Response, transport::Error> {
            let time = request.headers.iter().find(|(name, _)| *name == TIME_HEADER).unwrap();
            self.times.lock().unwrap().push(time.1.parse().unwrap());
            let body = br#"{"type": "urn:adafed:problem:server/replayed", "status": 401,
                "detail": "sign again", "retry_after_ms": 40}"#;
            Ok(Response { status: 401, body: body.to_vec() })
        }
    }

    #[test]
    fn signing_times_only_grow_and_a_repetition_may_be_tried_again() {
        let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
        let mut connection = Connection::new(Refusing::default(), key, Arc::new(Stopped));
        for _ in 0..3 {
            let error = connection.enrol("token").unwrap_err();
            assert!(error.is_retryable() && error.code() == "server/replayed");
            assert_eq!(error.retry_after_ms(), Some(40));
        }
        assert_eq!(*connection.transport.times.lock().unwrap(), [7, 8, 9]);
    }

    #[test]
    fn what_waiting_may_cure_is_retryable() {
        for (status, retryable) in [(429, true), (503, true), (507, true), (401, false)] {
            assert_eq!(refusal(status, b"").is_retryable(), retryable, "{status}");
        }
    }
}
