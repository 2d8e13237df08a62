//! Edge cases: exact answers, extreme parameters, and what must be refused. Noise is taken
//! as the events state it: no sampler with a bounded reach has an epsilon of 5,000.

use adafed_privacy::{Epsilon, accounting};
use serde_json::Value;

use super::{Case, Orders, case, composition, delta_of, epsilon, number, query};

/// Of the central limit value, where the file gives only that.
const APPROXIMATE: f64 = 2e-2;
/// Above a Renyi value of the reference tool.
const RDP: f64 = 1e-6;

pub(super) fn edge(entry: &Value, orders: &Orders) -> Vec<Case> {
    if entry.get("expect").is_some() {
        return vec![refused(entry)];
    }
    let mut cases = Vec::new();
    if entry.get("expect_eps").is_some() || entry.get("expect_delta").is_some() {
        cases.push(exact(entry));
    }
    if entry.get("eps_ref").is_some() {
        cases.push(epsilon::tight(entry, accounting::ideal_epsilon));
    }
    if entry.get("eps_rdp_exact").is_some() {
        cases.push(epsilon::by_rdp(entry, &orders.default));
    }
    cases.push(bounded(entry));
    cases
}

/// A typed error, which names the field.
fn refused(entry: &Value) -> Case {
    case("refused", entry, 0.0, |case| {
        let field = entry["field"].as_str().unwrap_or_default();
        let word = match field {
            "sigma" => "noise multiplier",
            "q" => "sampling rate",
            other => other,
        };
        let refusal = composition(entry).err().or(delta_of(entry).err());
        let named = refusal.as_ref().is_some_and(|reason| reason.contains(word));
        case.error(if named { 0.0 } else { f64::NAN }, || match refusal {
            Some(reason) => format!("the refusal does not name {word}: {reason}"),
            None => format!("{word} was accepted"),
        });
        Ok(())
    })
}

/// Equality, also of infinities.
fn exact(entry: &Value) -> Case {
    case("exact answers", entry, 0.0, |case| {
        let (all, delta) = query(entry)?;
        let mut equal = |what: &str, found: f64, expected: f64| {
            case.within(what, found, (expected, expected));
        };
        if entry.get("expect_eps").is_some() {
            let expected = number(&entry["expect_eps"]);
            equal("epsilon", accounting::epsilon(&all, delta).epsilon, expected);
            equal("epsilon by RDP", accounting::rdp_epsilon(&all, delta), expected);
        }
        if let (Some(at), Some(expected)) = (entry.get("at_eps"), entry.get("expect_delta")) {
            let at = Epsilon::new(number(at)).map_err(|e| e.to_string())?;
            equal("delta", accounting::delta(&all, at), number(expected));
        }
        Ok(())
    })
}

/// Never not a number, and below what the file says of other accountants.
fn bounded(entry: &Value) -> Case {
    case("bounded", entry, 0.0, |case| {
        let (all, delta) = query(entry)?;
        let found = accounting::ideal_epsilon(&all, delta).epsilon;
        case.within("epsilon", found, (0.0, f64::INFINITY));
        if let Some(most) = entry.get("eps_rdp") {
            case.within("epsilon", found, (0.0, number(most) * (1.0 + RDP)));
        }
        if let Some(most) = entry.get("upper_bound_q1") {
            case.within("epsilon", found, (0.0, number(most)));
        }
        if let Some(centre) = entry.get("eps_approx").map(number) {
            let around = (centre * (1.0 - APPROXIMATE), centre * (1.0 + APPROXIMATE));
            case.within("epsilon", found, around);
        }
        Ok(())
    })
}
