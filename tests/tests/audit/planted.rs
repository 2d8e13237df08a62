//! Every planted fault is noticed by a guard that the production step passes.

use adafed_tests::fixture::Failure;

use crate::faults::{
    ChargedAfterUpload, ClipBeforeStandardising, DividedByDrawnBatch, EmptyBatchSkipped,
    MaskFromRawGradients, NoiseOverRootBatch, NoisePerExample,
};
use crate::guards::{
    an_empty_batch_is_uploaded_and_charged, masks_change_with_the_noise,
    noise_has_the_accounted_deviation, one_example_moves_a_gradient_by_c_over_l,
    one_example_moves_an_upload_by_the_sensitivity, what_was_seen_is_charged,
};
use crate::view::{Production, Step};

/// The guard passes on production, and says of the faulty step what `fault` does.
fn assert_noticed(
    guard: fn(&dyn Step) -> Result<(), Failure>,
    faulty: &dyn Step,
    fault: &str,
) -> Result<(), Failure> {
    guard(&Production)?;
    let said = guard(faulty).err().ok_or("the guard did not notice the fault")?.to_string();
    println!("{said}");
    assert!(said.contains(fault), "{said}");
    Ok(())
}

#[test]
fn noise_divided_by_the_root_of_the_batch_is_noticed() -> Result<(), Failure> {
    let guard = noise_has_the_accounted_deviation;
    assert_noticed(guard, &NoiseOverRootBatch, "of what is accounted for")
}

#[test]
fn noise_per_example_is_noticed() -> Result<(), Failure> {
    let guard = noise_has_the_accounted_deviation;
    assert_noticed(guard, &NoisePerExample, "of what is accounted for")
}

#[test]
fn a_mask_from_raw_gradients_is_noticed() -> Result<(), Failure> {
    assert_noticed(masks_change_with_the_noise, &MaskFromRawGradients, "1 masks")
}

#[test]
fn clipping_before_standardising_is_noticed() -> Result<(), Failure> {
    let guard = one_example_moves_an_upload_by_the_sensitivity;
    assert_noticed(guard, &ClipBeforeStandardising, "one example moves an upload")
}

#[test]
fn division_by_the_drawn_batch_is_noticed() -> Result<(), Failure> {
    let guard = one_example_moves_a_gradient_by_c_over_l;
    assert_noticed(guard, &DividedByDrawnBatch, "one example moves a gradient")
}

#[test]
fn a_skipped_empty_batch_is_noticed() -> Result<(), Failure> {
    let guard = an_empty_batch_is_uploaded_and_charged;
    assert_noticed(guard, &EmptyBatchSkipped, "nothing is uploaded")
}

#[test]
fn a_charge_after_the_upload_is_noticed() -> Result<(), Failure> {
    assert_noticed(what_was_seen_is_charged, &ChargedAfterUpload, "the device remembers 0.000")
}
