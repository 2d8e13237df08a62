//! What `task create --dry-run` prints.

use super::show::{bytes, epsilon, fields, or_none, printable};
use crate::report::Forecast;

/// The forecast in words: whether the task is possible, then what it would cost.
pub(super) fn text(f: &Forecast) -> String {
    let [first, last] = f.active_coordinates;
    let [dense, masked] = f.update_bytes;
    let noise = |sigma: f64| format!("{sigma:.4}");
    let rounds = f.rounds_within_cap.map(|rounds| format!("{rounds} of {}", f.rounds));
    let fits = match (f.noise_multiplier_within_cap, f.rounds_within_cap) {
        (Some(sigma), _) => noise(sigma),
        (None, None) => "-".to_owned(),
        (None, Some(rounds)) if rounds == f.rounds => "the plan's".to_owned(),
        (None, Some(_)) => "none".to_owned(),
    };
    let (warmup, main) = (noise(f.noise_multiplier_warmup), noise(f.noise_multiplier_main));
    verdict(f)
        + &fields(&[
            ("rounds", f.rounds.to_string()),
            ("noise multiplier", format!("{warmup} in the warm-up, {main} in the main phase")),
            ("expected batch", format!("{:.1} examples", f.expected_batch)),
            ("delta", format!("{:e}", f.delta)),
            ("epsilon of one round", epsilon(f.epsilon_one_round)),
            ("epsilon of all rounds", epsilon(f.epsilon_all_rounds)),
            ("accountant", super::show::word(&f.accountant)),
            ("rounds within the cap", or_none(rounds)),
            ("noise that would fit", fits),
            ("parameters", f.parameters.to_string()),
            ("active under a mask", format!("{first} in its first round, {last} in the last")),
            (
                "bytes of one update",
                format!("{} at first, {} under a mask", bytes(dense), bytes(masked)),
            ),
        ])
}

fn verdict(f: &Forecast) -> String {
    let head = if f.possible { "possible" } else { "IMPOSSIBLE" };
    let reasons = f.reasons.iter().map(|reason| format!("  {}\n", printable(reason)));
    format!("{}: {head}\n{}\n", f.task, reasons.collect::<String>())
}
