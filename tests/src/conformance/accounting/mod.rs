//! Accountants against independent 32-digit arithmetic.

mod calibration;
mod delta;
mod edge;
mod epsilon;

use std::path::Path;

use adafed_privacy::accounting::RdpAccountant;
use adafed_privacy::{Adjacency, Composition, Delta, Event, NoiseMultiplier, SamplingRate};
use serde_json::Value;

use super::{Case, Error, items, number, numbers, read_json};

/// What the file may hold; `rdp`, `epsilon` and `composition` must be there.
const SECTIONS: [(&str, Section); 9] = [
    ("rdp", epsilon::rdp),
    ("epsilon", epsilon::both),
    ("composition", epsilon::both),
    ("replace_one", epsilon::replace_one),
    ("rdp_fixed_size_wor", epsilon::fixed_size),
    ("delta", delta::both),
    ("calibration_sigma", calibration::sigma),
    ("calibration_steps", calibration::steps),
    ("edge", edge::edge),
];

/// Runs one entry.
type Section = fn(&Value, &Orders) -> Vec<Case>;

/// The Renyi orders of a file.
struct Orders {
    /// For epsilon.
    default: Vec<f64>,
    /// Of the entries of `rdp`.
    rdp: Vec<f64>,
    /// Of the entries of `rdp_fixed_size_wor`.
    fixed_size: Vec<f64>,
}

/// Runs every section of `accounting.json`, at `path` or inside it.
///
/// # Errors
/// [`Error`] when the file cannot be read or has another form.
pub fn accounting(path: &Path) -> Result<Vec<Case>, Error> {
    let (path, file) = read_json(path, &["accounting.json"])?;
    for key in ["default_orders", "rdp_orders", "rdp", "epsilon", "composition"] {
        if file.get(key).is_none() {
            return Err(Error::Malformed { path, reason: format!("it has no {key:?}") });
        }
    }
    let orders = Orders {
        default: numbers(&file["default_orders"]),
        rdp: numbers(&file["rdp_orders"]),
        fixed_size: numbers(&file["wor_orders"]),
    };
    let run = |(key, section): (&str, Section)| {
        items(&file[key]).flat_map(|entry| section(entry, &orders)).collect::<Vec<_>>()
    };
    Ok(SECTIONS.into_iter().flat_map(run).collect())
}

fn name(entry: &Value) -> &str {
    entry["id"].as_str().unwrap_or("?")
}

/// `count` steps of an entry's q and sigma, or the refusal of one of its numbers.
fn event(entry: &Value, adjacency: Adjacency, count: &Value) -> Result<Event, String> {
    let rate = SamplingRate::new(number(&entry["q"])).map_err(|e| e.to_string())?;
    let sigma = NoiseMultiplier::new(number(&entry["sigma"])).map_err(|e| e.to_string())?;
    let count = serde_json::from_value(count.clone()).map_err(|e| format!("steps: {e}"))?;
    Ok(Event::poisson_gaussian(adjacency, rate, sigma, count))
}

/// The phases of an entry, or its single one; without q, nothing.
fn composition(entry: &Value) -> Result<Composition, String> {
    let one = |e: &Value| event(e, Adjacency::AddRemove, &e["steps"]);
    match (entry.get("phases"), entry.get("q")) {
        (Some(phases), _) => items(phases).map(one).collect(),
        (None, Some(_)) => Ok([one(entry)?].into_iter().collect()),
        (None, None) => Ok(Composition::new()),
    }
}

fn delta_of(entry: &Value) -> Result<Delta, String> {
    Delta::new(number(&entry["delta"])).map_err(|e| e.to_string())
}

/// What an entry is about, and at which delta.
fn query(entry: &Value) -> Result<(Composition, Delta), String> {
    Ok((composition(entry)?, delta_of(entry)?))
}

fn rdp_of(all: &Composition, orders: &[f64]) -> Result<RdpAccountant, String> {
    let mut accountant = RdpAccountant::with_orders(orders.to_vec()).map_err(|e| e.to_string())?;
    accountant.compose_all(all);
    Ok(accountant)
}

/// The part of a relative error that is due to the reference itself.
fn reference_error(entry: &Value) -> f64 {
    entry.get("ref_rel_err").map_or(0.0, number)
}

impl Case {
    /// `found` must lie in [`low`, `high`]; the error is its distance from there.
    fn within(&mut self, what: &str, found: f64, (low, high): (f64, f64)) {
        let inside = found >= low && found <= high;
        let error = if inside { 0.0 } else { f64::INFINITY };
        self.error(error, || format!("{what} is {found}, expected {low} to {high}"));
    }

    /// Fails for a reason other than a number.
    fn failed(mut self, reason: String) -> Self {
        self.error(f64::NAN, || reason);
        self
    }
}

/// A case that `run` fills, failed where the entry itself cannot be read.
fn case(
    kind: &str,
    entry: &Value,
    tolerance: f64,
    run: impl FnOnce(&mut Case) -> Result<(), String>,
) -> Case {
    let mut case = Case::new(format!("{kind}/{}", name(entry)), tolerance);
    match run(&mut case) {
        Ok(()) => case,
        Err(reason) => case.failed(reason),
    }
}
