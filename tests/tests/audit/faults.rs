//! The mistakes of private training that were seen elsewhere, planted one by one: production
//! parts, put together wrongly. They exist here only.

use adafed::algorithm::{ReleaseScale, ReleasedGradient, ReleasedSum};
use adafed::privacy::{ClippedSum, NoiseSeed, PerExample};
use adafed_tests::fixture::Failure;

use crate::setup::{Records, TASK, Table, Task, ledger};
use crate::view::{Production, Seen, Step, charge, next_mask, restored, seen};

/// A step, taken apart: a fault needs what production keeps together.
struct Parts {
    records: Records,
    /// Exact sum of the clipped contributions, at active coordinates.
    sum: Vec<i64>,
    noise: Vec<i64>,
    /// Examples in the batch.
    drawn: Vec<usize>,
}

impl Parts {
    fn of(task: &Task, data: &Table, seed: u64) -> Result<Self, Failure> {
        let (records, permit) = charge(task)?;
        let (round, coins) = (task.round(data)?, NoiseSeed::predictable(seed));
        let with_noise = round.step(&task.parameters, &permit, &coins, 0)?;
        let mut nothing = round.clipped_sum(&task.parameters, &[], 0)?;
        let noise = round.release(round.noise(&permit, &coins, 0)?, &mut nothing)?;
        let pairs = with_noise.values().iter().zip(noise.values());
        let sum = pairs.map(|(value, noise)| value - noise).collect();
        let drawn = task.privacy.sampler().draw(&coins, 0, data.labels.len());
        Ok(Self { records, sum, noise: noise.values().to_vec(), drawn })
    }

    fn upload(self, task: &Task) -> Result<Seen, Failure> {
        let upload = self.sum.iter().zip(&self.noise).map(|(sum, noise)| sum + noise).collect();
        seen(task, upload, self.records)
    }
}

/// 1: the noise of a mean of B values, added to their sum divided by sqrt(B).
pub(crate) struct NoiseOverRootBatch;

impl Step for NoiseOverRootBatch {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let mut parts = Parts::of(task, data, seed)?;
        let root = task.privacy.expected_batch().sqrt();
        parts.noise.iter_mut().for_each(|noise| *noise = (*noise as f64 / root).round() as i64);
        parts.upload(task)
    }
}

/// 2: noise drawn for every example of the batch, and averaged with the gradients.
pub(crate) struct NoisePerExample;

impl Step for NoisePerExample {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let mut parts = Parts::of(task, data, seed)?;
        let (round, (_, permit)) = (task.round(data)?, charge(task)?);
        let mut total = vec![0; parts.noise.len()];
        for example in 0..parts.drawn.len() as u64 {
            let seed = NoiseSeed::predictable(seed + ((example + 1) << 32));
            let mut nothing = round.clipped_sum(&task.parameters, &[], 0)?;
            let noise = round.release(round.noise(&permit, &seed, 0)?, &mut nothing)?;
            total.iter_mut().zip(noise.values()).for_each(|(total, noise)| *total += noise);
            round.reuse(noise);
        }
        let batch = parts.drawn.len().max(1) as i64;
        parts.noise = total.iter().map(|total| total / batch).collect();
        parts.upload(task)
    }
}

/// 3: the next mask from gradients that were never noised.
pub(crate) struct MaskFromRawGradients;

impl Step for MaskFromRawGradients {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let parts = Parts::of(task, data, seed)?;
        let raw = restored(task, &parts.sum)?.values().to_vec();
        let noiseless = vec![0.0; raw.len()];
        let next_mask = next_mask(&ReleasedGradient::published(raw, noiseless));
        Ok(Seen { next_mask, ..parts.upload(task)? })
    }
}

/// 4: clipped as it comes, then centred, scaled and masked.
pub(crate) struct ClipBeforeStandardising;

impl ClipBeforeStandardising {
    /// The clipped gradient of one example, standardised afterwards, in grid steps.
    fn contribution(task: &Task, data: &Table, example: usize) -> Result<Vec<i64>, Failure> {
        let Task { model, parameters, mask, standardisation: by, .. } = task;
        let (input, label) = (&data.inputs[example], &data.labels[example..=example]);
        let gradient = model.per_example_gradients(parameters, input, label)?;
        let lattice = task.privacy.lattice(gradient.len())?;
        let mut sum = ClippedSum::new(lattice, gradient.len());
        sum.add(PerExample::new(&gradient), &mut Vec::new())?;
        let clipped = ClippedSum::reveal(vec![&mut sum]);
        let after = |j: usize| (clipped[j] as f64 - by.centre(j) / lattice.grid()) / by.scale(j);
        Ok(mask.indices().map(|j| after(j).round() as i64).collect())
    }
}

impl Step for ClipBeforeStandardising {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let mut parts = Parts::of(task, data, seed)?;
        parts.sum.fill(0);
        for example in &parts.drawn {
            let added = Self::contribution(task, data, *example)?;
            parts.sum.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
        }
        parts.upload(task)
    }
}

/// 5: divided by the size of the batch that was drawn.
pub(crate) struct DividedByDrawnBatch;

impl Step for DividedByDrawnBatch {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let parts = Parts::of(task, data, seed)?;
        let drawn = parts.drawn.len().max(1) as f64;
        let right = parts.upload(task)?;
        let mut sum = ReleasedSum::new(task.mask.active_count(), 1);
        sum.add_device(right.upload.as_deref().unwrap_or_default())?;
        let scale = ReleaseScale { expected_batch: drawn, ..task.plans().release_scale(0) };
        let gradient = ReleasedGradient::restore(&sum, &task.mask, &task.standardisation, scale)?;
        Ok(Seen { gradient: gradient.values().to_vec(), ..right })
    }
}

/// 6: a batch without examples is no step.
pub(crate) struct EmptyBatchSkipped;

impl Step for EmptyBatchSkipped {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        let drawn =
            task.privacy.sampler().draw(&NoiseSeed::predictable(seed), 0, data.labels.len());
        let whole = Production.take(task, data, seed)?;
        if !drawn.is_empty() {
            return Ok(whole);
        }
        let gradient = vec![0.0; whole.gradient.len()];
        Ok(Seen { upload: None, gradient, records: task.agreed(), ..whole })
    }
}

/// 7: the charge is written once the upload has left.
pub(crate) struct ChargedAfterUpload;

impl Step for ChargedAfterUpload {
    fn take(&self, task: &Task, data: &Table, seed: u64) -> Result<Seen, Failure> {
        // A permit without a durable charge, which production has no way to make.
        let whole = Production.take(task, data, seed)?;
        let records = task.agreed();
        let at_upload = records.copy();
        ledger(records)?.charge(TASK, 0)?;
        Ok(Seen { records: at_upload, ..whole })
    }
}
