//! Accountants against independent 32-digit arithmetic.

use std::path::Path;

use adafed_privacy::accounting::{self, RdpAccountant};
use adafed_privacy::{Composition, Delta, Event, NoiseMultiplier, SamplingRate};
use serde_json::Value;

use super::{Case, Error, items, number, numbers, read_json};

/// Of `rdp_exact`, at every order, integer and fractional.
const RDP: f64 = 1e-9;
/// Below that much the file's own tolerance is absolute.
const RDP_ABSOLUTE: f64 = 1e-14;
/// Of `eps_rdp_exact`, with the file's orders.
const EPSILON: f64 = 1e-6;
/// Of `eps_ref` by the tighter accountant: never below, and at most this much above.
const TIGHT: f64 = 1e-3;

/// Runs `accounting.json`, at `path` or inside it: the `rdp` entries, and the
/// `epsilon` and `composition` entries by RDP and by the tighter accountant.
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
    let orders = numbers(&file["rdp_orders"]);
    let mut cases: Vec<Case> = items(&file["rdp"]).map(|e| rdp(e, &orders)).collect();
    let orders = numbers(&file["default_orders"]);
    for entry in items(&file["epsilon"]).chain(items(&file["composition"])) {
        cases.push(epsilon_rdp(entry, &orders));
        cases.push(epsilon_tight(entry));
    }
    Ok(cases)
}

fn name(entry: &Value) -> &str {
    entry["id"].as_str().unwrap_or("?")
}

fn event(entry: &Value, count: u64) -> Option<Event> {
    let rate = SamplingRate::new(number(&entry["q"])).ok()?;
    let sigma = NoiseMultiplier::new(number(&entry["sigma"])).ok()?;
    Some(Event::poisson_gaussian(rate, sigma, count))
}

fn composition(entry: &Value) -> Option<Composition> {
    let steps = |e: &Value| e["steps"].as_u64();
    match entry.get("phases") {
        Some(phases) => items(phases).map(|p| event(p, steps(p)?)).collect(),
        None => Some([event(entry, steps(entry)?)?].into_iter().collect()),
    }
}

fn rdp(entry: &Value, orders: &[f64]) -> Case {
    let mut case = Case::new(format!("rdp/{}", name(entry)), RDP);
    let accountant = RdpAccountant::with_orders(orders.to_vec()).ok();
    let Some((mut accountant, event)) = accountant.zip(event(entry, 1)) else {
        case.error(f64::NAN, || "invalid parameters".into());
        return case;
    };
    accountant.compose(&event);
    for ((found, expected), order) in
        accountant.rdp().iter().zip(numbers(&entry["rdp_exact"])).zip(orders)
    {
        let scale = expected.max(RDP_ABSOLUTE / RDP);
        case.error((found - expected).abs() / scale, || {
            format!("order {order} is {found}, expected {expected}")
        });
    }
    case
}

fn epsilon_rdp(entry: &Value, orders: &[f64]) -> Case {
    let mut case = Case::new(format!("epsilon by RDP/{}", name(entry)), EPSILON);
    let accountant = RdpAccountant::with_orders(orders.to_vec()).ok();
    let delta = Delta::new(number(&entry["delta"])).ok();
    let (Some(mut accountant), Some(delta), Some(all)) = (accountant, delta, composition(entry))
    else {
        case.error(f64::NAN, || "invalid parameters".into());
        return case;
    };
    all.events().iter().for_each(|e| accountant.compose(e));
    let (found, expected) = (accountant.epsilon(delta), number(&entry["eps_rdp_exact"]));
    let error = if found == expected { 0.0 } else { (found - expected).abs() / expected.max(1e-6) };
    case.error(error, || format!("epsilon {found}, expected {expected}"));
    case
}

fn epsilon_tight(entry: &Value) -> Case {
    let mut case = Case::new(format!("epsilon, tighter accountant/{}", name(entry)), TIGHT);
    let delta = Delta::new(number(&entry["delta"])).ok();
    let Some((all, delta)) = composition(entry).zip(delta) else {
        case.error(f64::NAN, || "invalid parameters".into());
        return case;
    };
    let found = accounting::epsilon(&all, delta).epsilon;
    let expected = number(&entry["eps_ref"]);
    // The reference is itself known only to `ref_rel_err`.
    let slack = 1e-6 + number(&entry["ref_rel_err"]);
    let sound = found >= expected * (1.0 - slack) - 1e-12;
    let excess = (found - expected - 1e-6).max(0.0) / expected.max(1e-12);
    let error = if sound { excess } else { f64::INFINITY };
    case.error(error, || format!("epsilon {found}, tight value {expected}"));
    case
}
