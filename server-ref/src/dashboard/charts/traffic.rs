//! What is sent: active coordinates, and bytes against dense updates.

use maud::html;

use super::{columns, left_out, shown};
use crate::dashboard::Traffic;
use crate::dashboard::chart::{Axis, Bar, Key, Names, Panel, Series, Table, bars, lines, plain};
use crate::dashboard::format::{bytes as bytes_text, count, counted, percent};
use crate::report::RoundReport;

/// Active and newly active coordinates by round, as shares of all.
pub(super) fn coordinates(rounds: &[RoundReport], parameters: u64) -> Panel<'_> {
    let thaws = thaws(rounds);
    let share = |coordinates: u64| coordinates as f64 / parameters.max(1) as f64;
    let words = coordinates_words(rounds, &thaws, parameters);
    let mark = |share: f64| plain((1e6 * share).round() / 1e4) + " %";
    let names = Names { id: "coordinates", title: "Active coordinates", description: &words, mark };
    let by_round = |values: &mut dyn Iterator<Item = u64>| {
        rounds.iter().map(|r| r.round).zip(values.map(share)).collect()
    };
    let active = by_round(&mut rounds.iter().map(|r| r.active_coordinates));
    let thawed = by_round(&mut thaws.iter().copied());
    let series = [
        Series { name: "active", colour: "c0", filled: true, points: active },
        Series { name: "thawed in the round", colour: "c1", filled: false, points: thawed },
    ];
    let drawing =
        (!rounds.is_empty()).then(|| lines(&names, &Axis::from_zero([1.0], 4), percent, &series));
    let keys = series.iter().map(|s| Key { colour: s.colour, text: s.name }).collect();
    let table = coordinates_table(rounds, &thaws, share);
    Panel { id: names.id, title: names.title, words: html! { (words) }, keys, drawing, table }
}

fn coordinates_table(rounds: &[RoundReport], thaws: &[u64], share: impl Fn(u64) -> f64) -> Table {
    let row = |(r, thawed): (&RoundReport, &u64)| {
        let active = r.active_coordinates;
        vec![r.round.to_string(), count(active), percent(share(active)), count(*thawed)]
    };
    Table {
        columns: columns(["Round", "Active", "of all", "Thawed"]),
        rows: rounds.iter().zip(thaws).map(row).collect(),
    }
}

/// Coordinates that each round has more than the one before.
fn thaws(rounds: &[RoundReport]) -> Vec<u64> {
    let active = rounds.iter().map(|r| r.active_coordinates);
    let before = active.clone().take(1).chain(active.clone());
    active.zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
}

fn coordinates_words(rounds: &[RoundReport], thaws: &[u64], parameters: u64) -> String {
    let (Some(last), Some(thawed)) = (rounds.last(), thaws.last()) else {
        return "No round was opened yet.".to_owned();
    };
    let active = count(last.active_coordinates);
    let round = count(last.round);
    format!(
        "{active} of {} train in round {round}; {} thawed in it.",
        counted(parameters, "coordinate", "coordinates"),
        count(*thawed)
    )
}

/// Bytes of updates by round: sent, and saved against dense floats.
pub(super) fn bytes(rounds: &[RoundReport]) -> Panel<'_> {
    let reported: Vec<_> = rounds.iter().filter(|r| r.bytes_up > 0).cloned().collect();
    let words = bytes_words(Traffic::of(rounds), rounds.len());
    let names =
        Names { id: "bytes", title: "Upload against dense", description: &words, mark: byte_mark };
    let bar = |r: &RoundReport| {
        let saved = r.bytes_dense.saturating_sub(r.bytes_up);
        let (sent, dense) = (bytes_text(r.bytes_up), bytes_text(r.bytes_dense));
        let text = format!("Round {}\nsent: {sent}\ndense: {dense}", r.round);
        let parts = vec![("c0", r.bytes_up as f64), ("rest", saved as f64)];
        Bar { round: r.round, parts, text }
    };
    let drawing = (!reported.is_empty())
        .then(|| bars(&names, &shown(&reported).iter().map(bar).collect::<Vec<_>>()));
    let keys = vec![
        Key { colour: "c0", text: "sent" },
        Key { colour: "rest", text: "saved against dense 32-bit floats" },
    ];
    let table = bytes_table(&reported);
    Panel { id: names.id, title: names.title, words: html! { (words) }, keys, drawing, table }
}

fn bytes_table(rounds: &[RoundReport]) -> Table {
    let row = |r: &RoundReport| {
        let share = percent(r.bytes_up as f64 / r.bytes_dense.max(1) as f64);
        vec![r.round.to_string(), count(r.bytes_up), count(r.bytes_dense), share]
    };
    Table {
        columns: columns(["Round", "Bytes sent", "Bytes if dense", "Share"]),
        rows: rounds.iter().map(row).collect(),
    }
}

fn bytes_words(traffic: Traffic, rounds: usize) -> String {
    let Traffic { up, dense, .. } = traffic;
    if up == 0 {
        return "No update has arrived yet.".to_owned();
    }
    let (sent, dense_text, saved) =
        (bytes_text(up), bytes_text(dense), bytes_text(traffic.saved()));
    let share = percent(traffic.share());
    let so_far =
        format!("{sent} sent in total, {share} of the {dense_text} that dense updates take");
    if traffic.saved() == 0 {
        return format!("{so_far}.{}", left_out(rounds));
    }
    format!("{so_far}: {saved} saved.{}", left_out(rounds))
}

/// Bytes beside a mark, which is a round number: `1.5 MB`.
fn byte_mark(bytes: f64) -> String {
    let text = bytes_text(bytes as u64);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let short = if number.contains('.') { number.trim_end_matches('0') } else { number };
    format!("{} {unit}", short.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::tests::round;

    #[test]
    fn a_thaw_is_what_a_round_has_more_than_the_one_before() {
        let active = |n, active| RoundReport { active_coordinates: active, ..round(n) };
        let rounds = [active(0, 100), active(1, 30), active(2, 45), active(3, 45)];
        assert_eq!(thaws(&rounds), [0, 0, 15, 0]);
        assert!(thaws(&[]).is_empty());
    }

    #[test]
    fn marks_of_bytes_are_short() {
        for (bytes, text) in [(0.0, "0 B"), (1.5e6, "1.5 MB"), (2e9, "2 GB"), (2e5, "200 kB")] {
            assert_eq!(byte_mark(bytes), text);
        }
    }

    #[test]
    fn larger_than_dense_is_said_and_saves_nothing() {
        let traffic = Traffic { up: 300, dense: 200, down: 0 };
        let words = bytes_words(traffic, 1);
        assert_eq!(words, "300 B sent in total, 150.0 % of the 200 B that dense updates take.");
    }
}
