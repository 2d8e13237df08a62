//! Renyi divergences, and epsilon by both accountants.

use adafed_privacy::accounting::{self, EpsilonBound, RdpAccountant};
use adafed_privacy::{Adjacency, Composition, Delta, Event, FixedSize, Mechanism, NoiseMultiplier};
use serde_json::Value;

use super::{Case, Orders, case, delta_of, event, number, numbers, query, rdp_of, reference_error};

/// Of `rdp_exact`, at every order, integer and fractional.
const RDP: f64 = 1e-9;
/// Below that much the file's own tolerance is absolute.
const RDP_ABSOLUTE: f64 = 1e-14;
/// Of `rdp_tool` for fixed-size batches, itself a bound.
const FIXED_SIZE: f64 = 1e-6;
/// Of `eps_rdp_exact`, with the file's orders.
const EPSILON: f64 = 1e-6;
/// Of `eps_ref` by the tighter accountant: never below, and at most this much above.
const TIGHT: f64 = 1e-3;
/// Absolute, as the file allows it.
const TIGHT_ABSOLUTE: f64 = 1e-6;

/// One step at the orders of the file.
pub(super) fn rdp(entry: &Value, orders: &Orders) -> Vec<Case> {
    vec![case("rdp", entry, RDP, |case| {
        let step = event(entry, Adjacency::AddRemove, &1.into())?;
        let found = rdp_of(&[step].into_iter().collect(), &orders.rdp)?;
        compare(case, &found, &numbers(&entry["rdp_exact"]));
        Ok(())
    })]
}

/// One step with a batch of fixed size; the file's sigma is relative to the distance of a
/// replacement, twice the norm of a contribution. The reference does not stop at what the
/// step costs without sampling, order / (2 sigma^2), which is a bound as well.
pub(super) fn fixed_size(entry: &Value, orders: &Orders) -> Vec<Case> {
    vec![case("rdp, fixed size", entry, FIXED_SIZE, |case| {
        let size = |key: &str| entry[key].as_u64().ok_or(format!("{key} is no number"));
        let sampling = FixedSize::new(size("batch")?, size("n")?).map_err(|e| e.to_string())?;
        let sigma = number(&entry["sigma"]);
        let noise_multiplier = NoiseMultiplier::new(2.0 * sigma).map_err(|e| e.to_string())?;
        let mechanism = Mechanism::FixedSizeGaussian { sampling, noise_multiplier };
        let event = Event { adjacency: Adjacency::ReplaceOne, mechanism, count: 1 };
        let found = rdp_of(&[event].into_iter().collect(), &orders.fixed_size)?;
        let unsampled = orders.fixed_size.iter().map(|a| 0.5 * a / sigma / sigma);
        let expected = numbers(&entry["rdp_tool"]).into_iter().zip(unsampled);
        let expected: Vec<f64> = expected.map(|(tool, most)| tool.min(most)).collect();
        compare(case, &found, &expected);
        Ok(())
    })]
}

fn compare(case: &mut Case, accountant: &RdpAccountant, expected: &[f64]) {
    let pairs = accountant.rdp().iter().zip(expected).zip(accountant.orders());
    for ((found, expected), order) in pairs {
        let scale = expected.max(RDP_ABSOLUTE / RDP);
        let error = if found == expected { 0.0 } else { (found - expected).abs() / scale };
        case.error(error, || format!("order {order} is {found}, expected {expected}"));
    }
}

/// By Renyi divergences, and by the tighter accountant.
pub(super) fn both(entry: &Value, orders: &Orders) -> Vec<Case> {
    vec![by_rdp(entry, &orders.default), tight(entry, accounting::epsilon)]
}

pub(super) fn by_rdp(entry: &Value, orders: &[f64]) -> Case {
    case("epsilon by RDP", entry, EPSILON, |case| {
        let (all, delta) = query(entry)?;
        let found = rdp_of(&all, orders)?.epsilon(delta);
        let expected = number(&entry["eps_rdp_exact"]);
        let difference = (found - expected).abs() / expected.max(1e-6);
        let error = if found == expected { 0.0 } else { difference };
        case.error(error, || format!("epsilon {found}, expected {expected}"));
        Ok(())
    })
}

/// Which epsilon is the tighter one.
type Account = fn(&Composition, Delta) -> EpsilonBound;

pub(super) fn tight(entry: &Value, account: Account) -> Case {
    case("epsilon, tighter accountant", entry, TIGHT, |case| {
        let (all, delta) = query(entry)?;
        let found = account(&all, delta).epsilon;
        let expected = number(&entry["eps_ref"]);
        let sound = found >= expected * (1.0 - 1e-6 - reference_error(entry)) - 1e-12;
        let excess = (found - expected - TIGHT_ABSOLUTE).max(0.0) / expected.max(1e-12);
        let error = if sound { excess } else { f64::INFINITY };
        case.error(error, || format!("epsilon {found}, tight value {expected}"));
        Ok(())
    })
}

/// One example replaced, by the tighter accountant; and the same added or removed.
pub(super) fn replace_one(entry: &Value, _: &Orders) -> Vec<Case> {
    let run = |kind: &str, adjacency, key: &str, exact: Option<f64>| {
        case(kind, entry, TIGHT, |case| {
            let all = [event(entry, adjacency, &entry["steps"])?].into_iter().collect();
            let found = accounting::epsilon(&all, delta_of(entry)?).epsilon;
            let expected = number(&entry[key]);
            case.error((found / expected - 1.0).abs(), || {
                format!("epsilon {found}, expected {expected}")
            });
            if let Some(exact) = exact {
                case.within("epsilon", found, (exact * (1.0 - 1e-6), f64::INFINITY));
            }
            Ok(())
        })
    };
    let exact = entry.get("eps_ref").map(number);
    let (replaced, removed) = (Adjacency::ReplaceOne, Adjacency::AddRemove);
    vec![
        run("epsilon, replacement", replaced, "eps_pld_replace_one", exact),
        run("epsilon, removal", removed, "eps_pld_add_remove", None),
    ]
}
