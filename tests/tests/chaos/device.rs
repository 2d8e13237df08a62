//! Devices of a run: what each was told, and the requests it can make.

use std::collections::{BTreeMap, BTreeSet};

use adafed_tests::client::{Answer, Request};
use adafed_tests::fixture::Failure;
use adafed_tests::peer::{Peer, update};
use adafed_wire::{
    Assignment, CheckinResponse, Digest, Receipt, SIGNATURE_HEADER, TaskId, decode, encode,
};

use super::model::{About, Asked, Known, Told};
use super::operations::{How, What};
use super::random::Random;

/// A request, and what the model knows about it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    pub(crate) asked: Asked,
}

#[derive(Debug)]
pub(crate) struct Device {
    number: usize,
    pub(crate) peer: Peer,
    /// Rounds that it was asked to join.
    pub(crate) held: BTreeMap<u64, Assignment>,
    /// Its own update of each round, as a number in [`Known::uploads`].
    made: BTreeMap<u64, usize>,
    /// Rounds whose update was answered for good.
    answered: BTreeSet<u64>,
    last: Option<Sent>,
    /// Operation from which on it acts again.
    pub(crate) paused_until: usize,
}

impl Device {
    pub(crate) fn new(number: usize) -> Result<Self, Failure> {
        Ok(Self {
            number,
            peer: Peer::new()?,
            held: BTreeMap::new(),
            made: BTreeMap::new(),
            answered: BTreeSet::new(),
            last: None,
            paused_until: 0,
        })
    }

    /// Rounds that it was asked to join and whose update may not have arrived.
    pub(crate) fn owed(&self) -> Vec<u64> {
        self.held.keys().copied().filter(|round| !self.answered.contains(round)).collect()
    }

    /// What it sends to do `what`.
    pub(crate) fn act(
        &mut self,
        task: &TaskId,
        known: &mut Known,
        what: What,
    ) -> Result<Sent, Failure> {
        let newest = self.held.keys().next_back().copied();
        let sent = match (what, newest) {
            (What::Replay, _) if self.last.is_some() => self.last.clone().ok_or("none")?,
            (What::Next, Some(round)) if !self.answered.contains(&round) => {
                self.upload(task, known, round, How::Right)?
            }
            (What::Upload { back, how }, Some(newest)) => {
                let round = self.held.keys().rev().nth(back).copied().unwrap_or(newest);
                self.upload(task, known, round, how)?
            }
            (What::Skewed { ms }, _) => {
                self.check_in(task, known.now_ms.saturating_add_signed(ms))?
            }
            _ => self.check_in(task, known.now_ms)?,
        };
        self.last = Some(sent.clone());
        Ok(sent)
    }

    fn check_in(&mut self, task: &TaskId, now_ms: u64) -> Result<Sent, Failure> {
        let request = self.peer.check_in(task, now_ms)?;
        Ok(self.sent(request, About::CheckIn))
    }

    pub(crate) fn upload(
        &mut self,
        task: &TaskId,
        known: &mut Known,
        round: u64,
        how: How,
    ) -> Result<Sent, Failure> {
        let mut assignment = self.held[&round].clone();
        let nothing = Digest::of(b"nothing");
        match how {
            How::Plan => assignment.plan = nothing,
            How::Mask => assignment.mask = nothing,
            How::Model => assignment.model = nothing,
            _ => {}
        }
        let upload = match how {
            How::Other => self.draw(known, round, 1),
            _ => self.own(known, round),
        };
        let mut body = encode(&update(task, &assignment, &known.uploads[upload])?)?;
        match how {
            How::Version => body[0] = 9,
            How::Cut => body.truncate(body.len() - 1),
            _ => {}
        }
        let mut request = self.peer.upload(task, round, body, known.now_ms);
        if how == How::Foreign {
            forge(&mut request)?;
        }
        Ok(self.sent(request, about(how, round as usize, upload)))
    }

    /// The update that the device makes once, and sends as often as it must.
    fn own(&mut self, known: &mut Known, round: u64) -> usize {
        if let Some(made) = self.made.get(&round) {
            return *made;
        }
        let made = self.draw(known, round, 0);
        self.made.insert(round, made);
        made
    }

    /// An update of ten bits a value.
    fn draw(&self, known: &mut Known, round: u64, variant: u64) -> usize {
        let seed = known.seed ^ (self.number as u64) << 48 ^ round << 32 ^ variant << 24;
        let mut random = Random::new(seed);
        let active = known.published[&(round as usize)].active.len();
        let values = (0..active).map(|_| random.below(1024) as i64 - 512).collect();
        match known.uploads.iter().position(|made| *made == values) {
            Some(made) => made,
            None => {
                known.uploads.push(values);
                known.uploads.len() - 1
            }
        }
    }

    const fn sent(&self, request: Request, about: About) -> Sent {
        let signed_ms = self.peer.signed_ms();
        Sent { request, asked: Asked { device: self.number, signed_ms, about } }
    }

    /// Takes an answer in.
    pub(crate) fn hear(&mut self, sent: &Sent, answer: &Answer) -> Result<Told, Failure> {
        let told = told(sent, answer)?;
        let closed = Told::Refused("server/round-closed".into());
        match (sent.asked.about, &told) {
            (About::CheckIn, Told::Join(round)) => {
                let CheckinResponse::Join(assignment) = decode(&answer.body)? else {
                    return Err("it was read as an assignment".into());
                };
                let held = self.held.entry(*round).or_insert_with(|| assignment.clone());
                if *held != assignment {
                    return Err(format!("two assignments of round {round}").into());
                }
            }
            (About::Upload { round, .. }, Told::Taken { .. }) => {
                self.answered.insert(round as u64);
            }
            (About::Upload { round, .. }, refused) if *refused == closed => {
                self.answered.insert(round as u64);
            }
            _ => {}
        }
        Ok(told)
    }
}

const fn about(how: How, round: usize, upload: usize) -> About {
    match how {
        How::Right | How::Other => About::Upload { round, upload },
        How::Plan | How::Mask | How::Model => About::Wrong("server/stale"),
        How::Version => About::Malformed("wire/version"),
        How::Cut => About::Malformed("wire/malformed"),
        How::Foreign => About::Malformed("wire/signature"),
    }
}

/// Replaces the signature by that of another key.
fn forge(request: &mut Request) -> Result<(), Failure> {
    let mut stranger = Peer::new()?;
    let other = stranger.sign(request.method, request.path.clone(), request.body.clone(), 0);
    let signature = other.headers.into_iter().find(|(name, _)| *name == SIGNATURE_HEADER);
    for header in &mut request.headers {
        if header.0 == SIGNATURE_HEADER {
            *header = signature.clone().ok_or("it is signed")?;
        }
    }
    Ok(())
}

fn told(sent: &Sent, answer: &Answer) -> Result<Told, Failure> {
    if answer.status != 200 {
        let problem: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let code = problem["type"].as_str().unwrap_or_default();
        return Ok(Told::Refused(code.trim_start_matches("urn:adafed:problem:").to_owned()));
    }
    if matches!(sent.asked.about, About::Upload { .. }) {
        let Receipt { duplicate } = decode(&answer.body)?;
        return Ok(Told::Taken { duplicate });
    }
    Ok(match decode(&answer.body)? {
        CheckinResponse::Join(assignment) => Told::Join(assignment.round),
        CheckinResponse::Wait { .. } => Told::Wait,
        CheckinResponse::Finished { .. } => Told::Finished,
    })
}
