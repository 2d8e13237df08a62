//! What every decoder of foreign bytes owes, whatever the bytes: no panic, no hang, no
//! allocation beyond [`allowance`], and the laws that each target states.
//!
//! The fuzzer in `fuzz/` searches for inputs that break them; `tests/fuzz` replays what it
//! found. Both call the functions of [`TARGETS`].

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use adafed::nn::ModelSpec;
use adafed_algorithm::{Layout, Mask, Pooling, Provenance, TensorLayout, TrainingState, groups};
use adafed_privacy::{Counter, Delta, Epsilon, Ledger, LedgerStore, Policy, Record, RoundRelease};
use adafed_wire::{
    CheckinRequest, CheckinResponse, CreateTask, DeviceId, Digest, EnrolRequest, EnrolResponse,
    MaskMessage, Message, ModelMessage, PackedIntegers, Receipt, ScaleMessage, SignedParts,
    SignedReport, TaskId, TaskPlan, Update, decode, encode, verify,
};
use serde::Deserialize;
use serde::de::value::{Error as ValueError, SeqDeserializer};

/// What is run on an input; a broken law panics.
pub type Target = fn(&[u8]);

/// Every decoder by the name of its corpus, with a function that panics where it breaks a
/// law.
pub const TARGETS: &[(&str, Target)] = &[
    // Encoded messages.
    ("checkin-request", message::<CheckinRequest>),
    ("checkin-response", message::<CheckinResponse>),
    ("create-task", create_task),
    ("enrol-request", message::<EnrolRequest>),
    ("enrol-response", message::<EnrolResponse>),
    ("mask", mask),
    ("model", message::<ModelMessage>),
    ("packed-integers", packed_integers),
    ("receipt", message::<Receipt>),
    ("scale", scale),
    ("task-plan", task_plan),
    ("update", update),
    // JSON.
    ("create-task-json", create_task_json),
    ("model-spec-json", model_spec_json),
    ("task-plan-json", task_plan_json),
    // The device's own files.
    ("ledger-lines", ledger_lines),
    ("ledger-records", ledger_records),
    ("report", report),
    ("report-check", report_check),
    // HTTP: headers, names in paths.
    ("byte-range", byte_range),
    ("names", names),
    ("signature", signature),
];

/// Most bytes that a target may hold at once for an input of `length` bytes.
///
/// The constant covers serde, which believes a promised number of entries up to 1 MiB a
/// nested sequence, and the masks that targets make; the multiple what an input turns into.
/// Checking a report composes privacy losses on a grid whose size no input chooses.
#[must_use]
pub fn allowance(target: &str, length: usize) -> u64 {
    let constant = if target == "report-check" { 256 << 20 } else { 4 << 20 };
    constant + 64 * length as u64
}

/// Parameters of the largest models for which targets build whole masks.
const MOST_COORDINATES: usize = 1 << 16;

/// A `Range` header, for a content whose length the first two bytes are.
fn byte_range(bytes: &[u8]) {
    let Some((length, header)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let Ok(header) = std::str::from_utf8(header) else { return };
    if let Ok(Some(range)) = adafed_server::testing::byte_range(header, length) {
        assert!(range.start < range.end && range.end <= length, "{header:?} of {length}");
    }
}

fn message<M: Message>(bytes: &[u8]) {
    decoded::<M>(bytes);
}

/// A message, whose encoding is canonical: it is no longer than what was read, and what is
/// read from it encodes to the same bytes.
fn decoded<M: Message>(bytes: &[u8]) -> Option<M> {
    let (message, canonical) = rewritten::<M>(bytes)?;
    assert!(canonical.len() <= bytes.len(), "{} grew", M::NAME);
    Some(message)
}

/// A message and its encoding, which is read and written as itself.
fn rewritten<M: Message>(bytes: &[u8]) -> Option<(M, Vec<u8>)> {
    let message = decode::<M>(bytes).ok()?;
    let canonical = encode(&message).expect("a message that was read can be written");
    let again = decode::<M>(&canonical).expect("an encoding can be read");
    assert_eq!(encode(&again).as_ref(), Ok(&canonical), "{} has two encodings", M::NAME);
    Some((message, canonical))
}

fn task_plan(bytes: &[u8]) {
    decoded::<TaskPlan>(bytes).as_ref().map(plan_laws);
}

fn task_plan_json(bytes: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<TaskPlan>(bytes) else { return };
    same_after_json(&plan);
    let Ok(encoding) = encode(&plan) else { return };
    assert_eq!(decode::<TaskPlan>(&encoding).as_ref(), Ok(&plan));
    plan_laws(&plan);
}

fn create_task(bytes: &[u8]) {
    // Its settings are JSON, which may leave members out.
    if let Some((task, _)) = rewritten::<CreateTask>(bytes) {
        creation_laws(task);
    }
}

fn create_task_json(bytes: &[u8]) {
    let Ok(task) = serde_json::from_slice::<CreateTask>(bytes) else { return };
    let Ok(encoding) = encode(&task) else { return };
    assert_eq!(decode::<CreateTask>(&encoding).as_ref(), Ok(&task));
    creation_laws(task);
}

fn creation_laws(task: CreateTask) {
    plan_laws(&task.plan);
    if task.plan.check().is_ok() {
        let (layout, parameters) = (&task.plan.layout, task.parameters);
        let count = parameters.len();
        let state = TrainingState::new(layout, parameters);
        assert!(state.is_err() || count == layout.len());
    }
}

/// Whatever a plan says, once it was checked all that device and server derive from it is
/// defined.
fn plan_laws(plan: &TaskPlan) {
    if plan.check().is_err() {
        return;
    }
    let (d, rounds, main) = (plan.layout.len(), plan.privacy.rounds(), plan.privacy.main.rounds);
    assert_eq!(plan.privacy.round_event(rounds), None);
    for round in [0, rounds / 2, rounds - 1] {
        assert!(plan.privacy.round_event(round).is_some());
        // At most 2^34 grid steps of noise a step, and 2^32 steps.
        assert!(plan.upload_shift(round) <= 34 + 32 / 2 - 5);
        assert!(plan.plans().release_scale(round).grid >= 0.0);
        let t = round.saturating_sub(plan.privacy.warmup.rounds).min(main.saturating_sub(1));
        let active = plan.algorithm.retention.active_count(t, main, d);
        assert!((1..=d).contains(&active));
    }
    plan.digest().expect("a checked plan has an encoding");
    assert!((1..=2).contains(&plan.privacy.composition().events().len()));
    if d <= MOST_COORDINATES {
        cover(&groups(&plan.layout, Pooling::Row), d);
        cover(&groups(&plan.layout, Pooling::Tensor), d);
    }
}

/// Groups follow each other without a gap, from the first coordinate to the last.
fn cover(groups: &[Range<usize>], d: usize) {
    let end = groups.iter().fold(0, |end, group| {
        assert_eq!(group.start, end);
        group.end
    });
    assert_eq!(end, d);
}

fn same_after_json<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let text = serde_json::to_string(value).expect("what was read as JSON can be written");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("JSON that was written"), value);
}

fn model_spec_json(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(spec) = ModelSpec::from_json(text) else { return };
    let layout = spec.layout().expect("reading a model checks it");
    let written = serde_json::to_string(&spec).expect("a model can be written");
    let again = ModelSpec::from_json(&written).expect("a model that was written");
    assert_eq!(again.layout().as_ref().ok(), Some(&layout));
}

fn mask(bytes: &[u8]) {
    let Some(message) = decoded::<MaskMessage>(bytes) else { return };
    let d = message.len as usize;
    assert!(message.mask(d.wrapping_add(1)).is_err());
    if d > MOST_COORDINATES {
        return;
    }
    let Ok(mask) = message.mask(d) else { return };
    assert_eq!(mask.len(), d);
    assert!((1..=d).contains(&mask.active_count()));
    assert!(mask.active().is_sorted_by(|a, b| a < b));
    assert!(mask.indices().all(|j| j < d));
    assert_eq!(MaskMessage::new(&mask).mask(d).as_ref(), Ok(&mask));
}

/// Input: a bitmap of 15 coordinates in two bytes, then a message.
fn scale(bytes: &[u8]) {
    let Some((&bitmap, rest)) = bytes.split_first_chunk() else { return };
    let Some(message) = decoded::<ScaleMessage>(rest) else { return };
    let (layout, bitmap) = (small_layout(), u16::from_le_bytes(bitmap));
    let active = (0..15).filter(|j| bitmap >> j & 1 == 1).collect();
    let Ok(mask) = Mask::published(15, active, Provenance::Released) else { return };
    let Ok(read) = message.standardisation(&mask, &layout) else { return };
    let again = ScaleMessage::new(&read, &mask, &layout, message.pooling);
    assert_eq!(again.standardisation(&mask, &layout), Ok(read));
}

fn small_layout() -> Layout {
    let tensor =
        |name: &str, shape: &[usize]| TensorLayout { name: name.into(), shape: shape.to_vec() };
    Layout { tensors: vec![tensor("w", &[3, 4]), tensor("b", &[3])] }
}

/// Input: the expected number of integers in two bytes, then a message.
fn update(bytes: &[u8]) {
    let Some((&expected, rest)) = bytes.split_first_chunk() else { return };
    let Some(update) = decoded::<Update>(rest) else { return };
    let expected = usize::from(u16::from_le_bytes(expected));
    let Ok(values) = update.values.unpack(expected) else { return };
    assert_eq!(values.len(), expected);
    let packed = PackedIntegers::pack(&release(&values)).expect("they were packed before");
    assert_eq!(packed.unpack(expected), Ok(values));
}

/// Input: the integers, in eight bytes each.
fn packed_integers(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks();
    let values: Vec<i64> = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
    let fits = |v: &i64| (-(1_i64 << 39)..1 << 39).contains(v);
    let packed = PackedIntegers::pack(&release(&values));
    assert_eq!(packed.is_ok(), values.iter().all(fits));
    if let Ok(packed) = packed {
        assert!(packed.unpack(values.len() + 1).is_err());
        assert_eq!(packed.unpack(values.len()), Ok(values));
    }
}

fn release(values: &[i64]) -> RoundRelease {
    let values = SeqDeserializer::<_, ValueError>::new(values.iter().copied());
    RoundRelease::deserialize(values).expect("any integers")
}

fn names(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(task) = text.parse::<TaskId>() {
        assert_eq!(task.as_str(), text);
    }
    // Digits of either case are read, small ones written.
    let written = text.to_ascii_lowercase();
    if let Ok(device) = text.parse::<DeviceId>() {
        assert_eq!(device.to_string(), written);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), written);
    }
}

/// Input: a public key, a time in eight bytes, then one line each for method, path and
/// signature, then the body.
fn signature(bytes: &[u8]) {
    let Some((public_key, rest)) = bytes.split_first_chunk::<32>() else { return };
    let Some((&time_ms, rest)) = rest.split_first_chunk() else { return };
    let mut lines = rest.splitn(4, |&byte| byte == b'\n');
    let mut text = || lines.next().and_then(|line| str::from_utf8(line).ok());
    let (Some(method), Some(path), Some(signature)) = (text(), text(), text()) else { return };
    let (time_ms, body) = (u64::from_le_bytes(time_ms), lines.next().unwrap_or_default());
    let parts = SignedParts { method, path, time_ms, body };
    if verify(public_key, parts, signature).is_ok() {
        assert_eq!(signature.len(), 128);
        let name = DeviceId::of_key(public_key);
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

fn report(bytes: &[u8]) {
    let Some(report) = read_report(bytes) else { return };
    let text = report.to_json().expect("a report that was read can be written");
    assert_eq!(SignedReport::from_json(&text).as_ref(), Ok(&report));
}

/// Slow: it asks both accountants.
fn report_check(bytes: &[u8]) {
    let Some(report) = read_report(bytes) else { return };
    let check = report.check();
    assert_eq!(check.is_true(), check.signature && check.differences().count() == 0);
}

fn read_report(bytes: &[u8]) -> Option<SignedReport> {
    SignedReport::from_json(str::from_utf8(bytes).ok()?).ok()
}

/// Input: the counter in the first line, then the store's text as it stands.
fn ledger_lines(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (counter, text) = text.split_once('\n').unwrap_or(("", text));
    let counter = serde_json::from_str(counter).ok();
    ledger_laws(text.to_owned(), counter);
}

/// Input: records, one a line, which the target chains: hashes are nothing to guess.
fn ledger_records(bytes: &[u8]) {
    let (mut text, mut counter) = (String::new(), Counter::default());
    for line in bytes.split(|&byte| byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { return };
        same_after_json(&record);
        let record = serde_json::to_string(&record).expect("a record that was read");
        let previous = counter.last;
        let hash = Digest::of(format!("{previous}\n{record}").as_bytes()).to_string();
        let line = format!(r#"{{"previous":"{previous}","hash":"{hash}","record":{record}}}"#);
        text = text + &line + "\n";
        counter = Counter { records: counter.records + 1, last: hash };
    }
    ledger_laws(text, Some(counter));
}

/// Opening mends a ledger once: from then on it is as it was opened.
fn ledger_laws(text: String, counter: Option<Counter>) {
    let store = MemoryStore::new(text, counter);
    let Ok(opened) = Ledger::open(store.clone(), policy()) else { return };
    let contents = store.contents();
    let again = Ledger::open(store.clone(), policy()).expect("a ledger that was opened");
    assert_eq!(store.contents(), contents);
    assert_eq!(again.head(), opened.head());
    assert!(again.tasks().eq(opened.tasks()));
    for (task, _, plan) in opened.tasks() {
        assert!(opened.charged_rounds(task).eq(again.charged_rounds(task)));
        assert!(opened.charged_rounds(task).all(|round| round < plan.rounds()));
        assert_eq!(opened.composition(task), again.composition(task));
    }
    assert_eq!(opened.committed(), again.committed());
}

fn policy() -> Policy {
    let (cap, delta) = (Epsilon::new(8.0), Delta::new(1e-5));
    Policy::new(cap.expect("a valid epsilon"), delta.expect("a valid delta")).expect("it is valid")
}

/// Records and counter of a ledger: clones share them, so that they outlive it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Rc<RefCell<(String, Option<Counter>)>>);

impl MemoryStore {
    /// A store that holds what a ledger is to find.
    #[must_use]
    pub fn new(text: String, counter: Option<Counter>) -> Self {
        Self(Rc::new(RefCell::new((text, counter))))
    }

    /// What it holds now.
    #[must_use]
    pub fn contents(&self) -> (String, Option<Counter>) {
        self.0.borrow().clone()
    }
}

impl LedgerStore for MemoryStore {
    fn append(&mut self, line: &str) -> Result<(), String> {
        self.0.borrow_mut().0.push_str(line);
        Ok(())
    }

    fn read(&mut self) -> Result<String, String> {
        Ok(self.0.borrow().0.clone())
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        let bytes = usize::try_from(bytes).map_err(|e| e.to_string())?;
        self.0.borrow_mut().0.truncate(bytes);
        Ok(())
    }

    fn counter(&mut self) -> Result<Option<Counter>, String> {
        Ok(self.0.borrow().1.clone())
    }

    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String> {
        self.0.borrow_mut().1 = Some(counter.clone());
        Ok(())
    }
}
