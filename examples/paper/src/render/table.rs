//! Tables in Markdown.

use std::fmt::Write as _;

use super::{Differences, Known, Page};
use crate::experiment::{Arm, Position, Target, holds, plain, shown};
use crate::result::{Beside, CellResult, SeedResult, Summary, missing};

/// What was to be reached, and what was.
pub(super) fn targets(pages: &[Page<'_>]) -> String {
    let mut rows = String::new();
    for page in pages {
        for Target { arm, at, least, of } in &page.experiment.targets {
            let here = |known: &&Known| known.cell.arm == *arm && holds(at, &known.cell.at);
            let Some(known) = page.known.iter().find(here) else { continue };
            let result = known.result.as_ref();
            let verdict = match result.and_then(CellResult::summary) {
                None => String::new(),
                Some(summary) => reached(summary, *least),
            };
            let label = page.label(arm);
            let cells =
                [shown(&known.cell.at), format!("{least:.2} ({of})"), accuracy(result), verdict];
            line(&mut rows, &format!("{}: {label}", page.experiment.title), &cells);
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let titles = ["at", "target", "mean of seeds", ""].map(str::to_owned);
    format!("## Targets\n\n{}{rows}\n", heading("experiment", &titles))
}

/// Whether a mean reaches a target, by how much, and whether its seeds tell.
fn reached(summary: Summary, least: f64) -> String {
    let gap = summary.mean - least;
    let verdict =
        if gap >= 0.0 { format!("reached, {gap:+.2}") } else { format!("missed by {:.2}", -gap) };
    let told = match summary.half_width() {
        None => ", one seed",
        Some(half) if gap.abs() <= half => ", not told apart by the seeds",
        Some(_) => "",
    };
    verdict + told
}

/// Accuracies of all arms, figures of others, and what the runs cost.
pub(super) fn accuracies(page: &Page<'_>, at: &Position) -> String {
    let mut text = head(page, &page.columns.name, true);
    for arm in &page.experiment.arms {
        let row = page.row(&arm.name, at);
        let seeds = page.experiment.seeds(&arm.name);
        let missing = row.iter().any(|cell| !missing(*cell, &seeds).is_empty());
        let command = format!("`cargo paper -- run {} --arm {}`", page.experiment.name, arm.name);
        let mut cells: Vec<String> = row.iter().map(|cell| accuracy(*cell)).collect();
        cells.push(if missing { command } else { String::new() });
        line(&mut text, &page.label(&arm.name), &cells);
    }
    for published in page.experiment.published.iter().filter(|p| holds(&p.at, at)) {
        let value = |title: &String| {
            published.values.get(title).map_or(String::new(), |v| format!("{v:.2}"))
        };
        let mut cells: Vec<String> = page.columns.titles().iter().map(value).collect();
        cells.push(String::new());
        line(&mut text, &format!("*{}*", published.label), &cells);
    }
    text.push_str(&costs(page, at));
    text + "\n"
}

fn accuracy(cell: Option<&CellResult>) -> String {
    cell.and_then(CellResult::summary).map_or("not run".to_owned(), |summary| summary.to_string())
}

/// Noise, epsilon by both accountants, upload, time and memory, of the first arm that ran.
fn costs(page: &Page<'_>, at: &Position) -> String {
    type Figure = (&'static str, fn(&CellResult) -> String);
    fn epsilon(known: Option<f64>) -> String {
        known.map_or("none".to_owned(), |epsilon| format!("{epsilon:.3}"))
    }
    const FIGURES: [Figure; 7] = [
        ("noise multiplier", |r| format!("{:.3}", r.noise_multiplier)),
        ("steps", |r| r.steps.to_string()),
        ("epsilon, PLD", |r| epsilon(r.epsilon_pld)),
        ("epsilon, RDP", |r| epsilon(r.epsilon_rdp)),
        ("delta", |r| format!("{:e}", r.settings.delta)),
        ("seconds a run", |r| format!("{:.0}", mean(r, |s| s.train_s))),
        // Runs before it in its process can only add to what one took.
        ("memory, MB", |r| {
            r.seeds
                .iter()
                .map(|s| s.peak_rss_mb)
                .reduce(f64::min)
                .map_or(String::new(), |mb| format!("{mb:.0}"))
        }),
    ];
    let ran = |arm: &&Arm| page.row(&arm.name, at).iter().any(Option::is_some);
    let Some(arm) = page.experiment.arms.iter().find(ran) else { return String::new() };
    let row = page.row(&arm.name, at);
    let mut text = String::new();
    for (name, figure) in FIGURES {
        let mut cells: Vec<String> =
            row.iter().map(|cell| cell.map_or(String::new(), figure)).collect();
        cells.push(String::new());
        line(&mut text, &format!("{name} ({})", arm.label), &cells);
    }
    text
}

fn mean(result: &CellResult, of: fn(&SeedResult) -> f64) -> f64 {
    result.seeds.iter().map(of).sum::<f64>() / result.seeds.len().max(1) as f64
}

/// The mean over the seeds that have the figure; none where no seed has.
fn mean_known(result: &CellResult, of: fn(&SeedResult) -> Option<f64>) -> Option<f64> {
    let known: Vec<f64> = result.seeds.iter().filter_map(of).collect();
    Summary::of(&known).map(|summary| summary.mean)
}

/// What each arm costs, in the first column where all that ran did.
pub(super) fn arms(page: &Page<'_>, at: &Position) -> String {
    let rows: Vec<_> =
        page.experiment.arms.iter().map(|arm| (arm, page.row(&arm.name, at))).collect();
    let ran = |column: usize| rows.iter().filter(|(_, row)| row[column].is_some()).count();
    let columns = 0..rows.first().map_or(0, |(_, row)| row.len());
    let Some(column) = columns.rev().max_by_key(|column| ran(*column)) else {
        return String::new();
    };
    if ran(column) < 2 {
        return String::new();
    }
    let corner = match page.columns.values.get(column) {
        Some(value) => format!("at {} {}", page.columns.name, plain(value)),
        None => "arm".to_owned(),
    };
    let titles = [
        "noise multiplier",
        "noise energy",
        "sent up, MB",
        "seconds a run",
        "clip norm at the end",
    ];
    let mut text = heading(&corner, &titles.map(str::to_owned));
    for (arm, row) in &rows {
        let Some(result) = row[column] else { continue };
        let energy = mean_known(result, |seed| seed.noise_energy);
        let clip = mean_known(result, |seed| seed.clip);
        let cells = [
            multipliers(result),
            energy.map_or(String::new(), |energy| format!("{energy:.2}")),
            format!("{:.1}", result.bytes_up as f64 / 1e6),
            format!("{:.0}", mean(result, |s| s.train_s)),
            clip.map_or(String::new(), small),
        ];
        line(&mut text, &page.label(&arm.name), &cells);
    }
    text + "\n"
}

/// Noise multipliers of the gradients, and of what else is released.
fn multipliers(result: &CellResult) -> String {
    let mut text = format!("{:.3}", result.noise_multiplier);
    for Beside { what, noise_multiplier, .. } in &result.beside {
        let _ = write!(text, "; {what} {noise_multiplier:.3}");
    }
    text
}

/// A clip norm, which may be very small.
fn small(value: f64) -> String {
    if value < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") }
}

/// Gain or loss of every arm against the baseline.
pub(super) fn differences(page: &Page<'_>, at: &Position) -> String {
    let Some(baseline) = &page.experiment.baseline else { return String::new() };
    let mut rows = String::new();
    for arm in page.differences(at) {
        let cell = |difference: &Option<Summary>| match difference {
            None => String::new(),
            Some(summary) => match summary.half_width() {
                Some(half) => format!("{:+.2} ± {half:.2}", summary.mean),
                None => format!("{:+.2} (1 seed)", summary.mean),
            },
        };
        let cells: Vec<String> = arm.columns.iter().map(cell).collect();
        line(&mut rows, &arm.label, &cells);
    }
    if rows.is_empty() {
        return rows;
    }
    format!("{}{rows}\n", head(page, &format!("against {baseline}"), false))
}

/// How many arms of each experiment gain, how many lose, and by how much at most.
pub(super) fn verdicts(pages: &[Page<'_>]) -> String {
    let (mut rows, mut all) = (String::new(), 0);
    for page in pages {
        let Some(baseline) = &page.experiment.baseline else { continue };
        let mut known: Vec<Verdict> = Vec::new();
        for at in &page.outer {
            known.extend(page.differences(at).iter().flat_map(|arm| Verdict::of(page, at, arm)));
        }
        if known.is_empty() {
            continue;
        }
        all += known.len();
        known.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        let count = |sign| known.iter().filter(|verdict| verdict.sign == sign).count().to_string();
        let extreme = |found: Option<&Verdict>| found.map_or(String::new(), Verdict::shown);
        let cells = [
            page.label(baseline),
            count(1),
            count(0),
            count(-1),
            extreme(known.iter().find(|verdict| verdict.sign == 1)),
            extreme(known.iter().rev().find(|verdict| verdict.sign == -1)),
        ];
        line(&mut rows, &page.experiment.title, &cells);
    }
    if rows.is_empty() {
        return rows;
    }
    let chance = 0.025 * all as f64;
    let about = format!(
        "## Where a mechanism pays\n\n\
         Every arm of every experiment against its baseline, in all columns where both have two seeds \
         or more:\nhow often the 95 % confidence interval of the difference lies above 0 (better), \
         holds 0 (undecided)\nor lies below (worse). If no arm differed from its baseline, about {chance:.0} \
         of these {all} intervals would\nlie above 0 and as many below. Oracles are counted, and runs \
         that experiments share in each.\n\n"
    );
    let titles = ["against", "better", "undecided", "worse", "largest gain", "largest loss"];
    about + &heading("experiment", &titles.map(str::to_owned)) + &rows + "\n"
}

/// A difference, and whether its interval lies above 0, around it or below.
struct Verdict {
    what: String,
    mean: f64,
    half: f64,
    sign: i8,
}

impl Verdict {
    fn of(page: &Page<'_>, at: &Position, arm: &Differences) -> Vec<Self> {
        let titles = page.columns.titles();
        let verdict = |(title, summary): (&String, &Option<Summary>)| {
            let (mean, half) = ((*summary)?.mean, (*summary)?.half_width()?);
            let sign = i8::from(mean - half > 0.0) - i8::from(mean + half < 0.0);
            let mut place = shown(at);
            if !page.columns.values.is_empty() {
                place = format!("{place} {}={title}", page.columns.name).trim().to_owned();
            }
            let label = &arm.label;
            let what = if place.is_empty() { label.clone() } else { format!("{label}, {place}") };
            Some(Self { what, mean, half, sign })
        };
        titles.iter().zip(&arm.columns).filter_map(verdict).collect()
    }

    fn shown(&self) -> String {
        format!("{:+.2} ± {:.2}: {}", self.mean, self.half, self.what)
    }
}

fn head(page: &Page<'_>, corner: &str, commands: bool) -> String {
    let mut titles = page.columns.titles();
    if commands {
        titles.push("what is missing".to_owned());
    }
    heading(corner, &titles)
}

/// The first two lines of a table.
fn heading(corner: &str, titles: &[String]) -> String {
    let mut text = String::new();
    line(&mut text, corner, titles);
    line(&mut text, "---", &vec!["---".to_owned(); titles.len()]);
    text
}

fn line(text: &mut String, first: &str, cells: &[String]) {
    let _ = writeln!(text, "| {first} | {} |", cells.join(" | "));
}

/// A value of an axis as a number, where it is one.
pub(super) fn number(value: &toml::Value) -> Option<f64> {
    plain(value).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_apart_by_enough_seeds_alone() {
        let verdict = |values: &[f64], least| reached(Summary::of(values).unwrap(), least);
        assert_eq!(verdict(&[97.1], 97.0), "reached, +0.10, one seed");
        assert_eq!(verdict(&[97.0, 97.3], 97.0), "reached, +0.15, not told apart by the seeds");
        assert_eq!(verdict(&[97.0, 97.0, 97.1], 98.0), "missed by 0.97");
    }
}
