//! The page of a report: one file, no script, nothing fetched.

use std::fmt::Write as _;

use super::plot::{FIRST, GRID, INK, PAPER, Plot, SECOND, SHADE};
use super::text::{bytes, count, figures, privacy_statement, told};
use super::{Phase, Report, RoundRecord};

use plotters::style::RGBColor;

const STYLE: &str = include_str!("style.css");

/// Colours of the plots and the variable of the style sheet that each becomes.
const COLOURS: [(RGBColor, &str); 6] = [
    (PAPER, "paper"),
    (INK, "ink"),
    (GRID, "grid"),
    (SHADE, "shade"),
    (FIRST, "first"),
    (SECOND, "second"),
];

/// The whole page.
pub(super) fn page(report: &Report, plots: &[Plot]) -> String {
    let title = format!("AdaFed report: {}", escape(&report.task));
    let (style, colours) = (STYLE, colour_rules());
    let (headline, privacy) = (headline(report), privacy(report));
    let pictures: String = plots.iter().map(picture).collect();
    let (figures, rounds) = (figures_table(report), rounds_table(&report.history));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{style}{colours}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{headline}{privacy}\
         <h2>Course of the run</h2>\n<div class=\"plots\">\n{pictures}</div>\n\
         <h2>Figures</h2>\n{figures}{rounds}</main>\n</body>\n</html>\n"
    )
}

/// The four figures that a reader looks for first.
fn headline(report: &Report) -> String {
    let share = 100.0 * report.bytes_up as f64 / report.bytes_up_dense_f32.max(1) as f64;
    let figures = [
        (format!("{:.2} %", report.final_accuracy), "accuracy on the public test set".to_owned()),
        (
            format!("{:.3}", told(report.epsilon_max)),
            format!("largest epsilon of a device, at delta {}", report.delta),
        ),
        (format!("{share:.1} %"), "sent up, compared with dense float32".to_owned()),
        (count(report.clients as u64), format!("devices over {} rounds", count(report.rounds))),
    ];
    let tiles = figures.iter().fold(String::new(), |mut tiles, (figure, meaning)| {
        let _ = writeln!(tiles, "<li><strong>{figure}</strong> {meaning}</li>");
        tiles
    });
    format!("<ul class=\"headline\">\n{tiles}</ul>\n")
}

fn privacy(report: &Report) -> String {
    let paragraphs: String =
        privacy_statement(report).iter().map(|text| format!("<p>{}</p>\n", escape(text))).collect();
    format!(
        "<section class=\"privacy\">\n<h2>What is private, and how far</h2>\n{paragraphs}</section>\n"
    )
}

fn picture(plot: &Plot) -> String {
    let caption = plot.caption;
    // The drawing is one picture to a screen reader, described by its caption.
    let svg =
        plot.svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{caption}\" "), 1);
    format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n")
}

fn figures_table(report: &Report) -> String {
    let rows: String = figures(report)
        .iter()
        .map(|(label, value)| {
            format!("<tr><th scope=\"row\">{label}</th><td>{}</td></tr>\n", escape(value))
        })
        .collect();
    format!("<table class=\"figures\">\n{rows}</table>\n")
}

fn rounds_table(history: &[RoundRecord]) -> String {
    let rows: String = history.iter().map(round_row).collect();
    format!(
        "<details>\n<summary>Every round</summary>\n<div class=\"scroll\">\n<table class=\"rounds\">\n\
         <thead><tr><th>Round</th><th>Phase</th><th>Accuracy (%)</th><th>Epsilon</th>\
         <th>Coordinates</th><th>Devices</th><th>Sent up</th><th>Dense float32</th>\
         <th>Sent down</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</details>\n"
    )
}

fn round_row(record: &RoundRecord) -> String {
    let phase = match record.phase {
        Phase::WarmUp => "warm-up",
        Phase::Main => "main",
    };
    let accuracy =
        record.accuracy.map_or_else(|| "–".to_owned(), |percent| format!("{percent:.2}"));
    let cells = [
        record.round.to_string(),
        phase.to_owned(),
        accuracy,
        format!("{:.3}", told(record.epsilon)),
        count(record.active_coordinates as u64),
        count(record.participants as u64),
        bytes(record.bytes_up),
        bytes(record.bytes_up_dense_f32),
        bytes(record.bytes_down),
    ];
    format!("<tr><td>{}</td></tr>\n", cells.join("</td><td>"))
}

/// Style rules that give the plots, whose colours are attributes, the page's colours.
fn colour_rules() -> String {
    COLOURS.iter().fold(String::new(), |mut rules, (RGBColor(r, g, b), name)| {
        for property in ["fill", "stroke"] {
            let _ = writeln!(
                rules,
                "figure [{property}=\"#{r:02X}{g:02X}{b:02X}\"] {{ {property}: var(--{name}); }}"
            );
        }
        rules
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
