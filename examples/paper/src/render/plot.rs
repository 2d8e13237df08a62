//! Accuracy along an axis, one line an arm; and what arms differ by from the baseline.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::number;
use super::{Differences, Page};
use crate::Error;
use crate::experiment::{Position, holds};
use crate::result::{CellResult, Summary};

const WIDTH: u32 = 760;
/// Height of a plot of accuracies, without its legend.
const HEIGHT: u32 = 420;
/// Width of the labels beside a plot of differences.
const LABELS: u32 = 380;
/// Width of the axis beside a plot of accuracies.
const LEFT: u32 = 56;
const LEGEND_LINE: u32 = 19;
const DASH: i32 = 5;
const FONT: (&str, i32) = ("sans-serif", 14);
const INK: RGBColor = RGBColor(40, 44, 52);
const GRID: RGBColor = RGBColor(222, 224, 228);
/// Okabe and Ito's colours, which colour-blind people can tell apart.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];

/// A line of the plot.
struct Line {
    label: String,
    published: bool,
    /// Place on the axis, mean, deviation.
    points: Vec<(f64, f64, f64)>,
}

/// The plot as SVG; none where the axis has no numbers, or nothing ran.
///
/// # Errors
/// Where the library fails.
pub(super) fn accuracies(page: &Page<'_>, at: &Position) -> Result<Option<String>, Error> {
    let Some(places) = page.columns.values.iter().map(number).collect::<Option<Vec<f64>>>() else {
        return Ok(None);
    };
    let (titles, mut lines) = (page.columns.titles(), Vec::new());
    for arm in &page.experiment.arms {
        let row = page.row(&arm.name, at);
        let point = |(place, cell): (&f64, &Option<&CellResult>)| {
            let summary = cell.and_then(CellResult::summary)?;
            Some((*place, summary.mean, summary.deviation.unwrap_or(0.0)))
        };
        let points = places.iter().zip(&row).filter_map(point).collect();
        lines.push(Line { label: page.label(&arm.name), published: false, points });
    }
    for published in page.experiment.published.iter().filter(|p| holds(&p.at, at)) {
        let value =
            |(place, title): (&f64, &String)| Some((*place, *published.values.get(title)?, 0.0));
        let points = places.iter().zip(&titles).filter_map(value).collect();
        lines.push(Line { label: published.label.clone(), published: true, points });
    }
    lines.retain(|line| !line.points.is_empty());
    if lines.iter().all(|line| line.published) {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&mut svg, &lines, &page.columns.name)
        .map_err(|error| Error::Plot { reason: error.to_string() })?;
    Ok(Some(svg))
}

fn draw(svg: &mut String, lines: &[Line], axis: &str) -> Result<(), Box<dyn std::error::Error>> {
    let styles = || (0..).zip(lines).map(|(i, line)| Style::new(i, line.published));
    let legend: Vec<(Style, &str)> =
        styles().zip(lines).map(|(style, line)| (style, line.label.as_str())).collect();
    let area =
        SVGBackend::with_string(svg, (WIDTH, HEIGHT + legend_height(&legend))).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, below) = area.split_vertically(HEIGHT);
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = range(points().map(|(x, _, _)| *x));
    let up = range(points().flat_map(|(_, y, deviation)| [y - deviation, y + deviation]));
    let mut chart = ChartBuilder::on(&plot)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text())
        .axis_desc_style(text())
        .x_desc(axis)
        .y_desc("Accuracy (%)")
        .draw()?;
    for (style, line) in styles().zip(lines) {
        let places = line.points.iter().map(|(x, y, _)| (*x, *y));
        match style.dashed {
            false => drop(chart.draw_series(LineSeries::new(places.clone(), style.line()))?),
            true => drop(chart.draw_series(DashedLineSeries::new(
                places.clone(),
                DASH,
                DASH,
                style.line(),
            ))?),
        }
        chart.draw_series(places.map(|place| Circle::new(place, 3, style.colour.filled())))?;
        let whiskers = line.points.iter().filter(|point| point.2 > 0.0).map(|(x, y, deviation)| {
            PathElement::new([(*x, y - deviation), (*x, y + deviation)], style.colour)
        });
        chart.draw_series(whiskers)?;
    }
    draw_legend(&below, &legend, LEFT as i32)?;
    area.present()?;
    Ok(())
}

/// From the least to the greatest, with some air.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
    let air = 0.06 * (high - low).max(0.5);
    low - air..high + air
}

fn text() -> TextStyle<'static> {
    TextStyle::from(FONT.into_font()).color(&INK)
}

/// How a line looks.
#[derive(Clone, Copy)]
struct Style {
    colour: RGBColor,
    width: u32,
    dashed: bool,
}

impl Style {
    /// The style of the line of that number: dashes tell lines of one colour apart.
    const fn new(number: usize, thin: bool) -> Self {
        let colour = COLOURS[number % COLOURS.len()];
        Self { colour, width: if thin { 1 } else { 2 }, dashed: number >= COLOURS.len() }
    }

    fn line(self) -> ShapeStyle {
        self.colour.stroke_width(self.width)
    }
}

fn legend_height(entries: &[(Style, &str)]) -> u32 {
    LEGEND_LINE * entries.len() as u32 + 8
}

/// One line of text for each entry, from `left` on.
fn draw_legend(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    entries: &[(Style, &str)],
    left: i32,
) -> Result<(), Box<dyn std::error::Error>> {
    let right_of = text().pos(Pos::new(HPos::Left, VPos::Center));
    for (number, (style, label)) in (0..).zip(entries) {
        let y = LEGEND_LINE as i32 * number + 8;
        let stroke = |from: i32, to: i32| {
            area.draw(&PathElement::new([(left + from, y), (left + to, y)], style.line()))
        };
        match style.dashed {
            false => stroke(0, 24)?,
            true => (0..3).try_for_each(|dash| stroke(9 * dash, 9 * dash + DASH))?,
        }
        area.draw_text(label, &right_of, (left + 32, y))?;
    }
    Ok(())
}

/// What the arms differ by from the baseline, with confidence intervals, as SVG; none where no
/// arm has an interval.
///
/// # Errors
/// Where the library fails.
pub(super) fn differences(page: &Page<'_>, at: &Position) -> Result<Option<String>, Error> {
    let row = |arm: Differences| {
        let interval = |summary: Summary| Some((summary.mean, summary.half_width()?));
        let intervals = arm.columns.iter().map(|summary| summary.and_then(interval)).collect();
        Row { label: arm.label, intervals }
    };
    let told = |row: &Row| row.intervals.iter().any(Option::is_some);
    let rows: Vec<Row> = page.differences(at).into_iter().map(row).filter(told).collect();
    let Some(baseline) = page.experiment.baseline.as_deref() else { return Ok(None) };
    if rows.is_empty() {
        return Ok(None);
    }
    let titles: Vec<String> = match page.columns.values.is_empty() {
        true => Vec::new(),
        false => {
            page.columns.titles().iter().map(|t| format!("{} {t}", page.columns.name)).collect()
        }
    };
    let axis = format!("Difference from {} (points)", page.label(baseline));
    let mut svg = String::new();
    draw_differences(&mut svg, &rows, &titles, &axis)
        .map_err(|error| Error::Plot { reason: error.to_string() })?;
    Ok(Some(svg))
}

/// An arm in a plot of differences.
struct Row {
    label: String,
    /// Mean and half the width of its interval, column by column.
    intervals: Vec<Option<(f64, f64)>>,
}

fn draw_differences(
    svg: &mut String,
    rows: &[Row],
    titles: &[String],
    axis: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let known = || rows.iter().flat_map(|row| row.intervals.iter().flatten());
    let ends = known().flat_map(|(mean, half)| [mean - half, mean + half]);
    let across = range(ends.chain([0.0]));
    // A line for each column that has an interval, and one between arms.
    let has = |column: &usize| rows.iter().any(|row| row.intervals[*column].is_some());
    let used: Vec<usize> = (0..rows[0].intervals.len()).filter(has).collect();
    let step = used.len() + 1;
    let lines = (rows.len() * step) as f64;
    let entry = |column: &usize| Some((Style::new(*column, false), titles.get(*column)?.as_str()));
    let legend: Vec<(Style, &str)> = used.iter().filter_map(entry).collect();
    let height = 68 + rows.len() as u32 * (11 * step as u32).max(22);
    let area =
        SVGBackend::with_string(svg, (WIDTH, height + legend_height(&legend))).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, below) = area.split_vertically(height);
    let mut chart = ChartBuilder::on(&plot)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(across, lines..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text())
        .axis_desc_style(text())
        .x_labels(6)
        .x_label_formatter(&|x| {
            // Ticks count up to a 0 that is not quite 0, from below.
            let x = (1e3 * x).round() / 1e3 + 0.0;
            x.to_string()
        })
        .draw()?;
    // A long one reaches below the labels, where the library's own would leave the picture.
    let to_the_right = text().pos(Pos::new(HPos::Right, VPos::Center));
    area.draw_text(axis, &to_the_right, (WIDTH as i32 - 12, height as i32 - 20))?;
    chart.draw_series([PathElement::new([(0.0, 0.0), (0.0, lines)], INK)])?;
    for (place, column) in used.iter().enumerate() {
        let style = Style::new(*column, false);
        let points = || {
            let height = |row: usize| (row * step + place) as f64 + 1.0;
            let point = move |(number, row): (usize, &Row)| {
                let (mean, half) = row.intervals[*column]?;
                Some((height(number), mean, half))
            };
            rows.iter().enumerate().filter_map(point)
        };
        chart.draw_series(points().map(|(y, mean, half)| {
            PathElement::new([(mean - half, y), (mean + half, y)], style.line())
        }))?;
        let dot = |(y, mean, _)| Circle::new((mean, y), 4, style.colour.filled());
        chart.draw_series(points().map(dot))?;
    }
    for (number, row) in rows.iter().enumerate() {
        let middle = (number * step) as f64 + 0.5 * step as f64;
        let (_, y) = chart.backend_coord(&(0.0, middle));
        area.draw_text(&row.label, &to_the_right, (LABELS as i32 - 4, y))?;
    }
    draw_legend(&below, &legend, LABELS as i32)?;
    area.present()?;
    Ok(())
}
