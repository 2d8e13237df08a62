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
}

impl<T: Transport> Connection<T> {
    pub(super) fn new(transport: T, key: DeviceKey, clock: Arc<dyn Clock>) -> Self {
        Self { transport, key, clock, traffic: Traffic::default(), cache: Vec::new() }
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
        let time_ms = self.clock.now_ms();
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
    let unknown = || Problem { kind: String::new(), detail: "no reason given".into() };
    let problem = serde_json::from_slice(body).unwrap_or_else(|_| unknown());
    let code = problem.kind.strip_prefix("urn:adafed:problem:").unwrap_or(&problem.kind);
    Error::Server { status, code: code.to_owned(), detail: problem.detail }
}
