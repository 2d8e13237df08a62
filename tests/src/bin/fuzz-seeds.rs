//! Writes the seeds of the fuzzing corpus, from valid messages: `fuzz-seeds FOLDER` puts
//! those of each target under FOLDER/TARGET.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use adafed::nn::ModelSpec;
use adafed::privacy::report::PrivacyReport;
use adafed::privacy::{Delta, Epsilon, Ledger, Policy, RoundRelease};
use adafed::wire::{
    Assignment, CheckinRequest, CheckinResponse, CreateTask, DeviceKey, Digest, EnrolRequest,
    EnrolResponse, MaskMessage, ModelMessage, PackedIntegers, Receipt, ScaleMessage, SignedParts,
    SignedReport, TaskPlan, TaskSettings, Update, encode,
};
use adafed_algorithm::{
    Aggregation, FederationPlan, Layout, Mask, MaskRefresh, Pooling, Provenance, TensorLayout,
};
use adafed_tests::fixture::{Failure, plan, privacy, task};
use adafed_tests::fuzz::MemoryStore;

/// Targets and inputs.
type Seeds = Vec<(&'static str, Vec<u8>)>;

fn main() -> ExitCode {
    let folder = env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".into());
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> Result<(), Failure> {
    let parts = [control()?, content()?, plans()?, models()?, updates()?, reports()?, texts()?];
    for (index, (target, input)) in parts.into_iter().flatten().enumerate() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{index}")), input)?;
    }
    Ok(())
}

fn key() -> Result<DeviceKey, Failure> {
    Ok(DeviceKey::from_pkcs8(&DeviceKey::generate()?)?)
}

fn control() -> Result<Seeds, Failure> {
    let key = key()?;
    let (round, digest) = (300, Digest::of(b"content"));
    let enrol = EnrolRequest { token: "token".into(), public_key: key.public_key() };
    let checkin = CheckinRequest { task: task()?, version: "0.1.0".into() };
    let assignment = Assignment { round, plan: digest, model: digest, mask: digest, scale: digest };
    Ok(vec![
        ("enrol-request", encode(&enrol)?),
        ("enrol-response", encode(&EnrolResponse { device: key.device() })?),
        ("checkin-request", encode(&checkin)?),
        ("checkin-response", encode(&CheckinResponse::Join(assignment))?),
        ("byte-range", b"\x40\x00bytes=3-9".to_vec()),
        ("byte-range", b"\x40\x00bytes=-5".to_vec()),
        ("byte-range", b"\x40\x00bytes=63-".to_vec()),
        ("byte-range", b"\x40\x00bytes=0-1,4-5".to_vec()),
        ("byte-range", b"\x00\x00bytes=0-0".to_vec()),
        ("checkin-response", encode(&CheckinResponse::Wait { retry_after_ms: 70_000 })?),
        ("checkin-response", encode(&CheckinResponse::Finished { model: digest })?),
        ("receipt", encode(&Receipt { duplicate: true })?),
    ])
}

/// Coordinates of [`layout`].
const D: usize = 15;

fn layout() -> Layout {
    let tensor =
        |name: &str, shape: &[usize]| TensorLayout { name: name.into(), shape: shape.to_vec() };
    Layout { tensors: vec![tensor("w", &[3, 4]), tensor("b", &[3])] }
}

fn content() -> Result<Seeds, Failure> {
    let mask = |d, active| Mask::published(d, active, Provenance::Released);
    let mut seeds = vec![
        ("model", encode(&ModelMessage { parameters: vec![1.0, -2.5, 0.0] })?),
        ("mask", encode(&MaskMessage::new(&Mask::full(26_010)))?),
        ("mask", encode(&MaskMessage::new(&mask(D, vec![0, 3, 4, 9, 14])?))?),
        ("mask", encode(&MaskMessage::new(&mask(300, (7..290).collect())?))?),
    ];
    let active = [0, 3, 4, 9, 14];
    let bitmap = active.iter().fold(0_u16, |bits, j| bits | 1 << j).to_le_bytes();
    for (pooling, scales) in [(Pooling::Coordinate, 5), (Pooling::Row, 4), (Pooling::Tensor, 2)] {
        let (centre, scale) = (Some(vec![0.5; active.len()]), Some(vec![2.0; scales]));
        let message = encode(&ScaleMessage { centre, scale, pooling })?;
        seeds.push(("scale", [&bitmap, &message[..]].concat()));
    }
    Ok(seeds)
}

/// The fixture's plan over a small model.
fn small_plan() -> Result<TaskPlan, Failure> {
    Ok(TaskPlan { layout: layout(), ..plan(privacy(2, 6, 3)?, 4)? })
}

fn plans() -> Result<Seeds, Failure> {
    let (plan, parameters) = (small_plan()?, vec![0.5; D]);
    let task = CreateTask { plan: plan.clone(), parameters, settings: TaskSettings::default() };
    let federation = FederationPlan {
        proximal: 0.5,
        aggregation: Aggregation::TrimmedMean { share: 0.2 },
        norm_bound: Some(2.0),
        refresh: Some(MaskRefresh { every: 2, exploration: 0.1, decay: 0.9 }),
        ..FederationPlan::DEFAULT
    };
    let federated = TaskPlan { federation, ..plan.clone() };
    let settings = TaskSettings { grace_ms: 500, ..TaskSettings::default() };
    let steered = CreateTask { plan: federated.clone(), settings, ..task.clone() };
    Ok(vec![
        ("task-plan", encode(&federated)?),
        ("create-task", encode(&steered)?),
        ("create-task-json", serde_json::to_vec(&steered)?),
        ("task-plan", encode(&plan)?),
        ("task-plan-json", serde_json::to_vec(&plan)?),
        ("create-task", encode(&task)?),
        ("create-task-json", serde_json::to_vec(&task)?),
    ])
}

fn models() -> Result<Seeds, Failure> {
    const LAYERS: [&str; 8] = [
        r#"{"input":[2,9,8],"loss":"mse","layers":[{"type":"conv2d","in":2,"out":6,"kernel":2,
        "stride":2,"padding":1},{"type":"group_norm","groups":3,"channels":6},{"type":
        "avg_pool2d","kernel":2,"stride":1},{"type":"global_max_pool2d"}]}"#,
        r#"{"input":[6],"loss":"cross_entropy","layers":[{"type":"embedding","num":4,"dim":6},
        {"type":"self_attention","dim":6,"heads":2,"causal":true},{"type":"rms_norm","dim":6},
        {"type":"mean_sequence"},{"type":"linear","in":6,"out":3}]}"#,
        r#"{"input":[5,3],"loss":"bce_with_logits","layers":[{"type":"lstm","in":3,"hidden":4},
        {"type":"gru","in":4,"hidden":3},{"type":"last_step"},{"type":"dropout","rate":0.5}]}"#,
        r#"{"input":[3,4],"loss":"sequence_cross_entropy","layers":[{"type":"residual","layers":
        [{"type":"linear","in":4,"out":4,"bias":false},{"type":"silu"}]},{"type":"layer_norm",
        "dim":4},{"type":"softmax"},{"type":"linear","in":4,"out":2}]}"#,
        r#"{"input":[3,9],"loss":"cross_entropy","layers":[{"type":"conv1d","in":3,"out":4,
        "kernel":3,"padding":2,"dilation":2,"groups":1},{"type":"max_pool1d","kernel":3},
        {"type":"transpose_sequence"},{"type":"flatten"},{"type":"linear","in":8,"out":3}]}"#,
        r#"{"input":[1,8,8],"features":{"type":"scattering","scales":1},"loss":"mse",
        "layers":[{"type":"flatten"},{"type":"linear","in":144,"out":2}]}"#,
        r#"{"input":[1,28,28],"features":{"type":"patches","images":40,"filters":{"seed":3,
        "images":20,"sizes":[5],"pairs":4,"ridge":0.3,"threshold":0.8,"grid":2},"whitening":
        {"directions":12,"ridge":0.1,"constant":0.3}},"loss":"cross_entropy","layers":[{"type":
        "linear","in":13,"out":3}]}"#,
        r#"{"input":[18446744073709551615,0],"loss":"mse","layers":[]}"#,
    ];
    let written = [ModelSpec::mnist_cnn(), ModelSpec::text(), ModelSpec::transformer()];
    let written = written.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let texts = LAYERS.map(|text| text.as_bytes().to_vec());
    Ok(written.into_iter().chain(texts).map(|text| ("model-spec-json", text)).collect())
}

fn updates() -> Result<Seeds, Failure> {
    let values: Vec<i64> = vec![0, -1, 700, -2, 3, -4, 2, 0, 1 << 38];
    let words: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut seeds = vec![("packed-integers", words)];
    for values in [&values[..], &values[..5], &[0; 9]] {
        let digest = Digest::of(b"content");
        let release: RoundRelease = serde_json::from_value(values.into())?;
        let update = Update {
            task: task()?,
            round: 3,
            plan: digest,
            model: digest,
            mask: digest,
            values: PackedIntegers::pack(&release)?,
        };
        let count = (values.len() as u16).to_le_bytes();
        seeds.push(("update", [&count, &encode(&update)?[..]].concat()));
    }
    Ok(seeds)
}

fn reports() -> Result<Seeds, Failure> {
    let plan = small_plan()?;
    let (task, digest) = (plan.task.to_string(), plan.digest()?.to_string());
    let policy = Policy::new(Epsilon::new(30.0)?, Delta::new(1e-5)?)?;
    let store = MemoryStore::default();
    let mut ledger = Ledger::open(store.clone(), policy)?;
    let mut seeds = Vec::new();
    ledger.accept(&task, &digest, &plan.privacy)?;
    for round in 0..3 {
        let permit = ledger.charge(&task, round)?;
        ledger.record_release(permit, &digest)?;
    }
    let report = PrivacyReport::new(&ledger, |_| Some(plan.sources()));
    let signed = serde_json::to_vec(&SignedReport::sign(report, vec![plan], &key()?)?)?;
    seeds.extend([("report", signed.clone()), ("report-check", signed)]);
    let (text, counter) = store.contents();
    let lines = format!("{}\n{text}", serde_json::to_string(&counter)?);
    seeds.push(("ledger-lines", lines.clone().into_bytes()));
    seeds.push(("ledger-lines", lines.as_bytes()[..lines.len() - 9].to_vec()));
    seeds.push(("ledger-records", records(&text)?.into_bytes()));
    Ok(seeds)
}

/// The records of a ledger's lines, without the hashes.
fn records(text: &str) -> Result<String, Failure> {
    let record = |line| -> Result<String, Failure> {
        Ok(serde_json::from_str::<serde_json::Value>(line)?["record"].to_string())
    };
    Ok(text.lines().map(record).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn texts() -> Result<Seeds, Failure> {
    let key = key()?;
    let parts = SignedParts { method: "PUT", path: "/v1/x", time_ms: 1_234, body: b"body" };
    let lines = format!("PUT\n/v1/x\n{}\nbody", key.sign(parts));
    let time = parts.time_ms.to_le_bytes();
    let names = ["digits".to_owned(), key.device().to_string(), Digest::of(b"").to_string()];
    let mut seeds: Seeds = names.into_iter().map(|name| ("names", name.into_bytes())).collect();
    seeds.push(("signature", [&key.public_key()[..], &time, lines.as_bytes()].concat()));
    Ok(seeds)
}
