//! Bars over rounds, in parts that stand on each other.

use maud::{Markup, html};

use super::axis::{Axis, percent, plain};
use super::{Names, drawing, told};

/// Fewest bars that a chart has room for: one bar alone is no wall.
const LEAST_ROOM: u64 = 12;
/// About this many marks stand on the level axis.
const MARKS: usize = 6;
/// Share of its room that a bar leaves free.
const GAP: f64 = 0.24;

/// One bar.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Bar<'a> {
    /// Its round.
    pub(in crate::dashboard) round: u64,
    /// Class of the colour and size of each part, from below.
    pub(in crate::dashboard) parts: Vec<(&'a str, f64)>,
    /// What it tells when it is pointed at.
    pub(in crate::dashboard) text: String,
}

impl Bar<'_> {
    fn height(&self) -> f64 {
        self.parts.iter().map(|p| p.1).filter(|size| size.is_finite()).sum()
    }
}

/// A chart of bars, by round.
pub(in crate::dashboard) fn bars(names: &Names<'_>, bars: &[Bar<'_>]) -> Markup {
    let first = bars.first().map_or(0, |b| b.round);
    let last = bars.last().map_or(0, |b| b.round).max(first.saturating_add(LEAST_ROOM - 1));
    let level = Axis::of_rounds(first, last, MARKS).for_bars();
    let upright = Axis::from_zero(bars.iter().map(Bar::height), 4);
    let body = html! {
        (upright.upright(names.mark))
        (level.level("round", plain))
        @for bar in bars { (drawn(bar, &level, &upright)) }
    };
    drawing(names, "", &body)
}

fn drawn(bar: &Bar<'_>, level: &Axis, upright: &Axis) -> Markup {
    let round = bar.round as f64;
    let (from, to) = (level.at(round - 0.5), level.at(round + 0.5));
    let (left, width) = (from + GAP / 2.0 * (to - from), (1.0 - GAP) * (to - from));
    html! {
        @for (colour, bottom, top) in places(bar, upright) {
            rect class={ "bar " (colour) } x=(percent(left)) width=(percent(width))
                y=(percent(1.0 - top)) height=(percent(top - bottom)) {}
        }
        (told(from, to, &bar.text))
    }
}

/// Colour, lower and upper end of each part that there is something of.
fn places<'a>(bar: &Bar<'a>, upright: &Axis) -> Vec<(&'a str, f64, f64)> {
    let sizes = bar.parts.iter().filter(|part| part.1 > 0.0 && part.1.is_finite());
    let stacked = sizes.scan(0.0, |below, &(colour, size)| {
        let bottom = *below;
        *below += size;
        Some((colour, upright.at(bottom), upright.at(*below)))
    });
    stacked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(heights: &[f64]) -> String {
        let names = Names { id: "c", title: "t", description: "d", mark: plain };
        let bar = |(i, &h): (usize, &f64)| Bar {
            round: i as u64,
            parts: vec![("c0", h), ("c1", h)],
            text: format!("bar {i}"),
        };
        bars(&names, &heights.iter().enumerate().map(bar).collect::<Vec<_>>()).into_string()
    }

    #[test]
    fn no_sizes_draw_what_is_no_number() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for heights in [&[][..], &[0.0], &[1.0], &[-1.0, 2.0], &[inf, nan, 1.0], &[f64::MAX; 3]] {
            let svg = chart(heights);
            assert!(
                !svg.contains("NaN")
                    && !svg.contains("inf")
                    && !svg.contains("h=\"-")
                    && !svg.contains("t=\"-"),
                "{svg}"
            );
        }
    }

    #[test]
    fn parts_stand_on_each_other() {
        let svg = chart(&[2.0]);
        assert!(svg.contains("y=\"50.00%\" height=\"50.00%\""), "{svg}");
        assert!(svg.contains("y=\"0.00%\" height=\"50.00%\""), "{svg}");
    }
}
