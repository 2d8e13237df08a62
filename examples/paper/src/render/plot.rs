//! Accuracy along an axis, one line an arm.

use plotters::prelude::*;

use super::Page;
use super::table::number;
use crate::Error;
use crate::experiment::{Position, holds};
use crate::result::CellResult;

const SIZE: (u32, u32) = (760, 420);
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
    dashed: bool,
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
    let mut lines: Vec<Line> = Vec::new();
    for arm in &page.experiment.arms {
        let row = page.row(&arm.name, at);
        let point = |(place, cell): (&f64, &Option<&CellResult>)| {
            let summary = cell.and_then(CellResult::summary)?;
            Some((*place, summary.mean, summary.deviation.unwrap_or(0.0)))
        };
        let points = places.iter().zip(&row).filter_map(point).collect();
        lines.push(Line { label: arm.label.clone(), dashed: false, points });
    }
    for published in page.experiment.published.iter().filter(|p| holds(&p.at, at)) {
        let value = |place: &f64| Some((*place, *published.values.get(&place.to_string())?, 0.0));
        let points = places.iter().filter_map(value).collect();
        lines.push(Line { label: published.label.clone(), dashed: true, points });
    }
    lines.retain(|line| !line.points.is_empty());
    if lines.iter().all(|line| line.dashed) {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&mut svg, &lines, &page.columns.name)
        .map_err(|error| Error::Plot { reason: error.to_string() })?;
    Ok(Some(svg))
}

fn draw(svg: &mut String, lines: &[Line], axis: &str) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64, f64)) -> f64| {
        let (low, high) =
            points().map(of).fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        let air = 0.06 * (high - low).max(0.5);
        low - air..high + air
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(range(|p| p.0), range(|p| p.1))?;
    let text = || FONT.into_font().color(&INK);
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
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places = line.points.iter().map(|(x, y, _)| (*x, *y));
        let width = if line.dashed { 1 } else { 3 };
        let series = LineSeries::new(places, colour.filled().stroke_width(width)).point_size(3);
        chart.draw_series(series)?.label(&line.label).legend(move |at| {
            PathElement::new([at, (at.0 + 20, at.1)], colour.stroke_width(width))
        });
        let whiskers = line.points.iter().filter(|point| point.2 > 0.0).map(|(x, y, deviation)| {
            PathElement::new([(*x, y - deviation), (*x, y + deviation)], colour.stroke_width(1))
        });
        chart.draw_series(whiskers)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font(text())
        .draw()?;
    area.present()?;
    Ok(())
}
