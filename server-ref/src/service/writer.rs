//! Writing for devices: requests that wait at the same time share one transaction, hence one
//! wait for the disk.
//!
//! Every request has an answer of its own. One that is refused was refused before it wrote
//! anything but that its signature is used up; a failing database undoes the whole
//! transaction, and each of its requests is then tried alone, so that none fails for another,
//! unless the database is gone for all of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use adafed_wire::{CheckinResponse, Digest, Receipt, TaskId, Update};
use axum::body::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

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
        // A panic is its transaction's: who waits in it is told, and the writer goes on.
        let written = tokio::spawn(write_all(store.clone(), accounts.clone(), jobs));
        if written.await.is_err() {
            error!(code = Error::Stopped.code(), "requests not written");
        }
    }
}

async fn write_all(store: Store, accounts: Accounts, jobs: Vec<Job>) {
    let (requests, replies): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (job.request, job.reply)).unzip();
    let requests = Arc::new(requests);
    let results = match write(&store, &accounts, requests.clone(), 0..requests.len()).await {
        Ok(results) => results,
        Err(e) if requests.len() == 1 => vec![Err(e)],
        Err(e) => write_each(&store, &accounts, &requests, e).await,
    };
    for (reply, result) in replies.into_iter().zip(results) {
        // Who asked may have gone; what it asked for is done.
        let _ = reply.send(result);
    }
}

/// Writes the requests one by one, after all of them together met the error `e`.
///
/// A database that is gone is asked no more: each request would wait for it anew. Nor is it
/// known then whether it still committed, and a signature that was used up would be refused;
/// the devices ask again, with new ones.
async fn write_each(
    store: &Store,
    accounts: &Accounts,
    requests: &Arc<Vec<Request>>,
    e: Error,
) -> Vec<Result<Done, Error>> {
    let mut gone = matches!(e, Error::StorageBusy);
    let mut results = Vec::with_capacity(requests.len());
    for at in 0..requests.len() {
        let result = match gone {
            true => Err(Error::StorageBusy),
            false => write(store, accounts, requests.clone(), at..at + 1)
                .await
                .and_then(|mut results| results.pop().unwrap_or(Err(Error::Stopped))),
        };
        gone = matches!(result, Err(Error::StorageBusy));
        results.push(result);
    }
    results
}

/// Writes some of the requests in one transaction; their answers, in order.
///
/// Two servers take the same locks in the same order, tasks before devices, each by name.
/// Seats are given in the order of arrival: a name must not get a device more of them.
async fn write(
    store: &Store,
    accounts: &Accounts,
    requests: Arc<Vec<Request>>,
    which: Range<usize>,
) -> Result<Vec<Result<Done, Error>>, Error> {
    let tasks = tasks_of(&requests[which.clone()]);
    let mut by_device: Vec<usize> = which.clone().collect();
    by_device.sort_by_key(|at| requests[*at].credential);
    let accounts = accounts.clone();
    let write = async move |tx: &mut Tx| {
        for task in &tasks {
            controls::lock(tx, task).await?;
        }
        let mut refused = BTreeMap::new();
        for at in &by_device {
            if let Err(e) = answer(requests[*at].spend(tx).await)? {
                refused.insert(*at, e);
            }
        }
        let mut results = Vec::with_capacity(which.len());
        for at in which.clone() {
            results.push(match refused.remove(&at) {
                Some(e) => Err(e),
                None => answer(requests[at].run(tx, &accounts).await)?,
            });
        }
        Ok(results)
    };
    store.run_tx("device_requests", write).await
}

/// The tasks that the requests are about, each once, by name.
fn tasks_of(requests: &[Request]) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> = requests.iter().filter_map(Request::task).collect();
    tasks.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    tasks.dedup();
    tasks
}

/// Tells what one request is answered from what ends the transaction.
fn answer<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match result {
        Err(e) if e.is_storage() => Err(e),
        result => Ok(result),
    }
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

    /// Uses the signature up, and notes what the device says about itself.
    async fn spend(&self, tx: &mut Tx) -> Result<(), Error> {
        devices::spend(tx, self.credential, self.now_ms).await?;
        match &self.work {
            Work::CheckIn { version, .. } => {
                devices::note_version(tx, self.credential.device, version).await
            }
            Work::Spend | Work::Upload { .. } => Ok(()),
        }
    }

    async fn run(&self, tx: &mut Tx, accounts: &Accounts) -> Result<Done, Error> {
        let (device, now_ms) = (self.credential.device, self.now_ms);
        match &self.work {
            Work::Spend => Ok(Done::Spent),
            Work::CheckIn { task, version } => {
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
