//! Delta at a given epsilon.

use adafed_privacy::{Epsilon, accounting};
use serde_json::Value;

use super::{Case, Orders, case, composition, number, rdp_of, reference_error};

/// Below the reference, relative.
const SOUND: f64 = 1e-5;
/// Above it, relative and absolute.
const TIGHT: f64 = 1e-2;
const TIGHT_ABSOLUTE: f64 = 1e-13;
/// Around the exact Renyi value.
const RDP: f64 = 1e-6;

pub(super) fn both(entry: &Value, orders: &Orders) -> Vec<Case> {
    let epsilon = || Epsilon::new(number(&entry["eps"])).map_err(|e| e.to_string());
    let by_rdp = case("delta by RDP", entry, RDP, |case| {
        let found = rdp_of(&composition(entry)?, &orders.default)?.delta(epsilon()?);
        let low = number(&entry["delta_rdp_exact"]) * (1.0 - RDP);
        case.within("delta", found, (low, number(&entry["delta_rdp"]) * (1.0 + RDP)));
        Ok(())
    });
    let tight = case("delta, tighter accountant", entry, TIGHT, |case| {
        let found = accounting::delta(&composition(entry)?, epsilon()?);
        let reference = number(&entry["delta_ref"]);
        let low = reference * (1.0 - SOUND - reference_error(entry));
        let most = number(&entry["delta_pld"]).max(reference);
        case.within("delta", found, (low, most * (1.0 + TIGHT) + TIGHT_ABSOLUTE));
        Ok(())
    });
    vec![by_rdp, tight]
}
