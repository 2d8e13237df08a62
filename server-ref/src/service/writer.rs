//! Writing for devices: requests that wait at the same time share one transaction, hence one
//! wait for the disk.
//!
//! Every request has an answer of its own. One that is refused was refused before it wrote
//! anything but that its signature is used up; a failing database undoes the whole
//! transaction, and each of its requests is then tried alone, so that none fails for another.

use std::ops::Range;
use std::sync::Arc;

use adafed_wire::{CheckinResponse, Digest, Receipt, TaskId, Update};
use axum::body::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::seating::Visit;
use crate::Error;
use crate::account::Accounts;
use crate::store::devices::{self, Credential};
use crate::store::{Store, Tx, controls};

/// Requests that wait; more are kept at the door.
const WAITING: usize = 1_024;
/// Requests in one transaction.
const MOST_JOBS: usize = 256;
/// Bytes of updates in one transaction.
const MOST_BYTES: usize = 16 << 20;

/// What a signed request wants.
pub(super) enum Work {
    /// Nothing that is written: a download.
    Spend,
    CheckIn {
        task: TaskId,
        version: String,
    },
    Upload {
        task: TaskId,
        round: u64,
        update: Box<Update>,
        body: Bytes,
        sent: Digest,
    },
}

/// What came of it.
pub(super) enum Done {
    Spent,
    Answered(CheckinResponse),
    /// The receipt, and whether the round waits for its sum now.
    Taken(Receipt, bool),
}

struct Job {
    request: Request,
    reply: oneshot::Sender<Result<Done, Error>>,
}

/// A signed request, and what it wants.
struct Request {
    credential: Credential,
    now_ms: u64,
    work: Work,
}

/// The way to the writer. It ends when this is dropped.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts writing in a task of the current runtime.
    pub(super) fn start(store: Store, accounts: Accounts) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(run(store, accounts, receiver));
        Self(sender)
    }

    /// Uses the request up and does what it wants. The answer comes once both are on disk.
    pub(super) async fn write(
        &self,
        credential: Credential,
        work: Work,
        now_ms: u64,
    ) -> Result<Done, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request: Request { credential, now_ms, work }, reply };
        self.0.send(job).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

async fn run(store: Store, accounts: Accounts, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.recv().await {
        let mut bytes = first.request.bytes();
        let mut jobs = vec![first];
        while jobs.len() < MOST_JOBS && bytes < MOST_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.request.bytes();
            jobs.push(next);
        }
        write_all(&store, &accounts, jobs).await;
    }
}

async fn write_all(store: &Store, accounts: &Accounts, mut jobs: Vec<Job>) {
    // Two replicas take the same locks in the same order.
    jobs.sort_by_cached_key(|job| job.request.credential.device.to_string());
    let (requests, replies): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (job.request, job.reply)).unzip();
    let requests = Arc::new(requests);
    let together = write(store, accounts, requests.clone(), 0..requests.len()).await;
    let mut results = together.map(Vec::into_iter).ok();
    for (at, reply) in replies.into_iter().enumerate() {
        let result = match &mut results {
            Some(results) => results.next(),
            None => match write(store, accounts, requests.clone(), at..at + 1).await {
                Ok(alone) => alone.into_iter().next(),
                Err(e) => Some(Err(e)),
            },
        };
        // Who asked may have gone; what it asked for is done.
        let _ = reply.send(result.unwrap_or(Err(Error::Stopped)));
    }
}

/// Writes some of the requests in one transaction; their answers, in order.
async fn write(
    store: &Store,
    accounts: &Accounts,
    requests: Arc<Vec<Request>>,
    which: Range<usize>,
) -> Result<Vec<Result<Done, Error>>, Error> {
    let mut tasks: Vec<TaskId> = requests[which.clone()].iter().filter_map(Request::task).collect();
    tasks.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    tasks.dedup();
    let accounts = accounts.clone();
    let write = async move |tx: &mut Tx| {
        for task in &tasks {
            controls::lock(tx, task).await?;
        }
        let mut results = Vec::with_capacity(which.len());
        for request in &requests[which.clone()] {
            match request.run(tx, &accounts).await {
                Err(e) if e.is_storage() => return Err(e),
                result => results.push(result),
            }
        }
        Ok(results)
    };
    store.run_tx("device_requests", write).await
}

impl Request {
    fn task(&self) -> Option<TaskId> {
        match &self.work {
            Work::Spend => None,
            Work::CheckIn { task, .. } | Work::Upload { task, .. } => Some(task.clone()),
        }
    }

    fn bytes(&self) -> usize {
        match &self.work {
            Work::Spend | Work::CheckIn { .. } => 0,
            Work::Upload { body, .. } => body.len(),
        }
    }

    async fn run(&self, tx: &mut Tx, accounts: &Accounts) -> Result<Done, Error> {
        let Self { credential, now_ms, work } = self;
        let (device, now_ms) = (credential.device, *now_ms);
        devices::spend(tx, *credential, now_ms).await?;
        match work {
            Work::Spend => Ok(Done::Spent),
            Work::CheckIn { task, version } => {
                devices::note_version(tx, device, version).await?;
                let visit = Visit { task, device, now_ms };
                visit.check_in(tx, accounts, version).await.map(Done::Answered)
            }
            Work::Upload { task, round, update, body, sent } => {
                let visit = Visit { task, device, now_ms };
                let (receipt, due) = visit.upload(tx, *round, update, (body, *sent)).await?;
                Ok(Done::Taken(receipt, due))
            }
        }
    }
}
