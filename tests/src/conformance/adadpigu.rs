//! Training mathematics: importance, masks, thaw, scale, clipping, release, statistics.
//!
//! Server-side functions work in f64 and are held to 1e-9. The per-example path of a
//! device works in f32 on an integer lattice and is held to 2e-5 of the largest entry;
//! its noise is replaced by the file's, because a CSPRNG cannot be scripted.

use std::path::Path;

use adafed_algorithm::{
    Importance, ImportanceRule, Layout, Mask, Pooling, Provenance, ReleaseScale, ReleasedGradient,
    ReleasedSum, Retention, ScaleRule, ScaleSettings, ScaleState, Schedule, Standardisation,
    TensorLayout,
};
use adafed_privacy::{ClipNorm, ClippedSum, Lattice, PerExample, ResolutionBits};
use serde_json::Value;

use super::{Case, Error, items, number, numbers, read_json};

const DOUBLE: f64 = 1e-9;
const SINGLE: f64 = 2e-5;

/// Runs `adadpigu.json`, at `path` or inside it.
///
/// # Errors
/// [`Error`] when the file cannot be read or has another form.
pub fn adadpigu(path: &Path) -> Result<Vec<Case>, Error> {
    let (path, file) = read_json(path, &["adadpigu.json"])?;
    for key in ["about", "warmup", "ties", "main", "retention"] {
        if file.get(key).is_none() {
            let reason = format!("it has no {key:?}");
            return Err(Error::Malformed { path, reason });
        }
    }
    let about = About::new(&file["about"]);
    let mut cases = warmup(&about, &file["warmup"]);
    cases.push(ties(&file["ties"]));
    items(&file["main"]).for_each(|main| cases.extend(main_phase(&about, main)));
    cases.extend(items(&file["retention"]).map(retention));
    Ok(cases)
}

struct About {
    d: usize,
    expected_batch: f64,
    clip: f64,
    sigma: f64,
    settings: ScaleSettings,
    layout: Layout,
}

impl About {
    fn new(about: &Value) -> Self {
        let f = |key: &str| number(&about[key]);
        let d = f("d") as usize;
        let settings = ScaleSettings {
            beta1: f("beta1"),
            beta2: f("beta2"),
            h1: f("h1"),
            h2: f("h2"),
            floor: f("floor"),
            centre: true,
            ..ScaleSettings::new(ScaleRule::None, Pooling::Coordinate)
        };
        let layout = Layout { tensors: vec![TensorLayout { name: "w".into(), shape: vec![d] }] };
        let (expected_batch, clip, sigma) = (f("L"), f("C"), f("sigma"));
        Self { d, expected_batch, clip, sigma, settings, layout }
    }

    fn noise_std(&self, b: &[f64]) -> Vec<f64> {
        b.iter().map(|b| self.sigma * self.clip * b / self.expected_batch).collect()
    }

    /// The device's path for one step: noisy sum and released gradient.
    fn device_step(
        &self,
        step: &Value,
        mask: &Mask,
        standardisation: &Standardisation,
    ) -> Option<(Vec<f64>, Vec<f64>)> {
        let clip = ClipNorm::new(self.clip).ok()?;
        let bits = ResolutionBits::new(20).ok()?;
        let lattice = Lattice::new(clip, bits, mask.active_count()).ok()?;
        let masked = standardisation.masked(mask);
        let (mut sum, mut scratch) = (ClippedSum::new(lattice, self.d), Vec::new());
        for row in items(&step["G"]) {
            let mut gradient: Vec<f32> = numbers(row).iter().map(|x| *x as f32).collect();
            masked.apply(&mut gradient);
            sum.add(PerExample::new(&gradient), &mut scratch).ok()?;
        }
        let totals = ClippedSum::reveal(vec![&mut sum]);
        let z = numbers(&step["z"]);
        let steps_of_noise = self.sigma * f64::from(lattice.norm_steps());
        let noisy = |j: usize| totals[j] + (z[j] * steps_of_noise).round() as i64;
        let active: Vec<i64> = mask.indices().map(noisy).collect();
        let mut dense = vec![0.0; self.d];
        mask.indices().zip(&active).for_each(|(j, &v)| dense[j] = v as f64 * lattice.grid());
        let mut released = ReleasedSum::new(active.len(), 1);
        released.add_device(&active).ok()?;
        let scale = ReleaseScale {
            grid: lattice.grid(),
            noise_std: self.sigma * self.clip,
            expected_batch: self.expected_batch,
        };
        let restored = ReleasedGradient::restore(&released, mask, standardisation, scale).ok()?;
        Some((dense, restored.values().to_vec()))
    }
}

fn warmup(about: &About, warmup: &Value) -> Vec<Case> {
    let mut device = Case::new("warmup/released by the device", SINGLE);
    let mut rules = Case::new("warmup/importance and masks", DOUBLE);
    let mut importance = Importance::new(about.d);
    let (full, plain) = (Mask::full(about.d), Standardisation::none());
    let noise_std = about.noise_std(&vec![1.0; about.d]);
    for (t, step) in items(&warmup["steps"]).enumerate() {
        let expected = numbers(&step["released"]);
        let found = about.device_step(step, &full, &plain).map(|(_, r)| r).unwrap_or_default();
        device.vectors(&format!("released in step {t}"), &found, &expected);
        importance.add(&ReleasedGradient::published(expected, noise_std.clone()));
    }
    let by_abs = importance.score(ImportanceRule::Abs, 0);
    let debiased = importance.score(ImportanceRule::Debiased, 0);
    rules.vectors("importance_abs", by_abs.values(), &numbers(&warmup["importance_abs"]));
    let expected = numbers(&warmup["importance_debiased"]);
    rules.vectors("importance_debiased", debiased.values(), &expected);
    for entry in items(&warmup["masks"]) {
        let k = adafed_algorithm::active_count(number(&entry["r"]), about.d);
        rules.vectors("k", &[k as f64], &[number(&entry["k"])]);
        for (score, key) in [(&by_abs, "by_abs"), (&debiased, "by_debiased")] {
            rules.vectors(key, &dense(&Mask::top_k(score, k)), &numbers(&entry[key]));
        }
    }
    vec![device, rules]
}

fn dense(mask: &Mask) -> Vec<f64> {
    let mut out = vec![0.0; mask.len()];
    mask.indices().for_each(|j| out[j] = 1.0);
    out
}

fn mask_of(value: &Value) -> Option<Mask> {
    let dense = numbers(value);
    let active = (0..dense.len() as u32).filter(|&j| dense[j as usize] > 0.0).collect();
    Mask::published(dense.len(), active, Provenance::Released).ok()
}

fn ties(ties: &Value) -> Case {
    let mut case = Case::new("ties", DOUBLE);
    // A score is made from releases alone; squares with no noise rank like the values.
    let scores = numbers(&ties["score"]);
    let mut importance = Importance::new(scores.len());
    let zeros = vec![0.0; scores.len()];
    importance.add(&ReleasedGradient::published(scores, zeros));
    let mask = Mask::top_k(&importance.score(ImportanceRule::Abs, 0), number(&ties["k"]) as usize);
    case.vectors("mask", &dense(&mask), &numbers(&ties["mask"]));
    case
}

fn main_phase(about: &About, main: &Value) -> Vec<Case> {
    let name = main["rule"].as_str().unwrap_or("?");
    let mut server = Case::new(format!("main/{name}/scale and statistics"), DOUBLE);
    let mut device = Case::new(format!("main/{name}/device step"), SINGLE);
    let rule: Result<ScaleSettings, _> = name.parse();
    let Ok(rule) = rule else {
        return vec![Case::unsupported(server.name, "unknown scale rule")];
    };
    let settings = ScaleSettings { rule: rule.rule, ..about.settings };
    for (t, step) in items(&main["steps"]).enumerate() {
        if let Some(mask) = mask_of(&step["mask"]) {
            server_step(about, &settings, step, &mask, t, &mut server);
            device_step(about, step, &mask, t, &mut device);
        } else {
            server.error(f64::NAN, || format!("mask of step {t}"));
        }
    }
    vec![server, device]
}

fn server_step(
    about: &About,
    settings: &ScaleSettings,
    step: &Value,
    mask: &Mask,
    t: usize,
    case: &mut Case,
) {
    let (a, v) = (numbers(&step["a"]), numbers(&step["v"]));
    let Ok(mut state) = ScaleState::published(a, v) else {
        return case.error(f64::NAN, || format!("state of step {t}"));
    };
    let b = state.scale(mask, &about.layout, settings);
    case.vectors(&format!("b in step {t}"), &b, &numbers(&step["b"]));
    let release = ReleasedGradient::published(numbers(&step["released"]), about.noise_std(&b));
    state.update(&release, mask, settings);
    case.vectors(&format!("a after step {t}"), state.mean(), &numbers(&step["a_next"]));
    case.vectors(&format!("v after step {t}"), state.variance(), &numbers(&step["v_next"]));
}

fn device_step(about: &About, step: &Value, mask: &Mask, t: usize, case: &mut Case) {
    let narrow = |key: &str| Some(numbers(&step[key]).iter().map(|x| *x as f32).collect());
    let found = Standardisation::new(about.d, narrow("a"), narrow("b"))
        .ok()
        .and_then(|standardisation| about.device_step(step, mask, &standardisation));
    let (noisy_sum, released) = found.unwrap_or_default();
    case.vectors(&format!("noisy sum in step {t}"), &noisy_sum, &numbers(&step["noisy_sum"]));
    case.vectors(&format!("released in step {t}"), &released, &numbers(&step["released"]));
}

fn retention(entry: &Value) -> Case {
    let kind = entry["kind"].as_str().unwrap_or("?");
    let rounds = number(&entry["T"]) as u64;
    let mut case = Case::new(format!("retention/{kind}/{rounds}"), DOUBLE);
    let schedule: Result<Schedule, _> = kind.parse();
    let made = schedule.and_then(|s| Retention::new(number(&entry["r0"]), number(&entry["r1"]), s));
    let Ok(retention) = made else {
        return Case::unsupported(case.name, "unknown schedule");
    };
    let r: Vec<f64> = (0..rounds).map(|t| retention.at(t, rounds)).collect();
    let k: Vec<f64> =
        (0..rounds).map(|t| retention.active_count(t, rounds, 1_000) as f64).collect();
    case.vectors("r", &r, &numbers(&entry["r"]));
    case.vectors("k", &k, &numbers(&entry["k_of_1000"]));
    case
}
