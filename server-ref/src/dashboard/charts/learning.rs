//! Loss and accuracy, a line for each evaluator.

use std::collections::BTreeMap;

use maud::html;

use super::columns;
use crate::dashboard::chart::{Axis, COLOURS, Key, Names, Panel, Series, Table, lines, plain};
use crate::dashboard::format::{count, number, percent};
use crate::report::Evaluation;

/// Mean loss by round.
pub(super) fn loss(evaluations: &[Evaluation]) -> Panel<'_> {
    let kind = Kind { id: "loss", title: "Loss", mark: plain, value: number };
    let lowest = |values: Vec<f64>| values.into_iter().reduce(f64::min);
    kind.panel(&measured(evaluations, |e| Some(e.loss)), lowest, |values| {
        Axis::around(values.iter().copied(), 4)
    })
}

/// Share of examples that the model gets right, by round.
pub(super) fn accuracy(evaluations: &[Evaluation]) -> Panel<'_> {
    let mark = |share: f64| plain((1e6 * share).round() / 1e4) + " %";
    let kind = Kind { id: "accuracy", title: "Accuracy", mark, value: percent };
    let highest = |values: Vec<f64>| values.into_iter().reduce(f64::max);
    kind.panel(&measured(evaluations, |e| e.accuracy), highest, |values| {
        Axis::around(values.iter().copied(), 4)
    })
}

/// An evaluation and what is drawn of it.
type Measured<'a> = (&'a Evaluation, f64);

/// What there is to draw, by round.
fn measured(
    evaluations: &[Evaluation],
    value: impl Fn(&Evaluation) -> Option<f64>,
) -> Vec<Measured<'_>> {
    let finite = |e| value(e).filter(|v| v.is_finite()).map(|v| (e, v));
    let mut measured: Vec<_> = evaluations.iter().filter_map(finite).collect();
    measured.sort_by_key(|(e, _)| (e.round, e.reported_ms));
    measured
}

struct Kind {
    id: &'static str,
    title: &'static str,
    mark: fn(f64) -> String,
    value: fn(f64) -> String,
}

impl Kind {
    fn panel<'a>(
        &self,
        measured: &[Measured<'a>],
        best: impl Fn(Vec<f64>) -> Option<f64>,
        axis: impl Fn(&[f64]) -> Axis,
    ) -> Panel<'a> {
        let values: Vec<f64> = measured.iter().map(|m| m.1).collect();
        let series = series(measured);
        let words = self.words(measured, best(values.clone()));
        let names = Names { id: self.id, title: self.title, description: &words, mark: self.mark };
        let drawing =
            (!values.is_empty()).then(|| lines(&names, &axis(&values), self.value, &series));
        let keys = series.iter().map(|s| Key { colour: s.colour, text: s.name }).collect();
        let table = self.table(measured);
        Panel { id: self.id, title: self.title, words: html! { (words) }, keys, drawing, table }
    }

    fn words(&self, measured: &[Measured<'_>], best: Option<f64>) -> String {
        let (Some((last, value)), Some(best)) = (measured.last(), best) else {
            return "No evaluator has reported yet. An evaluator tries the public model on its own \
                    examples and posts what it finds to the task's evaluations."
                .to_owned();
        };
        let (value, best) = ((self.value)(*value), (self.value)(best));
        format!("{value} after round {}, best so far {best}.", count(last.round))
    }

    fn table(&self, measured: &[Measured<'_>]) -> Table {
        let row = |(e, value): &Measured<'_>| {
            vec![e.round.to_string(), e.evaluator.clone(), (self.value)(*value), count(e.examples)]
        };
        Table {
            columns: columns(["Round", "Evaluator", self.title, "Examples"]),
            rows: measured.iter().map(row).collect(),
        }
    }
}

/// A line for each evaluator, by name; of several values of one round the last one.
fn series<'a>(measured: &[Measured<'a>]) -> Vec<Series<'a>> {
    let mut lines: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    for (e, value) in measured {
        lines.entry(&e.evaluator).or_default().insert(e.round, *value);
    }
    let coloured = lines.into_iter().zip(COLOURS.iter().cycle());
    let line = |((name, points), colour): ((&'a str, BTreeMap<u64, f64>), &&'static str)| Series {
        name,
        colour,
        filled: false,
        points: points.into_iter().collect(),
    };
    coloured.map(line).collect()
}
