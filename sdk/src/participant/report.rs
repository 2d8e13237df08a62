//! The device's account of itself: a signed privacy report, kept in its store.

use adafed_privacy::report::PrivacyReport;
use adafed_wire::{SignedReport, TaskPlan, decode, encode};

use super::job::Job;
use super::{Participant, entry};
use crate::Error;
use crate::store::Store;
use crate::transport::Transport;

impl<T: Transport, S: Store> Participant<T, S> {
    /// What this device has spent, over all its tasks, signed with its key: everything
    /// that is needed to compute the figures again without the device.
    ///
    /// The store holds the one of the last release as `privacy-report.json`. This one is
    /// of now: it also counts a round that is charged and not yet released.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn privacy_report(&self) -> Result<SignedReport, Error> {
        let plans = self.ledger.tasks().map(|(task, ..)| self.kept_plan(task));
        let plans: Vec<TaskPlan> =
            plans.filter_map(Result::transpose).collect::<Result<_, Error>>()?;
        let plan = |task: &str| plans.iter().find(|p| p.task.as_str() == task);
        let sources = |task: &str| plan(task).map(TaskPlan::sources);
        let report = PrivacyReport::following(self.report.as_ref(), &self.ledger, sources);
        Ok(SignedReport::sign(report, plans, self.connection.key())?)
    }

    pub(super) fn kept_plan(&self, task: &str) -> Result<Option<TaskPlan>, Error> {
        let bytes = self.store.load(&entry::plan(task))?;
        Ok(bytes.map(|bytes| decode(&bytes)).transpose()?)
    }

    /// Keeps the plan of a round, if it is the one that the ledger knows by its digest. It
    /// never changes, so it is written once.
    pub(super) fn keep_plan(&self, job: &Job) -> Result<(), Error> {
        let (task, offered) = (self.task.as_str(), job.plan_digest());
        let accepted = self.ledger.tasks().any(|(t, digest, _)| t == task && digest == offered);
        let (name, bytes) = (entry::plan(task), encode(job.plan())?);
        if accepted && self.store.load(&name)?.as_ref() != Some(&bytes) {
            self.store.save(&name, &bytes)?;
        }
        Ok(())
    }

    /// Writes the report beside the ledger. The ledger is what counts: where this fails,
    /// the release goes its way, the old report stays, and the next release tries again.
    pub(super) fn keep_report(&mut self) {
        let Ok(signed) = self.privacy_report() else { return };
        if let Ok(text) = signed.to_json() {
            let _ = self.store.save(entry::REPORT, text.as_bytes());
        }
        self.report = Some(signed.report);
    }
}
