//! Noise multipliers and step counts that meet a target.

use adafed_privacy::accounting::{CalibrateBy, PhaseShape, Target, most_steps, noise_multiplier};
use adafed_privacy::{Adjacency, Epsilon, Event, NoiseMultiplier, SamplingRate};
use serde_json::Value;

use super::{Case, Orders, case, delta_of, number, reference_error};

/// Above the reference, relative, by the tighter accountant.
const TIGHT: f64 = 1e-3;
/// The same by Renyi divergences.
const RDP: f64 = 1e-4;

fn target(entry: &Value, by: CalibrateBy) -> Result<Target, String> {
    let epsilon = Epsilon::new(number(&entry["target_eps"])).map_err(|e| e.to_string())?;
    Ok(Target { epsilon, delta: delta_of(entry)?, adjacency: Adjacency::AddRemove, by })
}

fn rate(entry: &Value) -> Result<SamplingRate, String> {
    SamplingRate::new(number(&entry["q"])).map_err(|e| e.to_string())
}

fn own(target: &Target, rate: SamplingRate, sigma: NoiseMultiplier, steps: u64) -> f64 {
    let event = Event::poisson_gaussian(target.adjacency, rate, sigma, steps);
    target.epsilon_of(&[event].into_iter().collect())
}

pub(super) fn sigma(entry: &Value, _: &Orders) -> Vec<Case> {
    let run = |kind: &str, by, low: f64, high: f64| {
        case(kind, entry, TIGHT, |case| {
            let (target, rate) = (target(entry, by)?, rate(entry)?);
            let steps = entry["steps"].as_u64().ok_or("steps is no number")?;
            let phase = PhaseShape { rate, steps, relative_noise: 1.0 };
            let sigma = noise_multiplier(&target, &[phase]).map_err(|e| e.to_string())?;
            case.within("noise multiplier", sigma.value(), (low, high));
            let goal = target.epsilon.value();
            let least = if by == CalibrateBy::Rdp { goal * (1.0 - TIGHT) } else { 0.0 };
            case.within("own epsilon", own(&target, rate, sigma, steps), (least, goal));
            Ok(())
        })
    };
    let exact = number(&entry["sigma_ref"]);
    let least = exact * (1.0 - 1e-6 - reference_error(entry));
    let most = number(&entry["sigma_pld"]).max(exact) * (1.0 + TIGHT);
    let most_rdp = number(&entry["sigma_rdp"]) * (1.0 + RDP);
    vec![
        run("multiplier, tighter accountant", CalibrateBy::Tightest, least, most),
        run("multiplier by RDP", CalibrateBy::Rdp, 0.0, most_rdp),
    ]
}

pub(super) fn steps(entry: &Value, _: &Orders) -> Vec<Case> {
    let most = number(&entry["max_steps_ref"]);
    let run = |kind: &str, by, least: f64| {
        case(kind, entry, 0.0, |case| {
            let (target, rate) = (target(entry, by)?, rate(entry)?);
            let sigma = NoiseMultiplier::new(number(&entry["sigma"])).map_err(|e| e.to_string())?;
            let steps = most_steps(&target, rate, sigma);
            case.within("steps", steps as f64, (least, most));
            let goal = target.epsilon.value();
            case.within("own epsilon", own(&target, rate, sigma, steps), (0.0, goal));
            let beyond = own(&target, rate, sigma, steps + 1);
            case.within("own epsilon of one more", beyond, (goal.next_up(), f64::INFINITY));
            Ok(())
        })
    };
    vec![
        run(
            "steps, tighter accountant",
            CalibrateBy::Tightest,
            number(&entry["max_steps_pld"]) - 1.0,
        ),
        run("steps by RDP", CalibrateBy::Rdp, number(&entry["max_steps_rdp"])),
    ]
}
