//! Lines over rounds.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::axis::{Axis, percent, plain};
use super::{Names, drawing, told};

/// Most points of a line that are drawn.
const MOST_POINTS: usize = 300;
/// Up to this many points each is marked, so that even a single one shows.
const MOST_DOTS: usize = 40;
/// About this many marks stand on the level axis.
const MARKS: usize = 6;
/// Side of the square that lines are drawn in before it is stretched over the chart.
const SQUARE: f64 = 1_000.0;

/// One line.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Series<'a> {
    /// What it is, in a word or two.
    pub(in crate::dashboard) name: &'a str,
    /// Class of its colour.
    pub(in crate::dashboard) colour: &'a str,
    /// Whether the space below is shaded.
    pub(in crate::dashboard) filled: bool,
    /// Round and value, by round.
    pub(in crate::dashboard) points: Vec<(u64, f64)>,
}

/// A chart of lines; `value` writes a value that is pointed at.
pub(in crate::dashboard) fn lines(
    names: &Names<'_>,
    upright: &Axis,
    value: fn(f64) -> String,
    series: &[Series<'_>],
) -> Markup {
    let series: Vec<_> = series.iter().map(drawable).collect();
    let rounds: BTreeSet<u64> = series.iter().flat_map(|s| &s.points).map(|p| p.0).collect();
    let ends = (rounds.first().copied().unwrap_or(0), rounds.last().copied().unwrap_or(0));
    let level = Axis::of_rounds(ends.0, ends.1, MARKS);
    let body = html! {
        (upright.upright(names.mark))
        (level.level("round", plain))
        @for line in &series { (drawn(line, &level, upright)) }
        (strips(&series, &rounds, &level, value))
    };
    drawing(names, "", &body)
}

/// A line's finite points, evenly thinned from the last one on.
fn drawable<'a>(series: &Series<'a>) -> Series<'a> {
    let finite: Vec<_> = series.points.iter().copied().filter(|p| p.1.is_finite()).collect();
    let every = finite.len().div_ceil(MOST_POINTS).max(1);
    let mut points: Vec<_> = finite.into_iter().rev().step_by(every).collect();
    points.reverse();
    Series { points, ..series.clone() }
}

fn drawn(series: &Series<'_>, level: &Axis, upright: &Axis) -> Markup {
    let places: Vec<_> =
        series.points.iter().map(|&(x, y)| (level.at(x as f64), 1.0 - upright.at(y))).collect();
    let path = path(&places);
    let ends = places.first().zip(places.last());
    html! {
        svg width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none" {
            @if let (true, Some((first, last))) = (series.filled, ends) {
                @let (from, to) = (SQUARE * first.0, SQUARE * last.0);
                @let below = format!("{to:.1},{SQUARE} {from:.1},{SQUARE}");
                polygon class={ "shade " (series.colour) } points={ (path) " " (below) } {}
            }
            polyline class={ "line " (series.colour) } points=(path)
                vector-effect="non-scaling-stroke" {}
        }
        @if places.len() <= MOST_DOTS {
            @for (x, y) in places {
                circle class={ "dot " (series.colour) } cx=(percent(x)) cy=(percent(y)) r="3" {}
            }
        }
    }
}

fn path(places: &[(f64, f64)]) -> String {
    let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", SQUARE * x, SQUARE * y);
    places.iter().map(place).collect::<Vec<_>>().join(" ")
}

/// A strip for each round, as far as halfway to its neighbours.
fn strips(
    series: &[Series<'_>],
    rounds: &BTreeSet<u64>,
    level: &Axis,
    value: fn(f64) -> String,
) -> Markup {
    let places: Vec<_> = rounds.iter().map(|&round| (round, level.at(round as f64))).collect();
    let halfway = |i: usize| (places[i].1 + places[i + 1].1) / 2.0;
    html! {
        @for (i, &(round, _)) in places.iter().enumerate() {
            @let from = if i == 0 { 0.0 } else { halfway(i - 1) };
            @let to = if i + 1 == places.len() { 1.0 } else { halfway(i) };
            (told(from, to, &text(series, round, value)))
        }
    }
}

/// What each line says about a round.
fn text(series: &[Series<'_>], round: u64, value: fn(f64) -> String) -> String {
    let said = series.iter().filter_map(|s| {
        let at = s.points.binary_search_by_key(&round, |p| p.0).ok()?;
        Some(format!("\n{}: {}", s.name, value(s.points[at].1)))
    });
    said.fold(format!("Round {round}"), |text, line| text + &line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(u64, f64)>) -> String {
        let names = Names { id: "c", title: "t", description: "d", mark: plain };
        let upright = Axis::around(points.iter().map(|p| p.1), 4);
        let series = Series { name: "a", colour: "c0", filled: true, points };
        lines(&names, &upright, plain, &[series]).into_string()
    }

    #[test]
    fn no_points_draw_what_is_no_number() {
        let hard = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, 0.0];
        let all = hard.iter().enumerate().map(|(i, &y)| (i as u64, y)).collect();
        let far = vec![(0, 1.0), (u64::MAX, 2.0)];
        for points in [vec![], vec![(3, 1.0)], vec![(0, 2.0); 2], all, far] {
            let svg = chart(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_end() {
        let svg = chart((0..10_000).map(|i| (i, i as f64)).collect());
        assert!(svg.matches("<rect").count() <= MOST_POINTS);
        assert!(svg.contains("Round 9999\na: 9999"));
        assert_eq!(svg.matches("<circle").count(), 0);
    }
}
