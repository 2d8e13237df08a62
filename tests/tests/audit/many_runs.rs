//! Audits of a whole training step by many runs, with and without one example.

use adafed::privacy::Delta;
use adafed::privacy::audit::{Distinguished, distinguish};
use adafed_tests::fixture::Failure;

use crate::faults::{
    ClipBeforeStandardising, DividedByDrawnBatch, EmptyBatchSkipped, MaskFromRawGradients,
};
use crate::guards::{examples, task};
use crate::setup::{Table, Task, claim, confidence};
use crate::view::{Production, Seen, Step};

/// Enough to count what has the probability 0.01.
const RUNS: u64 = 4000;
/// A delta that so many runs can count.
const COMMON: f64 = 0.01;
/// A seed of none of the runs.
const APART: u64 = 1 << 40;

/// Two data sets that differ in the last example of the first one.
struct Neighbours {
    task: Task,
    with: Table,
    without: Table,
}

impl Neighbours {
    fn new(task: Task, examples: Table) -> Self {
        let last = examples.labels.len() - 1;
        Self { task, without: examples.only(|i| i < last), with: examples }
    }

    /// The only example of a device, or none.
    fn single(rate: f64) -> Result<Self, Failure> {
        Ok(Self::new(task(rate, 2.0)?, examples(1)))
    }

    fn audit(
        &self,
        step: &dyn Step,
        thresholds: &[f64],
        score: impl Fn(&Seen) -> f64,
    ) -> Result<Distinguished, Failure> {
        let scores = |data, first| {
            let run = |seed| Ok(score(&step.take(&self.task, data, first + seed)?));
            (0..RUNS).map(run).collect::<Result<Vec<f64>, Failure>>()
        };
        let (with, without) = (scores(&self.with, 0)?, scores(&self.without, RUNS)?);
        Ok(distinguish(&with, &without, thresholds, confidence()?)?)
    }

    /// How much of the example is in an upload, in deviations of the noise: the example is
    /// what one noise leaves between both data sets, under the first coins that draw it.
    fn projection(&self) -> Result<impl Fn(&Seen) -> f64, Failure> {
        let upload = |data, seed| Ok::<_, Failure>(Production.take(&self.task, data, seed)?.upload);
        let difference = |seed| {
            let pair = upload(&self.with, seed)?.zip(upload(&self.without, seed)?);
            let (with, without) = pair.ok_or("nothing was uploaded")?;
            Ok::<_, Failure>(with.iter().zip(without).map(|(a, b)| (a - b) as f64).collect())
        };
        let mut direction: Vec<f64> = difference(APART)?;
        for seed in APART + 1..APART + 99 {
            if direction.iter().all(|value| *value == 0.0) {
                direction = difference(seed)?;
            }
        }
        let length = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        let unit = length * self.task.privacy.noise_std_steps(0);
        Ok(move |seen: &Seen| {
            let upload = seen.upload.as_deref().unwrap_or_default();
            upload.iter().zip(&direction).map(|(value, by)| *value as f64 * by).sum::<f64>() / unit
        })
    }

    /// Assumption-free bound and claim, at [`COMMON`].
    fn common(&self, seen: &Distinguished) -> Result<(f64, f64), Failure> {
        let delta = Delta::new(COMMON)?;
        let (bound, claim) = (seen.epsilon(delta), claim(&self.task.privacy, delta));
        println!("claim {claim:.3}: bound {bound:.3}");
        Ok((bound, claim))
    }

    /// The audit refutes the account of the faulty step, and not that of the production step.
    fn assert_refuted(
        &self,
        faulty: &dyn Step,
        thresholds: &[f64],
        score: impl Fn(&Seen) -> f64,
    ) -> Result<(), Failure> {
        let (bound, claim) = self.common(&self.audit(&Production, thresholds, &score)?)?;
        assert!(bound <= claim);
        let (bound, claim) = self.common(&self.audit(faulty, thresholds, &score)?)?;
        assert!(bound > claim);
        Ok(())
    }
}

/// In deviations of the noise.
const LEVELS: [f64; 8] = [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0];

#[test]
fn a_single_example_leaks_less_than_is_accounted_for() -> Result<(), Failure> {
    let pair = Neighbours::single(1.0)?;
    let seen = pair.audit(&Production, &LEVELS, pair.projection()?)?;
    let (bound, most) = pair.common(&seen)?;
    assert!(bound <= most && bound >= 0.3 * most);
    let delta = pair.task.privacy.delta;
    let (bound, most) = (seen.assuming_gaussian().epsilon(delta), claim(&pair.task.privacy, delta));
    println!("claim {most:.3}: bound {bound:.3}, assuming a Gaussian mechanism");
    assert!(bound <= most && bound >= 0.6 * most);
    Ok(())
}

#[test]
fn a_single_example_leaks_less_than_is_accounted_for_under_sampling() -> Result<(), Failure> {
    let pair = Neighbours::single(0.5)?;
    let (bound, claim) = pair.common(&pair.audit(&Production, &LEVELS, pair.projection()?)?)?;
    assert!(bound <= claim);
    Ok(())
}

#[test]
fn clipping_before_standardising_refutes_the_account() -> Result<(), Failure> {
    let pair = Neighbours::single(1.0)?;
    pair.assert_refuted(&ClipBeforeStandardising, &LEVELS, pair.projection()?)
}

#[test]
fn division_by_the_drawn_batch_refutes_the_account() -> Result<(), Failure> {
    // Noise is halved where two are divided by: how long a gradient is tells their number.
    let pair = Neighbours::new(task(1.0, 2.0)?, examples(2));
    // Thresholds from where the lengths of the production step lie to those of the faulty one.
    let lengths: Vec<f64> = (0..60).map(|i| 1e-3 * 1.2_f64.powi(i)).collect();
    let length = |seen: &Seen| seen.gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
    pair.assert_refuted(&DividedByDrawnBatch, &lengths, length)
}

#[test]
fn a_skipped_empty_batch_refutes_the_account() -> Result<(), Failure> {
    let was_uploaded = |seen: &Seen| f64::from(u8::from(seen.upload.is_some()));
    Neighbours::single(1.0)?.assert_refuted(&EmptyBatchSkipped, &[0.5], was_uploaded)
}

#[test]
fn a_mask_from_raw_gradients_refutes_the_account() -> Result<(), Failure> {
    let pair = Neighbours::single(1.0)?;
    let masks = [&pair.with, &pair.without].map(|data| {
        let seen = MaskFromRawGradients.take(&pair.task, data, APART)?;
        Ok::<_, Failure>(seen.next_mask)
    });
    let [with, without] = masks;
    let (with, without) = (with?, without?);
    let moved = with.active().iter().find(|j| !without.active().contains(j));
    let moved = *moved.ok_or("the example moves no mask")?;
    let is_active = |seen: &Seen| f64::from(u8::from(seen.next_mask.active().contains(&moved)));
    pair.assert_refuted(&MaskFromRawGradients, &[0.5], is_active)
}
