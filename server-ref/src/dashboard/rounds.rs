//! The last rounds as a table.

use maud::{Markup, html};

use super::format::{NOTHING, ago, bytes, count, duration, percent};
use crate::report::RoundReport;

/// Rounds that the table has at most.
const MOST_ROUNDS: usize = 20;

/// The last rounds, the newest first.
pub(super) fn section(rounds: &[RoundReport], now_ms: u64) -> Markup {
    let last = &rounds[rounds.len().saturating_sub(MOST_ROUNDS)..];
    html! {
        section.panel #rounds data-part aria-labelledby="rounds-heading" {
            h2 #rounds-heading { "Last rounds" }
            @if last.is_empty() {
                p.empty { "No round was opened yet." }
            } @else {
                div.scroll #rounds-scroll tabindex="0" role="region" aria-label="Last rounds" {
                    table {
                        (head())
                        tbody { @for round in last.iter().rev() { (row(round, now_ms)) } }
                    }
                }
            }
        }
    }
}

fn head() -> Markup {
    let columns = [
        "Round",
        "Phase",
        "Opened",
        "Took",
        "Devices",
        "Reports",
        "Dropped",
        "Late",
        "Active",
        "Sent up",
        "of dense",
        "Sent down",
    ];
    html! { thead { tr { @for column in columns { th scope="col" { (column) } } } } }
}

fn row(round: &RoundReport, now_ms: u64) -> Markup {
    let took = round.closed_ms.map(|closed| duration(closed.saturating_sub(round.opened_ms)));
    let share = (round.bytes_dense > 0).then(|| round.bytes_up as f64 / round.bytes_dense as f64);
    html! {
        tr data-round=(round.round) {
            th scope="row" { (count(round.round)) }
            td class={ "phase " (round.phase.as_str()) } { (round.phase.as_str()) }
            td { (ago(round.opened_ms, now_ms)) }
            td { (took.unwrap_or_else(|| NOTHING.to_owned())) }
            @for number in [round.participants, round.reports, round.dropped, round.stale_reports] {
                td { (count(number.into())) }
            }
            td { (count(round.active_coordinates)) }
            td { (bytes(round.bytes_up)) }
            td { (share.map_or_else(|| NOTHING.to_owned(), percent)) }
            td { (bytes(round.bytes_down)) }
        }
    }
}
