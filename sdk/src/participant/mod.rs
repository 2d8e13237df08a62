//! A device's part in a task: a state machine that the app drives.
//!
//! [`Participant::tick`] does a bounded amount of work and says when to call again. No
//! thread, no runtime: what the app does not call does not run.

mod builder;
mod conditions;
mod connection;
mod job;
mod offer;
mod report;
mod run;
mod seen;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use adafed_privacy::accounting::EpsilonBound;
use adafed_privacy::report::PrivacyReport;
use adafed_privacy::{Ledger, Policy};
use adafed_wire::{CheckinRequest, CheckinResponse, DeviceId, Digest, TaskId, decode, path};

pub use builder::Builder;
pub use conditions::{Conditions, Verdict};
use connection::Connection;
pub use connection::Traffic;
use job::{Job, Outbox};
pub use offer::{GlobalModel, Offer};
use seen::Seen;

use crate::Error;
use crate::clock::Clock;
use crate::data::Dataset;
use crate::store::Store;
use crate::threads::Threads;
use crate::transport::Transport;

/// Longest wait that the server can ask for, in milliseconds.
const LONGEST_WAIT_MS: u64 = 60 * 60 * 1000;

/// How soon to ask again while the host says no, in milliseconds.
const PAUSE_MS: u64 = 1000;

/// Names of the store's entries.
mod entry {
    pub(super) use crate::store::DEVICE_KEY as KEY;
    pub(super) const ENROLLED: &str = "enrolled";
    pub(super) const ROUND: &str = "round.bin";
    pub(super) const OUTBOX: &str = "outbox.bin";
    pub(super) const REPORT: &str = "privacy-report.json";

    /// The whole plan of a task, which the ledger knows by digest only.
    pub(super) fn plan(task: &str) -> String {
        format!("plan-{task}.bin")
    }
}

/// What a tick did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// The device is known to the server now.
    Enrolled,
    /// The server has nothing to do, or it is not yet time to ask.
    Waited,
    /// The device joined this round.
    Joined {
        /// The round.
        round: u64,
    },
    /// A piece of what the model's features take, before the round's first step: learning
    /// them from public images, or computing those of some examples.
    Prepared {
        /// The round.
        round: u64,
    },
    /// One private step of local training.
    Trained {
        /// The round.
        round: u64,
        /// Steps done, of those the plan asks for.
        steps: u32,
    },
    /// The round's release is recorded in the ledger and ready to leave.
    Released {
        /// The round.
        round: u64,
    },
    /// The server has the round's release.
    Uploaded {
        /// The round.
        round: u64,
    },
    /// The server no longer takes this round's release. What was charged stays charged.
    Dropped {
        /// The round.
        round: u64,
        /// Stable code of the server's reason.
        code: String,
    },
    /// The server could not be reached or is busy.
    Delayed {
        /// Why.
        reason: String,
    },
    /// The host's conditions do not allow work now; a step that was under way is repeated.
    Paused,
    /// The task has ended.
    Finished,
}

/// When to call [`Participant::tick`] again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now,
    /// At this time, in milliseconds since 1970.
    At(u64),
    /// Never: the task has ended.
    Never,
}

/// What a tick did and when to come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What happened.
    pub activity: Activity,
    /// When to call again.
    pub next: Next,
}

enum Phase {
    CheckIn { at_ms: u64 },
    Training(Box<Job>),
    Uploading(Outbox),
    Finished { model: Digest },
}

/// A device taking part in one task.
pub struct Participant<T, S: Store> {
    task: TaskId,
    token: String,
    connection: Connection<T>,
    store: S,
    ledger: Ledger<S::Ledger>,
    data: Arc<dyn Dataset>,
    clock: Arc<dyn Clock>,
    conditions: Arc<dyn Conditions>,
    threads: Threads,
    phase: Phase,
    /// Where the task's model has features.
    seen: Option<Seen>,
    /// The model that the last round started from.
    known_model: Option<Digest>,
    /// Digest of the plan that the app was last shown.
    offered: Option<String>,
    enrolled: bool,
    failures: u32,
    /// The last report that was kept.
    report: Option<PrivacyReport>,
}

impl<T: Transport, S: Store> Participant<T, S> {
    /// Starts describing a participant of `task`.
    #[must_use]
    pub fn builder(task: TaskId) -> Builder<T, S> {
        Builder::new(task)
    }

    /// Does one bounded piece of work: one exchange with the server, one step of local
    /// training, or a piece of what the model's features take.
    ///
    /// Features are learned once, and computed once for each example; a later round looks at
    /// the examples again and computes what has changed. They are held in memory until the
    /// task has ended ([`Featured`](crate::data::features::Featured) says how much), and are
    /// made again after a restart.
    ///
    /// # Errors
    /// What cannot be cured by waiting: a task beyond the device's policy, examples
    /// that do not fit the model, a store that fails, a server that refuses. Whatever
    /// was charged stays charged; calling again tries again. What waiting may cure is
    /// not an error but [`Activity::Delayed`].
    pub fn tick(&mut self) -> Result<Progress, Error> {
        match self.advance() {
            Ok(progress) => {
                self.failures = 0;
                Ok(progress)
            }
            Err(Error::Interrupted) => self.pause(),
            Err(e) if e.is_retryable() => Ok(self.delay(&e)),
            Err(e) => Err(e),
        }
    }

    fn advance(&mut self) -> Result<Progress, Error> {
        match &self.phase {
            Phase::Finished { .. } => progress(Activity::Finished, Next::Never),
            _ if self.conditions.verdict() != Verdict::Go => self.pause(),
            _ if !self.enrolled => self.enrol(),
            Phase::CheckIn { at_ms } if self.clock.now_ms() < *at_ms => {
                progress(Activity::Waited, Next::At(*at_ms))
            }
            Phase::CheckIn { .. } => self.check_in(),
            Phase::Training(_) => self.train(),
            Phase::Uploading(_) => self.upload(),
        }
    }

    fn enrol(&mut self) -> Result<Progress, Error> {
        self.connection.enrol(&self.token)?;
        self.store.save(entry::ENROLLED, self.device().to_string().as_bytes())?;
        self.enrolled = true;
        progress(Activity::Enrolled, Next::Now)
    }

    fn check_in(&mut self) -> Result<Progress, Error> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let request = CheckinRequest { task: self.task.clone(), version };
        let answer = self.connection.post(path::CHECKIN, &request)?;
        match decode(&answer)? {
            CheckinResponse::Wait { retry_after_ms } => {
                let at_ms = self.clock.now_ms() + retry_after_ms.min(LONGEST_WAIT_MS);
                self.phase = Phase::CheckIn { at_ms };
                progress(Activity::Waited, Next::At(at_ms))
            }
            CheckinResponse::Finished { model } => {
                self.phase = Phase::Finished { model };
                self.seen.iter_mut().for_each(Seen::forget_examples);
                progress(Activity::Finished, Next::Never)
            }
            CheckinResponse::Join(assignment) => self.join(&assignment),
        }
    }

    /// Fetches what the round needs, agrees to its plan, and remembers the round's seed
    /// before anything is drawn from it.
    fn join(&mut self, assignment: &adafed_wire::Assignment) -> Result<Progress, Error> {
        let round = assignment.round;
        let job = Job::fetch(&mut self.connection, &self.task, assignment)?;
        self.check_offered(&job.plan_digest())?;
        check_data(&job, &*self.data, self.ledger.policy())?;
        self.ledger.accept(self.task.as_str(), &job.plan_digest(), &job.plan().privacy)?;
        self.keep_plan(&job)?;
        self.store.save(entry::ROUND, &job.save()?)?;
        self.known_model = Some(job.model());
        self.phase = Phase::Training(Box::new(job));
        progress(Activity::Joined { round }, Next::Now)
    }

    /// Prepares features where the model has some, charges the round (once), then trains one
    /// step; after the last one, the release is stored and recorded before its first byte can
    /// leave.
    fn train(&mut self) -> Result<Progress, Error> {
        let Phase::Training(job) = &mut self.phase else { return self.idle() };
        let round = job.round();
        // The app may have come back with other examples than it joined with.
        check_data(job, &*self.data, self.ledger.policy())?;
        let (data, conditions, seen) = (&*self.data, &*self.conditions, &mut self.seen);
        if !job.is_complete() && !is_ready(seen, job)? {
            let may_go_on = || conditions.verdict() == Verdict::Go;
            let prepare = |seen: &mut Seen| seen.advance(round, data, &may_go_on);
            self.threads.run(|| seen.as_mut().map_or(Ok(()), prepare))??;
            return progress(Activity::Prepared { round }, Next::Now);
        }
        let permit = match self.ledger.charge(self.task.as_str(), round) {
            // An older snapshot of a round that was released since: never again.
            Err(adafed_privacy::Error::AlreadyReleased { .. }) => return self.forget(round),
            other => other?,
        };
        if !job.is_complete() {
            let data = self.seen.as_ref().and_then(|seen| seen.examples(round)).unwrap_or(data);
            self.threads.run(|| job.step(data, &permit, conditions))??;
            let steps = job.steps();
            return progress(Activity::Trained { round, steps }, Next::Now);
        }
        let outbox = job.release(&self.task)?;
        self.store.save(entry::OUTBOX, &outbox.save()?)?;
        self.ledger.record_release(permit, &outbox.digest())?;
        self.store.remove(entry::ROUND)?;
        self.phase = Phase::Uploading(outbox);
        self.keep_report();
        progress(Activity::Released { round }, Next::Now)
    }

    /// Drops a round that was released before. Where its recorded bytes are still here, as
    /// after a store that failed between record and upload, they are what leaves.
    fn forget(&mut self, round: u64) -> Result<Progress, Error> {
        self.store.remove(entry::ROUND)?;
        self.phase = builder::resume(&self.store, &self.ledger, &self.task)?;
        if matches!(self.phase, Phase::Uploading(_)) {
            return progress(Activity::Released { round }, Next::Now);
        }
        let code = "privacy/already-released".to_owned();
        progress(Activity::Dropped { round, code }, Next::Now)
    }

    fn pause(&self) -> Result<Progress, Error> {
        progress(Activity::Paused, Next::At(self.clock.now_ms() + PAUSE_MS))
    }

    fn idle(&mut self) -> Result<Progress, Error> {
        self.phase = Phase::CheckIn { at_ms: 0 };
        progress(Activity::Waited, Next::Now)
    }

    fn upload(&mut self) -> Result<Progress, Error> {
        let Phase::Uploading(outbox) = &self.phase else { return self.idle() };
        let round = outbox.round;
        let activity = match self.connection.upload(&self.task, round, &outbox.body) {
            Ok(_) => Activity::Uploaded { round },
            Err(Error::Server { status: 404 | 409 | 410, code, .. }) => {
                Activity::Dropped { round, code }
            }
            Err(e) => return Err(e),
        };
        self.store.remove(entry::OUTBOX)?;
        self.phase = Phase::CheckIn { at_ms: 0 };
        progress(activity, Next::Now)
    }

    /// Backs off exponentially from 0.1 s to 60 s, after the time that the server asked for,
    /// with a jitter of the device's own so that a fleet does not come back all at once.
    fn delay(&mut self, error: &Error) -> Progress {
        let ceiling_ms = (100_u64 << self.failures.min(10)).min(60_000);
        self.failures += 1;
        let seed = format!("{}{}", self.device(), self.failures);
        let jitter = Digest::of(seed.as_bytes()).to_string();
        let share = u64::from_str_radix(&jitter[..4], 16).unwrap_or(0);
        let backoff_ms = ceiling_ms / 2 + ceiling_ms / 2 * share / 0xffff;
        // The server's word counts, up to an hour: a mistaken one must not end the device's part.
        let asked_ms = error.retry_after_ms().map_or(0, |ms| ms.min(LONGEST_WAIT_MS));
        let at_ms = self.clock.now_ms() + asked_ms + backoff_ms;
        if let Phase::CheckIn { at_ms: at } = &mut self.phase {
            *at = at_ms;
        }
        Progress {
            activity: Activity::Delayed { reason: error.to_string() },
            next: Next::At(at_ms),
        }
    }

    /// Refuses a plan that is not the one the app was last shown.
    fn check_offered(&self, digest: &str) -> Result<(), Error> {
        match &self.offered {
            Some(known) if known != digest => {
                let (task, known) = (self.task.to_string(), known.clone());
                let offered = digest.to_owned();
                Err(adafed_privacy::Error::PlanChanged { task, known, offered }.into())
            }
            _ => Ok(()),
        }
    }

    /// The device's name.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.connection.device()
    }

    /// Epsilon spent on this task so far, by the device's own ledger, at its policy's
    /// delta.
    #[must_use]
    pub fn epsilon(&self) -> EpsilonBound {
        self.ledger.epsilon(self.task.as_str(), self.ledger.policy().delta)
    }

    /// The device's own ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger<S::Ledger> {
        &self.ledger
    }

    /// The limits the device holds to.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        self.ledger.policy()
    }

    /// Bytes of bodies sent and received since the start.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.connection.traffic()
    }

    /// The final model's parameters once the task has ended, `[d]`.
    ///
    /// # Errors
    /// Those of fetching it.
    pub fn final_model(&mut self) -> Result<Option<Vec<f32>>, Error> {
        let Phase::Finished { model } = &self.phase else { return Ok(None) };
        let model = *model;
        let message: adafed_wire::ModelMessage =
            self.connection.content(&self.task, &model, "model")?.0;
        Ok(Some(message.parameters))
    }
}

fn progress(activity: Activity, next: Next) -> Result<Progress, Error> {
    Ok(Progress { activity, next })
}

/// Whether all that the features of the round's model take is done; `seen` are then its.
fn is_ready(seen: &mut Option<Seen>, job: &Job) -> Result<bool, Error> {
    let model = job.described();
    if !seen.as_ref().is_some_and(|seen| seen.is_of(model)) {
        *seen = Seen::of(model)?;
    }
    Ok(seen.as_ref().is_none_or(|seen| seen.examples(job.round()).is_some()))
}

/// Refuses examples that the round's model or the policy do not take, before anything is
/// charged.
fn check_data(job: &Job, data: &dyn Dataset, policy: &Policy) -> Result<(), Error> {
    job.check_examples(data)?;
    Ok(policy.admit_examples(data.len())?)
}
