//! One-run audits of a whole training step: a thousand canaries, each in the data set or not
//! by a fair coin, each with weights of its own.

use adafed::algorithm::{Mask, Provenance, Standardisation};
use adafed::privacy::audit::OneRun;
use adafed::privacy::{NoiseSeed, PoissonSampler, SamplingRate};
use adafed_tests::fixture::Failure;

use crate::faults::{NoiseOverRootBatch, NoisePerExample};
use crate::setup::{Table, Task, claim, confidence, linear, privacy};
use crate::view::{Production, Step};

const CANARIES: usize = 1000;
/// Inputs that no canary has: frozen, as by a mask.
const SPARE: usize = 100;
/// Guesses, fixed before the runs: so many "in", and so many "out".
const GUESSES: usize = 100;
/// Size of a canary's input: its gradient is longer than C.
const SIZE: f32 = 8.0;
/// Between the seeds of noise and those of coins.
const COINS: u64 = 1 << 40;

/// A task, and its canaries: canary i is 0 but for input i.
pub(crate) struct Canaries {
    task: Task,
    table: Table,
}

impl Canaries {
    /// Under a mask without the biases and without the spare inputs, a small centre, and
    /// scales from 1/2 to 2.
    pub(crate) fn new(rate: f64, noise_multiplier: f64) -> Result<Self, Failure> {
        let inputs = CANARIES + SPARE;
        let mut task = Task::new(&linear(inputs, 2), privacy(rate, noise_multiplier)?)?;
        let d = task.model.parameters();
        let weights = (0..2 * inputs).filter(|j| j % inputs < CANARIES).map(|j| j as u32);
        task.mask = Mask::published(d, weights.collect(), Provenance::Released)?;
        let wave = |j: usize| (1.0 + j as f32).sin();
        let centre = (0..d).map(|j| 1e-4 * wave(j)).collect();
        let scale = (0..d).map(|j| wave(2 * j).exp2()).collect();
        task.standardisation = Standardisation::new(d, Some(centre), Some(scale))?;
        let one_hot = |i: usize| (0..inputs).map(|j| if i == j { SIZE } else { 0.0 }).collect();
        let inputs = (0..CANARIES).map(one_hot).collect();
        let labels = (0..CANARIES).map(|i| (i % 2) as f32).collect();
        let table = Table { shape: vec![CANARIES + SPARE], classes: 2, inputs, labels };
        Ok(Self { task, table })
    }

    /// One input of every third canary is not a number.
    fn break_every_third(&mut self) {
        for (i, input) in self.table.inputs.iter_mut().enumerate().step_by(3) {
            input[i] = f32::NAN;
        }
    }

    fn claim(&self) -> f64 {
        claim(&self.task.privacy, self.task.privacy.delta)
    }

    /// How much of canary i is in an upload: its product with what the canary would add.
    fn score(&self, upload: &[i64], i: usize) -> f64 {
        let (inputs, by) = (CANARIES + SPARE, &self.task.standardisation);
        // softmax - label: down on the row of its label, up on the other.
        let up = if self.table.labels[i] == 0.0 { [-1.0, 1.0] } else { [1.0, -1.0] };
        let entry = |row: usize| up[row] / by.scale(row * inputs + i);
        let length = entry(0).hypot(entry(1));
        (0..2).map(|row| entry(row) / length * upload[row * CANARIES + i] as f64).sum()
    }

    /// Coins, a step over the canaries that they include, and guesses at the coins.
    pub(crate) fn audit(&self, step: &dyn Step, seed: u64) -> Result<OneRun, Failure> {
        let half = SamplingRate::new(0.5)?;
        let heads =
            PoissonSampler::new(half).draw(&NoiseSeed::predictable(COINS + seed), 0, CANARIES);
        let mut included = vec![false; CANARIES];
        heads.iter().for_each(|i| included[*i] = true);
        let data = self.table.only(|i| included[i]);
        let upload = step.take(&self.task, &data, seed)?.upload.ok_or("nothing was uploaded")?;
        let scores: Vec<f64> = (0..CANARIES).map(|i| self.score(&upload, i)).collect();
        Ok(OneRun::of_scores(&scores, &included, GUESSES, GUESSES)?)
    }

    /// Lower bounds of runs under the seeds 0, 1, ..
    fn bounds(&self, step: &dyn Step, runs: u64) -> Result<Vec<f64>, Failure> {
        let delta = self.task.privacy.delta;
        let bound = |seed| Ok(self.audit(step, seed)?.epsilon(delta, confidence()?));
        let bounds = (0..runs).map(bound).collect::<Result<Vec<f64>, Failure>>()?;
        let (least, most) =
            (bounds.iter().copied().fold(f64::INFINITY, f64::min), largest(&bounds));
        let mean = bounds.iter().sum::<f64>() / runs as f64;
        println!("claim {:.3}: bounds {least:.3} to {most:.3}, mean {mean:.3}", self.claim());
        Ok(bounds)
    }
}

fn largest(bounds: &[f64]) -> f64 {
    bounds.iter().copied().fold(0.0, f64::max)
}

/// Runs none of which refutes the account; their mean bound is a share of it.
fn assert_sound_over(runs: u64, canaries: &Canaries, least_share: f64) -> Result<(), Failure> {
    let bounds = canaries.bounds(&Production, runs)?;
    let claim = canaries.claim();
    assert!(largest(&bounds) <= claim);
    assert!(bounds.iter().sum::<f64>() / runs as f64 >= least_share * claim);
    Ok(())
}

fn assert_sound(canaries: &Canaries, least_share: f64) -> Result<(), Failure> {
    assert_sound_over(20, canaries, least_share)
}

#[test]
fn a_step_leaks_less_than_is_accounted_for_at_full_rate() -> Result<(), Failure> {
    assert_sound(&Canaries::new(1.0, 1.0)?, 0.1)?;
    assert_sound(&Canaries::new(1.0, 0.5)?, 0.1)
}

#[test]
fn a_step_leaks_less_than_is_accounted_for_under_sampling() -> Result<(), Failure> {
    assert_sound(&Canaries::new(0.5, 0.5)?, 0.0)
}

#[test]
fn an_empty_batch_leaks_less_than_is_accounted_for() -> Result<(), Failure> {
    let canaries = Canaries::new(1e-9, 0.5)?;
    let drawn =
        |seed| canaries.task.privacy.sampler().draw(&NoiseSeed::predictable(seed), 0, CANARIES);
    assert!((0..20).all(|seed| drawn(seed).is_empty()));
    assert_sound(&canaries, 0.0)
}

#[test]
fn broken_canaries_leak_nothing_and_are_charged() -> Result<(), Failure> {
    let whole = Canaries::new(1.0, 0.5)?;
    let mut canaries = Canaries::new(1.0, 0.5)?;
    canaries.break_every_third();
    assert_sound(&canaries, 0.0)?;
    // Broken ones alone give what no example at all gives, under the same charge.
    let (broken, none) = (canaries.table.only(|i| i % 3 == 0), canaries.table.only(|_| false));
    let seen = Production.take(&canaries.task, &broken, 7)?;
    assert!(seen.upload == Production.take(&canaries.task, &none, 7)?.upload);
    assert_eq!(canaries.claim(), whole.claim());
    assert_eq!(crate::setup::ledger(seen.records)?.charged_rounds(crate::setup::TASK).count(), 1);
    Ok(())
}

#[test]
fn noise_divided_by_the_root_of_the_batch_refutes_the_account() -> Result<(), Failure> {
    let canaries = Canaries::new(1.0, 4.0)?;
    assert_sound(&canaries, 0.0)?;
    assert!(canaries.bounds(&NoiseOverRootBatch, 5)?.iter().all(|bound| *bound > canaries.claim()));
    Ok(())
}

#[test]
fn noise_per_example_refutes_the_account() -> Result<(), Failure> {
    let canaries = Canaries::new(1.0, 4.0)?;
    assert!(canaries.bounds(&NoisePerExample, 2)?.iter().all(|bound| *bound > canaries.claim()));
    Ok(())
}

/// Many more runs: `cargo test --workspace --test audit -- --ignored canaries`.
#[test]
#[ignore = "a minute"]
fn no_step_of_many_refutes_the_account() -> Result<(), Failure> {
    for (rate, noise_multiplier) in [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (1.0, 4.0), (0.1, 0.5)] {
        assert_sound_over(200, &Canaries::new(rate, noise_multiplier)?, 0.0)?;
    }
    Ok(())
}
