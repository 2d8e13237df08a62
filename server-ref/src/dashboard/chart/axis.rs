//! Axes: which values a chart reaches over, and where its marks are.

use maud::{Markup, html};

/// Values beyond this are not drawn: their differences overflow.
const LARGEST: f64 = 1e300;
/// Spans below this share of the values are no spans: marks on them would all read alike.
const LEAST_SPAN: f64 = 1e-9;

/// A range of values and the marks on it. Every place on it is finite.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dashboard) struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// Around `values`, widened to marks; about `marks` of them.
    ///
    /// # Edge cases
    /// | values | axis |
    /// | --- | --- |
    /// | none, or none that can be drawn | 0 to 1 |
    /// | all equal | some room on both sides |
    /// | infinite, not a number, beyond 1e300 | as if they were not there |
    pub(in crate::dashboard) fn around(
        values: impl IntoIterator<Item = f64>,
        marks: usize,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|v| v.abs() <= LARGEST) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let size = low.abs().max(high.abs()).max(f64::MIN_POSITIVE / LEAST_SPAN);
        if high - low <= LEAST_SPAN * size {
            let room = if size < 1e-100 { 0.5 } else { size / 2.0 };
            (low, high) = (low - room, high + room);
        }
        let step = step((high - low) / marks.max(1) as f64);
        Self::marked((low / step).floor(), (high / step).ceil(), step)
    }

    /// From 0 to the largest of `values`, widened to a mark.
    pub(in crate::dashboard) fn from_zero(
        values: impl IntoIterator<Item = f64>,
        marks: usize,
    ) -> Self {
        let drawn = values.into_iter().filter(|v| v.abs() <= LARGEST);
        let most = drawn.fold(0.0, f64::max);
        Self::around([0.0, if most < 1e-100 { 1.0 } else { most }], marks)
    }

    /// Rounds `first` to `last`, marked at whole numbers, at least two rounds long.
    pub(in crate::dashboard) fn of_rounds(first: u64, last: u64, marks: usize) -> Self {
        let (low, high) = (first as f64, last.max(first.saturating_add(1)) as f64);
        let step = step((high - low) / marks.max(1) as f64).max(1.0);
        let on_axis = |at: f64| (low..=high).contains(&at);
        let ticks = Self::marked((low / step).floor(), (high / step).ceil(), step).ticks;
        Self { low, high, ticks: ticks.into_iter().filter(|&at| on_axis(at)).collect() }
    }

    /// With half a unit of room on both sides, for bars over its whole numbers.
    pub(in crate::dashboard) fn for_bars(self) -> Self {
        Self { low: self.low - 0.5, high: self.high + 0.5, ticks: self.ticks }
    }

    fn marked(first: f64, last: f64, step: f64) -> Self {
        let marks = (last - first).max(1.0) as usize;
        let ticks: Vec<f64> = (0..=marks).map(|i| (first + i as f64) * step).collect();
        Self { low: ticks[0], high: ticks[marks], ticks }
    }

    /// Where `value` lies, from 0 to 1; values outside lie at the ends.
    pub(in crate::dashboard) fn at(&self, value: f64) -> f64 {
        let at = (value - self.low) / (self.high - self.low);
        if at.is_nan() { 0.0 } else { at.clamp(0.0, 1.0) }
    }

    /// The upright axis: a line across the chart at each mark, its value to the left.
    pub(super) fn upright(&self, text: fn(f64) -> String) -> Markup {
        html! {
            g.grid aria-hidden="true" {
                @for &tick in &self.ticks {
                    @let y = percent(1.0 - self.at(tick));
                    line x1="0" x2="100%" y1=(y) y2=(y) {}
                    text.upright x="-8" y=(y) dy=".32em" { (text(tick)) }
                }
            }
        }
    }

    /// The level axis: the value of each mark below it.
    pub(super) fn level(&self, name: &str, text: fn(f64) -> String) -> Markup {
        html! {
            g.grid aria-hidden="true" {
                @for &tick in &self.ticks {
                    text.level x=(percent(self.at(tick))) y="100%" dy="1.55em" { (text(tick)) }
                }
                text.name x="100%" y="100%" dy="2.95em" { (name) }
            }
        }
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|t| t * power >= least * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

/// A place from 0 to 1 as an attribute.
pub(super) fn percent(place: f64) -> String {
    format!("{:.2}%", 100.0 * place)
}

/// A mark's value, with no more digits than it needs.
pub(in crate::dashboard) fn plain(value: f64) -> String {
    let size = value.abs();
    if size >= 1e7 || (size > 0.0 && size < 1e-4) {
        return format!("{value:e}");
    }
    if size >= 1e4 {
        return format!("{}k", (value / 10.0).round() / 100.0);
    }
    // -0 would be written with its sign.
    ((1e6 * value).round() / 1e6 + 0.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(axis: &Axis) {
        assert!(axis.low < axis.high && axis.low.is_finite() && axis.high.is_finite(), "{axis:?}");
        assert!((1..=40).contains(&axis.ticks.len()), "{axis:?}");
        assert!(axis.ticks.iter().all(|t| t.is_finite()), "{axis:?}");
        for value in [0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX] {
            assert!((0.0..=1.0).contains(&axis.at(value)), "{value} on {axis:?}");
        }
    }

    #[test]
    fn no_values_give_a_bad_axis() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for values in [
            vec![],
            vec![0.0],
            vec![7.0],
            vec![-3.0; 5],
            vec![inf],
            vec![nan, inf, -inf],
            vec![1.0, inf],
            vec![f64::MAX, f64::MIN],
            vec![1e300, -1e300],
            vec![5e-324, 0.0],
            vec![f64::MIN_POSITIVE],
            vec![1e15, 1e15 + 1.0],
            vec![0.1, 0.100_000_000_000_1],
            vec![1e-200, 2e-200],
        ] {
            for marks in [0, 1, 5] {
                sound(&Axis::around(values.clone(), marks));
                sound(&Axis::from_zero(values.clone(), marks));
            }
        }
    }

    #[test]
    fn marks_are_round_numbers_that_hold_the_values() {
        let told = |axis: Axis| axis.ticks.iter().map(|&t| plain(t)).collect::<Vec<_>>();
        assert_eq!(told(Axis::around([0.13, 0.87], 4)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(told(Axis::from_zero([40.0, 95.0], 5)), ["0", "20", "40", "60", "80", "100"]);
        let axis = Axis::around([3.0], 4);
        assert!(axis.low < 3.0 && axis.high > 3.0);
    }

    #[test]
    fn rounds_are_marked_at_whole_numbers_only() {
        for (first, last) in [(0, 0), (0, 1), (0, 3), (3, 11), (0, 59), (990, 1_200), (0, 99_999)] {
            let axis = Axis::of_rounds(first, last, 6);
            sound(&axis);
            assert!(axis.ticks.iter().all(|t| t.fract() == 0.0 && *t >= first as f64), "{axis:?}");
            sound(&axis.for_bars());
        }
        assert_eq!(Axis::of_rounds(0, 59, 6).ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    }

    #[test]
    fn values_of_marks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (2_500.0, "2500"),
            (12_500.0, "12.5k"),
            (2e7, "2e7"),
            (2e-5, "2e-5"),
        ] {
            assert_eq!(plain(value), text);
        }
    }
}
