//! What must hold of a step, whoever takes it: each guard says in words where it does not.

use std::collections::BTreeSet;

use adafed::algorithm::{Mask, Provenance, Standardisation};
use adafed_tests::fixture::Failure;

use crate::setup::{TASK, Table, Task, claim, ledger, linear, privacy};
use crate::view::Step;

/// Relative standard error of a standard deviation over the draws here, times 6.
const DEVIATION_TOLERANCE: f64 = 6.0 / 64.0;
/// Rounding of a restored gradient.
const ROUNDING: f64 = 1e-9;

/// Six inputs, three classes, a mask without the biases, a centre, and scales below 1, under
/// which what was clipped too early grows.
pub(crate) fn task(rate: f64, noise_multiplier: f64) -> Result<Task, Failure> {
    let mut task = Task::new(&linear(6, 3), privacy(rate, noise_multiplier)?)?;
    task.mask = Mask::published(21, (0..18).collect(), Provenance::Released)?;
    let scale = (0..21_u8).map(|j| 0.2 + 0.02 * f32::from(j)).collect();
    task.standardisation = Standardisation::new(21, Some(vec![1e-3; 21]), Some(scale))?;
    Ok(task)
}

/// Examples of which each has a large gradient.
pub(crate) fn examples(count: usize) -> Table {
    let entry = |i: usize, j: usize| 2.0 * ((1 + i * 7 + j * 3) as f32).sin();
    let inputs = (0..count).map(|i| (0..6).map(|j| entry(i, j)).collect()).collect();
    let labels = (0..count).map(|i| (i % 3) as f32).collect();
    Table { shape: vec![6], classes: 3, inputs, labels }
}

/// A fault, in words.
type Verdict = Result<(), Failure>;

fn demand(holds: bool, fault: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(fault().into()) }
}

/// The deviation of an upload is that of the account, whatever the batch.
pub(crate) fn noise_has_the_accounted_deviation(step: &dyn Step) -> Verdict {
    let task = task(1.0, 1.2)?;
    for batch in [64, 16, 1, 0] {
        let data = examples(batch);
        let uploads = (0..128).map(|seed| Ok(step.take(&task, &data, seed)?.upload));
        let uploads: Vec<_> =
            uploads.collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten().collect();
        demand(uploads.len() == 128, || format!("batch {batch}: uploads are missing"))?;
        let mut squares = 0.0;
        for j in 0..task.mask.active_count() {
            let mean = uploads.iter().map(|upload| upload[j] as f64).sum::<f64>() / 128.0;
            squares += uploads.iter().map(|u| (u[j] as f64 - mean).powi(2)).sum::<f64>() / 127.0;
        }
        let found = (squares / task.mask.active_count() as f64).sqrt();
        let share = found / task.privacy.noise_std_steps(0);
        demand((share - 1.0).abs() < DEVIATION_TOLERANCE, || {
            format!("batch {batch}: the noise is {share:.3} of what is accounted for")
        })?;
    }
    Ok(())
}

/// What is chosen from noise changes with the noise.
pub(crate) fn masks_change_with_the_noise(step: &dyn Step) -> Verdict {
    let (task, data) = (task(1.0, 4.0)?, examples(5));
    let masks = (0..20).map(|seed| Ok(step.take(&task, &data, seed)?.next_mask.active().to_vec()));
    let masks = masks.collect::<Result<BTreeSet<_>, Failure>>()?;
    demand(masks.len() > 10, || format!("{} masks under 20 different noises", masks.len()))
}

/// The same noise and one more example: what changes of an upload is at most C long.
pub(crate) fn one_example_moves_an_upload_by_the_sensitivity(step: &dyn Step) -> Verdict {
    let (task, data) = (task(1.0, 1.2)?, examples(9));
    let most = f64::from(task.privacy.resolution_bits.steps_per_clip());
    for seed in 0..8 {
        let (with, without) = (step.take(&task, &data, seed)?, data.only(|i| i < 8));
        let without = step.take(&task, &without, seed)?;
        let pair = with.upload.zip(without.upload).ok_or("nothing was uploaded")?;
        let squares =
            pair.0.iter().zip(pair.1).map(|(a, b)| i128::from(a - b).pow(2)).sum::<i128>();
        let share = (squares as f64).sqrt() / most;
        demand(share <= 1.0, || format!("one example moves an upload by {share:.2} C"))?;
    }
    Ok(())
}

/// The same noise and one more example: what changes of a gradient is at most C b / L long.
pub(crate) fn one_example_moves_a_gradient_by_c_over_l(step: &dyn Step) -> Verdict {
    let (task, data) = (task(0.5, 1.2)?, examples(40));
    let most = task.privacy.clip.value() / task.privacy.expected_batch();
    for seed in 0..32 {
        let with = step.take(&task, &data, seed)?.gradient;
        let without = step.take(&task, &data.only(|i| i < 39), seed)?.gradient;
        let entry = |j: usize| (with[j] - without[j]) / task.standardisation.scale(j);
        let found = (0..with.len()).map(|j| entry(j).powi(2)).sum::<f64>().sqrt();
        demand(found <= most * (1.0 + ROUNDING), || {
            format!("one example moves a gradient by {:.2} C b / L", found / most)
        })?;
    }
    Ok(())
}

/// A batch without examples is a step like any other.
pub(crate) fn an_empty_batch_is_uploaded_and_charged(step: &dyn Step) -> Verdict {
    let (empty, unlucky) = ((task(1.0, 1.2)?, examples(0)), (task(1e-9, 1.2)?, examples(3)));
    for (task, data) in [empty, unlucky] {
        let seen = step.take(&task, &data, 1)?;
        let noise = seen.upload.ok_or("an empty batch shows itself: nothing is uploaded")?;
        demand(noise.iter().any(|value| *value != 0), || "an empty batch has no noise".into())?;
        let charged = ledger(seen.records)?.charged_rounds(TASK).count();
        demand(charged == 1, || "an empty batch is not charged".into())?;
    }
    Ok(())
}

/// Killed at the moment at which its upload left, a device knows what it has spent.
pub(crate) fn what_was_seen_is_charged(step: &dyn Step) -> Verdict {
    let (task, data) = (task(0.5, 1.2)?, examples(9));
    let seen = step.take(&task, &data, 3)?;
    demand(seen.upload.is_some(), || "nothing was uploaded".into())?;
    let after = ledger(seen.records)?;
    let (spent, shown) =
        (after.epsilon(TASK, task.privacy.delta), claim(&task.privacy, task.privacy.delta));
    demand(spent.epsilon >= shown, || {
        format!("epsilon {shown:.3} was seen, the device remembers {:.3}", spent.epsilon)
    })
}
