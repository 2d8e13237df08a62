//! Who took part, and how long it took.

use maud::html;

use super::{columns, left_out, shown};
use crate::dashboard::chart::{Bar, Key, Names, Panel, Table, bars, plain};
use crate::dashboard::format::{counted, duration, percent};
use crate::report::RoundReport;

/// Seated devices by round: reported, dropped out, still at work.
pub(super) fn seats(rounds: &[RoundReport]) -> Panel<'_> {
    let words = seats_words(rounds);
    let names = Names { id: "seats", title: "Devices by round", description: &words, mark: whole };
    let bar = |r: &RoundReport| Bar {
        round: r.round,
        parts: vec![
            ("c0", r.reports.into()),
            ("c1", r.dropped.into()),
            ("rest", waiting(r).into()),
        ],
        text: format!("Round {}\nreported: {}\ndropped out: {}", r.round, r.reports, r.dropped),
    };
    let drawing = (rounds.iter().any(|r| r.participants > 0))
        .then(|| bars(&names, &shown(rounds).iter().map(bar).collect::<Vec<_>>()));
    let keys = vec![
        Key { colour: "c0", text: "reported" },
        Key { colour: "c1", text: "dropped out" },
        Key { colour: "rest", text: "still at work" },
    ];
    let table = seats_table(rounds);
    Panel { id: names.id, title: names.title, words: html! { (words) }, keys, drawing, table }
}

fn seats_table(rounds: &[RoundReport]) -> Table {
    let row = |r: &RoundReport| {
        [r.round, r.participants.into(), r.reports.into(), r.dropped.into()]
            .map(|n: u64| n.to_string())
            .into()
    };
    Table {
        columns: columns(["Round", "Seated", "Reported", "Dropped out"]),
        rows: rounds.iter().map(row).collect(),
    }
}

/// Devices that have a seat and may still report.
fn waiting(round: &RoundReport) -> u32 {
    round.participants.saturating_sub(round.reports).saturating_sub(round.dropped)
}

fn seats_words(rounds: &[RoundReport]) -> String {
    let sum = |of: fn(&RoundReport) -> u32| rounds.iter().map(|r| u64::from(of(r))).sum::<u64>();
    let (seated, reports, dropped) =
        (sum(|r| r.participants), sum(|r| r.reports), sum(|r| r.dropped));
    if seated == 0 {
        return "No device has taken part yet.".to_owned();
    }
    let share = percent(dropped as f64 / seated as f64);
    let seats = counted(seated, "seat was", "seats were");
    let reports = counted(reports, "report", "reports");
    format!("{seats} taken, {reports} came, {share} dropped out.{}", left_out(rounds.len()))
}

/// Time from opening to closing, by round.
pub(super) fn durations(rounds: &[RoundReport]) -> Panel<'_> {
    let closed: Vec<(u64, u64)> = rounds.iter().filter_map(took).collect();
    let words = durations_words(&closed, rounds.len());
    let (title, unit_ms) = unit(closed.iter().map(|c| c.1).max().unwrap_or(0));
    let names = Names { id: "durations", title, description: &words, mark: plain };
    let bar = |&(round, ms): &(u64, u64)| Bar {
        round,
        parts: vec![("c2", ms as f64 / unit_ms)],
        text: format!("Round {round}\n{}", duration(ms)),
    };
    let from = closed.len().saturating_sub(super::MOST_BARS);
    let drawing = (!closed.is_empty())
        .then(|| bars(&names, &closed[from..].iter().map(bar).collect::<Vec<_>>()));
    let row = |&(round, ms): &(u64, u64)| vec![round.to_string(), duration(ms)];
    let table =
        Table { columns: columns(["Round", "Took"]), rows: closed.iter().map(row).collect() };
    Panel { id: names.id, title, words: html! { (words) }, keys: Vec::new(), drawing, table }
}

/// What the chart is called in the unit that fits its longest round, and the unit.
const fn unit(longest_ms: u64) -> (&'static str, f64) {
    match longest_ms {
        0..2_000 => ("Time of a round, in milliseconds", 1.0),
        2_000..120_000 => ("Time of a round, in seconds", 1e3),
        120_000..7_200_000 => ("Time of a round, in minutes", 60e3),
        _ => ("Time of a round, in hours", 3_600e3),
    }
}

/// A closed round and its milliseconds.
fn took(round: &RoundReport) -> Option<(u64, u64)> {
    Some((round.round, round.closed_ms?.saturating_sub(round.opened_ms)))
}

fn durations_words(closed: &[(u64, u64)], rounds: usize) -> String {
    let mut times: Vec<u64> = closed.iter().map(|c| c.1).collect();
    times.sort_unstable();
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
        return "No round has closed yet.".to_owned();
    };
    let (median, longest) = (duration(*median), duration(*longest));
    format!("Half of the rounds took up to {median}, the longest {longest}.{}", left_out(rounds))
}

/// A number of devices; nothing where the axis has a mark between two numbers.
fn whole(value: f64) -> String {
    if value.fract() == 0.0 { plain(value) } else { String::new() }
}
