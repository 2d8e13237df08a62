//! A training step as the server sees it, and the production one.

use adafed::algorithm::{Importance, ImportanceRule, Mask, ReleasedGradient, ReleasedSum};
use adafed::privacy::{NoiseSeed, Permit};
use adafed_tests::fixture::Failure;

use crate::setup::{Records, TASK, Table, Task, ledger};

/// One round of one step on a device.
pub(crate) trait Step {
    /// The round of a device that holds `data`, its coins and noise from `seed`.
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure>;
}

/// What the round shows to the server, and to everybody behind it.
pub(crate) struct Seen {
    /// What was uploaded: in grid steps, one an active coordinate.
    pub(crate) upload: Option<Vec<i64>>,
    /// The gradient that the model moves along, `[d]`.
    pub(crate) gradient: Vec<f64>,
    /// The mask of the next round: the more important half.
    pub(crate) next_mask: Mask,
    /// The device's records when its upload left: what a crash at that moment leaves behind.
    pub(crate) records: Records,
}

/// A charge, and the records it was written to.
pub(crate) fn charge(task: &Task) -> Result<(Records, Permit), Failure> {
    let records = task.agreed();
    let permit = ledger(records.clone())?.charge(TASK, 0)?;
    Ok((records, permit))
}

/// What the server makes of an upload.
pub(crate) fn restored(task: &Task, upload: &[i64]) -> Result<ReleasedGradient, Failure> {
    let mut sum = ReleasedSum::new(upload.len(), 1);
    sum.add_device(upload)?;
    let scale = task.plans().release_scale(0);
    Ok(ReleasedGradient::restore(&sum, &task.mask, &task.standardisation, scale)?)
}

/// The more important half of the coordinates.
pub(crate) fn next_mask(gradient: &ReleasedGradient) -> Mask {
    let d = gradient.values().len();
    let mut importance = Importance::new(d);
    importance.add(gradient);
    Mask::top_k(&importance.score(ImportanceRule::Abs, 0), d / 2)
}

/// What follows from an upload in production.
pub(crate) fn seen(task: &Task, upload: Vec<i64>, records: Records) -> Result<Seen, Failure> {
    let gradient = restored(task, &upload)?;
    let (next_mask, gradient) = (next_mask(&gradient), gradient.values().to_vec());
    Ok(Seen { upload: Some(upload), gradient, next_mask, records })
}

/// The step as it is.
pub(crate) struct Production;

impl Step for Production {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let (records, permit) = charge(task)?;
        let seed = NoiseSeed::predictable(seed);
        let released = task.round(data)?.step(&task.parameters, &permit, &seed, 0)?;
        ledger(records.clone())?.record_release(permit, "digest")?;
        seen(task, released.values().to_vec(), records.copy())
    }
}
