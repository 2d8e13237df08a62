//! How many devices lie where, with marks at what matters.

use maud::{Markup, html};

use super::axis::{Axis, percent, plain};
use super::{Names, drawing, told};
use crate::report::HistogramBucket;

/// A place on the level axis that is marked across the chart.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Mark {
    /// Where.
    pub(in crate::dashboard) at: f64,
    /// What it is, with its value.
    pub(in crate::dashboard) text: String,
    /// Whether it is a limit rather than something counted.
    pub(in crate::dashboard) is_limit: bool,
}

/// Most marks: each has a line of text above the chart.
pub(in crate::dashboard) const MOST_MARKS: usize = 5;

/// A chart of devices by value; `value` writes an end of a range.
pub(in crate::dashboard) fn histogram(
    names: &Names<'_>,
    buckets: &[HistogramBucket],
    marks: &[Mark],
    value: fn(f64) -> String,
) -> Markup {
    let mut marks = marks[..marks.len().min(MOST_MARKS)].to_vec();
    // The one to the right stands above: lines pass by the texts, which end at theirs.
    marks.sort_by(|one, other| other.at.total_cmp(&one.at));
    let ends = buckets.iter().map(|b| b.to).chain(marks.iter().map(|m| m.at));
    let level = Axis::from_zero(ends, 6);
    let upright = Axis::from_zero(buckets.iter().map(|b| b.devices as f64), 4);
    let body = html! {
        (upright.upright(whole))
        (level.level("epsilon", plain))
        @for bucket in buckets { (drawn(bucket, &level, &upright, value)) }
        g.marks aria-hidden="true" {
            @for (row, mark) in marks.iter().enumerate() {
                (upright_line(mark, &level, marks.len() - row))
            }
            @for (row, mark) in marks.iter().enumerate() {
                (text(mark, &level, marks.len() - row))
            }
        }
    };
    drawing(names, &format!("marks{}", marks.len()), &body)
}

fn drawn(
    bucket: &HistogramBucket,
    level: &Axis,
    upright: &Axis,
    value: fn(f64) -> String,
) -> Markup {
    let HistogramBucket { from, to, devices } = *bucket;
    let (left, right) = (level.at(from), level.at(to));
    let (gap, height) = ((right - left) / 20.0, upright.at(devices as f64));
    let text = format!("above {} up to {}\n{devices} devices", value(from), value(to));
    html! {
        @if devices > 0 {
            rect.bar.c0 x=(percent(left + gap)) width=(percent(right - left - 2.0 * gap))
                y=(percent(1.0 - height)) height=(percent(height)) {}
        }
        (told(left, right, &text))
    }
}

/// Where the text of a mark stands that is `row` lines above the chart.
fn height(row: usize) -> f64 {
    4.0 - 15.0 * row as f64
}

fn upright_line(mark: &Mark, level: &Axis, row: usize) -> Markup {
    let x = percent(level.at(mark.at));
    html! { line.limit[mark.is_limit] x1=(x) x2=(x) y1=(height(row) - 8.0) y2="100%" {} }
}

/// The text ends at the line, but at the left of the chart it begins there.
fn text(mark: &Mark, level: &Axis, row: usize) -> Markup {
    let place = level.at(mark.at);
    let (anchor, shift) = if place > 0.35 { ("end", -5) } else { ("start", 5) };
    html! {
        text.limit[mark.is_limit] x=(percent(place)) y=(height(row)) dx=(shift)
            text-anchor=(anchor) {
            (mark.text)
        }
    }
}

/// A number of devices; nothing where the axis has a mark between two numbers.
fn whole(value: f64) -> String {
    if value.fract() == 0.0 { plain(value) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ranges_and_no_marks_draw_what_is_no_number() {
        let names = Names { id: "c", title: "t", description: "d", mark: plain };
        let bucket = |from, to, devices| HistogramBucket { from, to, devices };
        let mark = |at| Mark { at, text: "m".into(), is_limit: true };
        let ranges =
            [vec![], vec![bucket(0.0, 1.0, 3)], vec![bucket(0.0, f64::INFINITY, u64::MAX)]];
        for buckets in ranges {
            for marks in [vec![], vec![mark(f64::NAN), mark(f64::INFINITY), mark(2.0)]] {
                let svg = histogram(&names, &buckets, &marks, plain).into_string();
                assert!(!svg.contains("NaN%") && !svg.contains("inf%"), "{svg}");
            }
        }
    }
}
