//! The pictures of a report, drawn as SVG at the width of a phone.

use std::ops::Range;

use plotters::chart::{ChartContext, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::{RangedCoordf64, RangedCoordu64};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;

use super::text::{byte_unit, count};
use super::{Error, Phase, Report, RoundRecord};

/// Colours of the light scheme. The page maps each of them to one of its own, so no
/// other colour may be drawn.
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
pub(super) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
pub(super) const GRID: RGBColor = RGBColor(0xD0, 0xD7, 0xDE);
pub(super) const SHADE: RGBColor = RGBColor(0xEE, 0xF1, 0xF4);
pub(super) const FIRST: RGBColor = RGBColor(0x0B, 0x63, 0xC5);
pub(super) const SECOND: RGBColor = RGBColor(0xC2, 0x41, 0x0C);

const WIDTH: u32 = 520;
const PANEL_HEIGHT: u32 = 330;
const FONT: (&str, u32) = ("sans-serif", 22);
const MARGIN: u32 = 12;
/// Room to the right, so that the last number of the axis is not cut.
const MARGIN_RIGHT: u32 = 28;
/// How much higher than the data an axis reaches where a legend lies above the data.
const LEGEND_ROOM: f64 = 1.45;
/// Up to this many points each is marked, so that even a single one shows.
const MOST_MARKS: usize = 30;
const X_AXIS_HEIGHT: u32 = 62;
const Y_AXIS_WIDTH: u32 = 98;

/// A finished picture.
pub(super) struct Plot {
    /// Name of its file.
    pub(super) file: &'static str,
    /// What it shows, in a sentence.
    pub(super) caption: &'static str,
    /// The picture.
    pub(super) svg: String,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, RangedCoordf64>>;
type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Every picture of the report, in the order in which the page shows them.
pub(super) fn all(report: &Report) -> Result<Vec<Plot>, Error> {
    Ok(vec![
        draw(
            "accuracy.svg",
            "Accuracy on the public test set, and epsilon of the device that spent most. \
             Warm-up rounds are shaded.",
            2 * PANEL_HEIGHT,
            |canvas| accuracy_and_epsilon(report, canvas),
        )?,
        draw(
            "coordinates.svg",
            "Coordinates of the model that each round trained. Warm-up rounds are shaded.",
            PANEL_HEIGHT,
            |canvas| coordinates(report, canvas),
        )?,
        draw(
            "bytes.svg",
            "Bytes from all devices to the server in each round, against every parameter sent \
             as a 32-bit float. Warm-up rounds are shaded.",
            PANEL_HEIGHT,
            |canvas| bytes(report, canvas),
        )?,
        draw("epsilon.svg", "Devices by the epsilon they spent.", PANEL_HEIGHT, |canvas| {
            epsilons(report, canvas)
        })?,
    ])
}

fn draw(
    file: &'static str,
    caption: &'static str,
    height: u32,
    body: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<Plot, Error> {
    let mut svg = String::new();
    let drawn = {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        canvas.fill(&PAPER).and_then(|()| body(&canvas)).and_then(|()| canvas.present())
    };
    drawn.map_err(|error| Error::Render { what: file, reason: error.to_string() })?;
    Ok(Plot { file, caption, svg })
}

fn accuracy_and_epsilon(report: &Report, canvas: &Canvas<'_>) -> Drawn {
    let (upper, lower) = canvas.split_vertically(PANEL_HEIGHT);
    let accuracy = points(report, |record| record.accuracy);
    let least = accuracy.iter().map(|&(_, percent)| percent).fold(100.0, f64::min);
    // The axis begins at a full ten, so that high accuracies can be told apart.
    let floor = (10.0 * (least / 10.0).floor()).clamp(0.0, 90.0);
    let mut chart = by_round(&upper, report, "Accuracy (%)", floor..100.0, &plain)?;
    chart.draw_series(line(accuracy, FIRST))?;
    let top = above(report.history.iter().map(|record| record.epsilon));
    let mut chart = by_round(&lower, report, "Epsilon spent", 0.0..top, &plain)?;
    chart.draw_series(line(points(report, |record| Some(record.epsilon)), SECOND))?;
    Ok(())
}

fn coordinates(report: &Report, canvas: &Canvas<'_>) -> Drawn {
    let all = report.parameters as f64;
    let (size, title) =
        if all < 1e4 { (1.0, "Coordinates") } else { (1e3, "Coordinates (thousands)") };
    let top = LEGEND_ROOM * above([all].into_iter());
    let mut chart = by_round(canvas, report, title, 0.0..top, &|y| plain(&(y / size)))?;
    let dashes = [(1, all), (last_round(report), all)];
    chart
        .draw_series(DashedLineSeries::new(dashes, 6, 5, SECOND.stroke_width(2)))?
        .label("all parameters")
        .legend(|at| key(at, SECOND));
    let active = points(report, |record| Some(record.active_coordinates as f64));
    chart.draw_series(line(active, FIRST))?.label("trained").legend(|at| key(at, FIRST));
    legend(&mut chart)
}

fn bytes(report: &Report, canvas: &Canvas<'_>) -> Drawn {
    let history = report.history.iter();
    let top = above(history.flat_map(|r| [r.bytes_up as f64, r.bytes_up_dense_f32 as f64]));
    let (size, unit) = byte_unit(top);
    let title = format!("Sent up ({unit} a round)");
    let range = 0.0..LEGEND_ROOM * top;
    let mut chart = by_round(canvas, report, &title, range, &|y| plain(&(y / size)))?;
    let dense = points(report, |record| Some(record.bytes_up_dense_f32 as f64));
    chart.draw_series(line(dense, SECOND))?.label("dense float32").legend(|at| key(at, SECOND));
    let sent = points(report, |record| Some(record.bytes_up as f64));
    chart.draw_series(line(sent, FIRST))?.label("AdaFed").legend(|at| key(at, FIRST));
    legend(&mut chart)
}

fn epsilons(report: &Report, canvas: &Canvas<'_>) -> Drawn {
    let buckets = &report.epsilon_histogram;
    let right = above(buckets.iter().map(|bucket| bucket.to));
    let top = above(buckets.iter().map(|bucket| bucket.clients as f64));
    let mut chart = builder(canvas).build_cartesian_2d(0.0..right, 0.0..top)?;
    mesh(&mut chart, "Epsilon", "Devices", &plain, &whole)?;
    chart.draw_series(buckets.iter().filter(|bucket| bucket.clients > 0).map(|bucket| {
        let corners = [(bucket.from, 0.0), (bucket.to, bucket.clients as f64)];
        let mut bar = Rectangle::new(corners, FIRST.filled());
        bar.set_margin(0, 0, 1, 1);
        bar
    }))?;
    Ok(())
}

/// A chart over rounds with its axes drawn and its warm-up rounds shaded.
fn by_round<'a, 'b>(
    area: &'a Canvas<'b>,
    report: &Report,
    title: &str,
    y: Range<f64>,
    format: &dyn Fn(&f64) -> String,
) -> Drawn<Chart<'a, 'b, RangedCoordu64>> {
    let mut chart = builder(area).build_cartesian_2d(1..last_round(report), y.clone())?;
    let mut warm_up = report.history.iter().filter(|record| record.phase == Phase::WarmUp);
    if let (Some(first), Some(last)) = (warm_up.next(), warm_up.next_back()) {
        let corners = [(first.round, y.start), (last.round, y.end)];
        chart.draw_series([Rectangle::new(corners, SHADE.filled())])?;
    }
    mesh(&mut chart, "Round", title, &|x| x.to_string(), format)?;
    Ok(chart)
}

fn builder<'a, 'b>(area: &'a Canvas<'b>) -> ChartBuilder<'a, 'a, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin(MARGIN)
        .margin_right(MARGIN_RIGHT)
        .x_label_area_size(X_AXIS_HEIGHT)
        .y_label_area_size(Y_AXIS_WIDTH);
    builder
}

fn mesh<X>(
    chart: &mut Chart<'_, '_, X>,
    x_title: &str,
    y_title: &str,
    x_format: &dyn Fn(&X::ValueType) -> String,
    y_format: &dyn Fn(&f64) -> String,
) -> Drawn
where
    X: Ranged + ValueFormatter<X::ValueType>,
{
    let text = || FONT.into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text())
        .axis_desc_style(text())
        .x_labels(6)
        .y_labels(6)
        .x_desc(x_title)
        .y_desc(y_title)
        .x_label_formatter(x_format)
        .y_label_formatter(y_format)
        .draw()
}

fn legend<'a, 'b: 'a, X: Ranged>(chart: &mut Chart<'a, 'b, X>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(PAPER)
        .border_style(GRID)
        .label_font(FONT.into_font().color(&INK))
        .draw()
}

/// A short line in a legend.
fn key(at: (i32, i32), colour: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new(vec![at, (at.0 + 20, at.1)], colour.stroke_width(3))
}

fn line<'a>(points: Vec<(u64, f64)>, colour: RGBColor) -> LineSeries<SVGBackend<'a>, (u64, f64)> {
    let mark = if points.len() <= MOST_MARKS { 3 } else { 0 };
    LineSeries::new(points, colour.filled().stroke_width(3)).point_size(mark)
}

fn points(report: &Report, value: impl Fn(&RoundRecord) -> Option<f64>) -> Vec<(u64, f64)> {
    report.history.iter().filter_map(|record| Some((record.round, value(record)?))).collect()
}

/// The right end of a round axis; at least 2, since an axis needs two ends.
fn last_round(report: &Report) -> u64 {
    report.history.iter().map(|record| record.round).max().unwrap_or(0).max(2)
}

/// A top for an axis that holds every value with some air, and is never zero.
fn above(values: impl Iterator<Item = f64>) -> f64 {
    let top = 1.08 * values.fold(0.0, f64::max);
    if top > 0.0 { top } else { 1.0 }
}

/// A number on an axis, with no more decimals than it needs.
fn plain(value: &f64) -> String {
    ((1e4 * value).round() / 1e4).to_string()
}

/// A count on an axis; nothing where the axis puts a mark between two counts.
fn whole(value: &f64) -> String {
    if (value - value.round()).abs() > 1e-6 {
        return String::new();
    }
    count(value.round() as u64)
}
