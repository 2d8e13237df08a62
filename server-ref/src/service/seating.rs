//! What a check-in and an update do to a round, inside the transaction that answers them.

use adafed_algorithm::Weights;
use adafed_wire::{Assignment, CheckinResponse, DeviceId, Digest, Receipt, TaskId, Update};

use crate::Error;
use crate::account::Accounts;
use crate::round::{Age, Answer, Asker, Effect, Event, Phase, Reason, Rules, retry_after_ms};
use crate::store::controls::{self, Control};
use crate::store::rounds::{self, RoundRow};
use crate::store::tasks::{self, Task};
use crate::store::{Tx, assignments, devices, updates};

/// A device that asks for work, or brings it.
pub(super) struct Visit<'a> {
    pub(super) task: &'a TaskId,
    pub(super) device: DeviceId,
    pub(super) now_ms: u64,
}

impl Visit<'_> {
    /// Seats the device in the current round, or says when to ask again. To seat it is to
    /// charge it.
    pub(super) async fn check_in(
        &self,
        tx: &mut Tx,
        accounts: &Accounts,
        version: &str,
    ) -> Result<CheckinResponse, Error> {
        controls::lock(tx, self.task).await?;
        let task = tasks::find(tx, self.task).await?;
        let control = controls::find(tx, self.task).await?;
        let open = rounds::find(tx, self.task, task.round).await?;
        let Some(row) = open.filter(|_| !control.status.is_over()) else {
            return Ok(CheckinResponse::Finished { model: task.model });
        };
        let asker = self.asker(tx, accounts, (&task, &control, &row), version).await?;
        let step = Step::new(self, &task, &control, &row);
        match step.run(tx, Event::CheckIn(asker), None).await? {
            Answer::Join => Ok(CheckinResponse::Join(assignment(&task, &row))),
            Answer::Wait(Reason::Client) => Err(client_version(version, &control)),
            Answer::Wait(reason) => Ok(step.wait(reason)),
            _ => Ok(step.wait(Reason::NoSeat)),
        }
    }

    /// What the rules want to know; what costs a query is asked only where a rule needs it.
    async fn asker(
        &self,
        tx: &mut Tx,
        accounts: &Accounts,
        (task, control, row): (&Task, &Control, &RoundRow),
        version: &str,
    ) -> Result<Asker, Error> {
        let settings = &control.settings;
        let standing = updates::standing(tx, self.task, row.number, self.device).await?;
        let seated_ms = match settings.separation_ms {
            0 => None,
            _ => assignments::last_ms(tx, self.task, self.device).await?,
        };
        let within_cap = match settings.device_epsilon_cap {
            None => true,
            Some(cap) => {
                let plan = &task.plan.privacy;
                let warmup = plan.warmup.rounds;
                let charges = assignments::of_device(tx, self.task, self.device, warmup).await?;
                let next = charges.and(plan, row.number);
                accounts.account(task.plan_digest, plan, next).epsilon() <= cap
            }
        };
        let client_taken = settings.takes_client(version);
        Ok(Asker { standing, seated_ms, client_taken, within_cap })
    }

    /// Takes an update of round `round`, once: into that round, or, where the task has a
    /// buffer, into the current one. The receipt, and whether the round waits for its sum now.
    pub(super) async fn upload(
        &self,
        tx: &mut Tx,
        round: u64,
        update: &Update,
        (body, sent): (&[u8], Digest),
    ) -> Result<(Receipt, bool), Error> {
        controls::lock(tx, self.task).await?;
        let task = tasks::find(tx, self.task).await?;
        let control = controls::find(tx, self.task).await?;
        let current = task.shown_round();
        let unknown = Error::UnknownRound { round, current };
        let base = rounds::find(tx, self.task, round).await?.ok_or(unknown)?;
        check_update(update, &task, &base)?;
        let standing = updates::standing(tx, self.task, round, self.device).await?;
        let late = late_target(tx, &task, &control, &base).await?;
        let age = if late.is_some() { Age::Stale } else { Age::Fresh };
        let row = late.as_ref().unwrap_or(&base);
        let step = Step::new(self, &task, &control, row);
        let event = Event::Report(standing, sent, age);
        let answer = step.run(tx, event, Some((round, body, sent))).await?;
        let due = answer == Answer::Taken { duplicate: false } && step.completes(event);
        receipt(answer, round, current, sent).map(|receipt| (receipt, due))
    }
}

/// The round that takes a late update: the current one, where the task's buffer reaches back
/// to the update's own.
async fn late_target(
    tx: &mut Tx,
    task: &Task,
    control: &Control,
    base: &RoundRow,
) -> Result<Option<RoundRow>, Error> {
    let late = base.round.phase.is_closed() && base.number < task.round;
    let admitted = task.plan.plans().admits(base.number, task.round);
    if !late || !admitted || control.status.is_over() {
        return Ok(None);
    }
    rounds::find(tx, &task.plan.task, task.round).await
}

/// One step of the round machine, with what its effects need.
struct Step<'a> {
    visit: &'a Visit<'a>,
    task: &'a Task,
    row: &'a RoundRow,
    rules: Rules<'a>,
}

impl<'a> Step<'a> {
    fn new(visit: &'a Visit<'a>, task: &'a Task, control: &'a Control, row: &'a RoundRow) -> Self {
        Self { visit, task, row, rules: control.rules(&task.plan.rounds) }
    }

    /// Steps, stores state and effects, and gives the answer back. `update` is the round an
    /// update was made in, and its body.
    async fn run(
        &self,
        tx: &mut Tx,
        event: Event,
        update: Option<(u64, &[u8], Digest)>,
    ) -> Result<Answer, Error> {
        let Visit { task, device, now_ms } = *self.visit;
        let (round, effects) = self.row.round.step(&self.rules, event, now_ms);
        if round != self.row.round {
            rounds::update(tx, task, self.row.number, round, now_ms).await?;
        }
        let mut answer = Answer::Wait(Reason::NoSeat);
        for effect in effects {
            match (effect, update) {
                (Effect::Assign, _) => {
                    assignments::insert(tx, task, self.row.number, device, now_ms).await?;
                }
                (Effect::Accept, Some(update)) => self.accept(tx, update).await?,
                (Effect::Answer(a), _) => answer = a,
                // The stored phase says so; closing the round does it.
                (Effect::Accept | Effect::Aggregate | Effect::Skip, _) => {}
            }
        }
        Ok(answer)
    }

    async fn accept(
        &self,
        tx: &mut Tx,
        (base, body, digest): (u64, &[u8], Digest),
    ) -> Result<(), Error> {
        let Visit { task, device, now_ms } = *self.visit;
        let weight = match self.task.plan.federation.weights {
            Weights::Uniform => 1,
            Weights::Public { .. } => devices::weight(tx, device).await?,
        };
        let counted_in = self.row.number;
        let kept = updates::Accepted { base, counted_in, weight, body, digest };
        updates::insert(tx, task, device, kept, now_ms).await?;
        rounds::add_bytes(tx, task, self.row.number, body.len() as u64, 0).await
    }

    /// Whether the event ends the wait for updates.
    fn completes(&self, event: Event) -> bool {
        let (round, _) = self.row.round.step(&self.rules, event, self.visit.now_ms);
        round.phase == Phase::Aggregating
    }

    fn wait(&self, reason: Reason) -> CheckinResponse {
        let Visit { device, now_ms, .. } = *self.visit;
        let retry_after_ms = retry_after_ms(&self.rules, reason, device, now_ms);
        CheckinResponse::Wait { retry_after_ms }
    }
}

fn assignment(task: &Task, row: &RoundRow) -> Assignment {
    Assignment {
        round: row.number,
        plan: task.plan_digest,
        model: row.model,
        mask: row.mask,
        scale: row.scale,
    }
}

fn client_version(found: &str, control: &Control) -> Error {
    let or = |limit: &Option<String>, none: &str| limit.clone().unwrap_or_else(|| none.to_owned());
    let (least, most) = (&control.settings.least_client, &control.settings.most_client);
    let expected = format!("from {} to {}", or(least, "any"), or(most, "any"));
    Error::ClientVersion { found: found.to_owned(), expected }
}

fn receipt(answer: Answer, round: u64, current: u64, sent: Digest) -> Result<Receipt, Error> {
    match answer {
        Answer::Taken { duplicate } => Ok(Receipt { duplicate }),
        Answer::NotAssigned => Err(Error::NotAssigned { round }),
        Answer::OtherUpdate { kept } => Err(Error::OtherUpdate { kept, sent }),
        Answer::Closed | Answer::Join | Answer::Wait(_) => {
            Err(Error::RoundClosed { round, current })
        }
    }
}

/// Whether the update was made for this round.
fn check_update(update: &Update, task: &Task, row: &RoundRow) -> Result<(), Error> {
    let pairs = [
        ("plan", update.plan, task.plan_digest),
        ("model", update.model, row.model),
        ("mask", update.mask, row.mask),
    ];
    match pairs.into_iter().find(|(_, sent, expected)| sent != expected) {
        Some((what, sent, expected)) => Err(Error::Stale { what, sent, expected }),
        None => Ok(update.values.check(row.active)?),
    }
}
