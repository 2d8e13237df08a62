//! What a host app may ask and forbid: offers, models, conditions, running on its thread.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adafed::data::{Examples, digits};
use adafed::store::FileStore;
use adafed::transport::HttpTransport;
use adafed::{Activity, Conditions, Next, Participant, Threads, Verdict};
use adafed_tests::fixture::{Failure, http, parameters, plan, policy, privacy, task};
use adafed_tests::host::{Host, is_finished, tick_until};

/// Gives the verdicts of a list, one a question; then the last one for ever.
struct Listed(Vec<Verdict>, AtomicUsize);

impl Listed {
    fn new(verdicts: &[Verdict]) -> Arc<Self> {
        Arc::new(Self(verdicts.to_vec(), AtomicUsize::new(0)))
    }
}

impl Conditions for Listed {
    fn verdict(&self) -> Verdict {
        let asked = self.1.fetch_add(1, Ordering::Relaxed);
        self.0[asked.min(self.0.len() - 1)]
    }
}

fn device_under(
    host: &Host,
    folder: &Path,
    conditions: Arc<Listed>,
) -> Result<Participant<HttpTransport, FileStore>, Failure> {
    let builder = Participant::builder(task()?)
        .transport(http(&host.address)?)
        .store(FileStore::open(folder)?)
        .data(Arc::new(digits(1, 200)))
        .policy(policy(20.0)?)
        .token(&host.token)
        .threads(Threads::own(NonZeroUsize::MIN))
        .conditions(conditions);
    Ok(builder.build()?)
}

#[test]
fn an_offer_says_what_it_would_cost_and_charges_nothing() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let plan = plan(privacy(4, 16, 1)?, 1)?;
    let host = Host::start(folder.path(), &plan)?;
    let mut rich = host.device(&folder.path().join("rich"), digits(1, 20), 20.0)?;
    let offer = rich.offer()?;
    assert!(offer.plan == plan && offer.refusal.is_none());
    assert_eq!(offer.epsilon.epsilon, plan.privacy.epsilon().epsilon);
    assert_eq!(rich.ledger().tasks().count(), 0, "an offer is no agreement");
    let mut poor = host.device(&folder.path().join("poor"), digits(1, 20), 0.5)?;
    let refusal = poor.offer()?.refusal.ok_or("it must be refused")?;
    assert_eq!(refusal.code(), "privacy/budget");
    Ok(())
}

#[test]
fn the_model_of_the_round_and_the_final_one_can_be_had() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 1)?)?;
    let mut device = host.device(&folder.path().join("device"), digits(1, 200), 20.0)?;
    assert!(device.global_model()?.is_none());
    tick_until(&mut device, |a| matches!(a, Activity::Trained { steps: 1, .. }))?;
    let first = device.global_model()?.ok_or("a round is joined")?;
    assert_eq!(first.parameters, parameters()?, "local steps are no part of it");
    tick_until(&mut device, |a| matches!(a, Activity::Uploaded { .. }))?;
    assert_eq!(device.global_model()?.ok_or("it is known")?.parameters, first.parameters);
    tick_until(&mut device, is_finished)?;
    let last = device.global_model()?.ok_or("the task has ended")?;
    assert_eq!(Some(&last.parameters), device.final_model()?.as_ref());
    assert_eq!(last.model.predict(&last.parameters, digits(2, 3).inputs(), 3)?.len(), 30);
    Ok(())
}

#[test]
fn a_step_that_conditions_call_off_is_repeated_to_the_same_bytes() -> Result<(), Failure> {
    use Verdict::{Go, Pause};
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 1)?)?;
    let (home, twin_home) = (folder.path().join("device"), folder.path().join("twin"));
    let mut device = host.device(&home, digits(1, 200), 20.0)?;
    tick_until(&mut device, |a| matches!(a, Activity::Joined { .. }))?;
    let joined = device.save()?.ok_or("a round is in progress")?;
    std::fs::create_dir(&twin_home)?;
    for name in ["device.key", "enrolled", "ledger.jsonl", "ledger.counter"] {
        std::fs::copy(home.join(name), twin_home.join(name))?;
    }
    tick_until(&mut device, |a| matches!(a, Activity::Released { .. }))?;
    // The twin may begin a tick, but not its first micro-batch.
    let mut twin = device_under(&host, &twin_home, Listed::new(&[Go, Pause, Pause, Go]))?;
    twin.restore(&joined)?;
    for _ in 0..2 {
        let progress = twin.tick()?;
        assert_eq!(progress.activity, Activity::Paused);
        assert!(matches!(progress.next, Next::At(_)), "{progress:?}");
    }
    tick_until(&mut twin, |a| matches!(a, Activity::Released { .. }))?;
    let release = |home: &Path| std::fs::read(home.join("outbox.bin"));
    assert_eq!(release(&twin_home)?, release(&home)?);
    Ok(())
}

#[test]
fn a_run_ends_with_the_task_or_when_it_is_told_to() -> Result<(), Failure> {
    use Verdict::{Go, Stop};
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 1)?, 1)?)?;
    let home = folder.path().join("device");
    let mut stopped = device_under(&host, &home, Listed::new(&[Go, Go, Stop]))?;
    let mut seen = Vec::new();
    stopped.run(|progress| seen.push(progress.activity.clone()))?;
    assert_eq!(seen, [Activity::Enrolled]);
    drop(stopped);
    let mut device = device_under(&host, &home, Listed::new(&[Go]))?;
    device.run(|progress| seen.push(progress.activity.clone()))?;
    assert_eq!(seen.last(), Some(&Activity::Finished));
    assert!(device.epsilon().epsilon > 0.0);
    Ok(())
}

#[test]
fn a_saved_round_belongs_to_one_device_and_its_ledger() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 2)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 20), 20.0)?;
    let mut other = host.device(&folder.path().join("other"), digits(1, 20), 20.0)?;
    for device in [&mut device, &mut other] {
        tick_until(device, |a| matches!(a, Activity::Joined { .. }))?;
    }
    let saved = device.save()?.ok_or("a round is in progress")?;
    let refusal = other.restore(&saved).err().ok_or("it holds another device's noise")?;
    assert_eq!(refusal.code(), "sdk/other-device");
    tick_until(&mut other, |a| matches!(a, Activity::Uploaded { .. }))?;
    // The folder is lost, but for the key: nothing says whether the round was released.
    drop(device);
    let key = std::fs::read(home.join("device.key"))?;
    std::fs::remove_dir_all(&home)?;
    std::fs::create_dir(&home)?;
    std::fs::write(home.join("device.key"), key)?;
    let mut device = host.device(&home, digits(1, 20), 20.0)?;
    let refusal = device.restore(&saved).err().ok_or("its ledger knows no such task")?;
    assert_eq!(refusal.code(), "privacy/not-charged");
    assert!(device.save()?.is_none(), "nothing has changed");
    Ok(())
}

#[test]
fn a_round_goes_on_with_examples_that_fit_only() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 20), 20.0)?;
    tick_until(&mut device, |a| matches!(a, Activity::Joined { .. }))?;
    drop(device);
    let small = Examples::new(vec![1, 2, 2], vec![0.0; 4], vec![0], 10)?;
    let mut device = host.device(&home, small, 20.0)?;
    let refusal = device.tick().err().ok_or("the model takes other shapes")?;
    assert_eq!(refusal.code(), "sdk/example-shape");
    assert_eq!(device.epsilon().epsilon, 0.0, "nothing was charged");
    Ok(())
}

#[test]
fn a_device_whose_key_was_lost_is_a_new_one() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let host = Host::start(folder.path(), &plan(privacy(1, 1, 2)?, 1)?)?;
    let home = folder.path().join("device");
    let mut device = host.device(&home, digits(1, 20), 20.0)?;
    assert_eq!(device.tick()?.activity, Activity::Enrolled);
    let name = device.device();
    drop(device);
    std::fs::remove_file(home.join("device.key"))?;
    let mut device = host.device(&home, digits(1, 20), 20.0)?;
    assert_ne!(device.device(), name);
    assert_eq!(device.tick()?.activity, Activity::Enrolled);
    Ok(())
}
