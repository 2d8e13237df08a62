//! `docs/RESULTS.md` and its plots, made from the results alone.

mod plot;
mod table;

use std::fmt::Write as _;
use std::path::Path;

use crate::Error;
use crate::experiment::{Arm, Axis, Cell, Experiment, Position, holds};
use crate::result::{CellResult, Summary, write_whole};
use crate::run::Runner;

const HEAD: &str = "\
# Results

Made by `cargo paper -- render` from the files in [examples/paper/results](../examples/paper/results);
no figure of a run in a table or a plot is typed, only published ones and the words are. Each table is
one experiment, described by a file in [examples/paper/experiments](../examples/paper/experiments).

- Accuracies are percent on the test set, of the last model of a run (where `average` is set: of
  the moving average of its models), as mean and standard deviation over seeds (their number in
  brackets). Differences are paired by seed, with the 95 %
  confidence interval of their mean.
- Settings were chosen on the last sixth of the training set (`holdout = true`), with the test set
  untouched but where an experiment says so; each says how. The runs of a search are not kept. It
  looked at private data and is not covered by epsilon, as in the literature that is compared with.
- Epsilon is that of all releases of a run, example level, add or remove one example, by privacy
  loss distributions, and by Renyi divergences beside it, at the delta in the row below. The number
  of examples is treated as public: it is in the sampling rate and in the divisor. With several
  devices epsilon is that of each device's own examples, and which device holds an example is fixed.
- Each epsilon is of one run alone. The runs of a table look at the same examples: all of them
  together cost what they compose to.
- Seconds are those of one or two threads on a machine with two cores, with whatever ran beside.
  Memory is the peak of the process, the least over seeds.
- Noise energy is the variance that a round adds to all coordinates together, as a share of what
  DP-SGD adds. What is sent up is that of one device over the whole run, with what is released
  beside the gradients. A random mask is drawn anew by every seed.
- `cargo paper -- list NAME` shows the cells of an experiment, and
  `cargo paper -- run NAME --arm ARM --at KEY=VALUE --seed SEED --json` repeats any run to the last
  digit, on a processor with the same instruction set, and keeps nothing. Its noise is drawn from
  the seed, so what it releases is not private; apart from the seed it is what a device releases.
- `oracle` ranks by the gradients themselves. It is NOT private: it shows what a perfect ranking
  would give.

";

/// Written by hand.
const CONCLUSIONS: &str = include_str!("../../conclusions.md");

/// A cell and what is there of it.
struct Known {
    cell: Cell,
    result: Option<CellResult>,
}

/// An experiment with what is known of its cells.
struct Page<'a> {
    experiment: &'a Experiment,
    known: Vec<Known>,
    /// All axes but the last.
    outer: Vec<Position>,
    /// The last axis, along a table's columns.
    columns: Axis,
}

/// Writes the page and its plots into `docs`.
///
/// # Errors
/// Results that cannot be read, or files that cannot be written.
pub(crate) fn render(experiments: &[Experiment], results: &Path, docs: &Path) -> Result<(), Error> {
    let runner = Runner::new(Default::default(), Some(results.to_owned()));
    // All is read before the first file is touched.
    let pages = experiments.iter().map(|experiment| Page::new(experiment, &runner));
    let pages = pages.collect::<Result<Vec<_>, _>>()?;
    remove_plots(&docs.join("results"))?;
    let mut page =
        [HEAD, &table::targets(&pages), CONCLUSIONS, "\n", &table::verdicts(&pages)].concat();
    for content in &pages {
        section(content, docs, &mut page)?;
    }
    write_whole(docs, "RESULTS.md", &(page.trim_end().to_owned() + "\n"))
}

/// Plots of experiments that are gone, or have no result any more, would stay. Nothing else in
/// the folder is touched.
fn remove_plots(folder: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "svg")) {
        std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
    }
    Ok(())
}

fn section(page: &Page<'_>, docs: &Path, text: &mut String) -> Result<(), Error> {
    let Experiment { name, title, text: about, .. } = page.experiment;
    let _ = writeln!(text, "## {title}\n\n{}\n", about.trim());
    for (index, at) in page.outer.iter().enumerate() {
        if !at.is_empty() {
            let _ = writeln!(text, "### {}\n", crate::experiment::shown(at));
        }
        text.push_str(&table::accuracies(page, at));
        text.push_str(&table::differences(page, at));
        text.push_str(&table::arms(page, at));
        let part = if page.outer.len() > 1 { format!("{name}-{index}") } else { name.clone() };
        let plots = [
            (part.clone(), plot::accuracies(page, at)?),
            (format!("{part}-differences"), plot::differences(page, at)?),
        ];
        for (file, svg) in plots {
            let Some(svg) = svg else { continue };
            write_whole(&docs.join("results"), &format!("{file}.svg"), &svg)?;
            let _ = writeln!(text, "![{title}](results/{file}.svg)\n");
        }
    }
    let seeds =
        || page.known.iter().filter_map(|known| known.result.as_ref()).flat_map(|r| &r.seeds);
    let minutes = seeds().map(|seed| seed.wall_s).sum::<f64>() / 60.0;
    let _ = match seeds().count() {
        0 => writeln!(text, "Run it: `cargo paper -- run {name}`\n"),
        runs => writeln!(
            text,
            "Run it: `cargo paper -- run {name}` ({runs} runs so far, {minutes:.0} minutes)\n"
        ),
    };
    Ok(())
}

impl<'a> Page<'a> {
    fn new(experiment: &'a Experiment, runner: &Runner) -> Result<Self, Error> {
        let known = |cell: Cell| {
            let result = runner.known(&experiment.name, &cell)?;
            Ok(Known { cell, result })
        };
        let known: Vec<Known> =
            experiment.cells()?.into_iter().map(known).collect::<Result<_, Error>>()?;
        let columns = experiment.columns()?;
        let mut outer: Vec<Position> = Vec::new();
        for entry in &known {
            let mut at = entry.cell.at.clone();
            at.remove(&columns.name);
            if !outer.contains(&at) {
                outer.push(at);
            }
        }
        Ok(Self { experiment, known, outer, columns })
    }

    /// The label of the arm of that name, which says so where its runs are not private.
    fn label(&self, name: &str) -> String {
        let arm = self.experiment.arms.iter().find(|arm| arm.name == name);
        let own = self.known.iter().filter(|known| known.cell.arm == name);
        let warning = own.map(|known| known.cell.settings.warning()).max();
        format!("{}{}", arm.map_or(name, |arm| &arm.label), warning.unwrap_or_default())
    }

    /// What is known of an arm at `at`, column by column.
    fn row(&self, arm: &str, at: &Position) -> Vec<Option<&CellResult>> {
        let here = |known: &&Known| known.cell.arm == arm && holds(at, &known.cell.at);
        self.known.iter().filter(here).map(|known| known.result.as_ref()).collect()
    }

    /// Differences from the baseline of all arms that have any, where there is a baseline.
    fn differences(&self, at: &Position) -> Vec<Differences> {
        let Some(baseline) = &self.experiment.baseline else { return Vec::new() };
        let against = self.row(baseline, at);
        let of = |arm: &Arm| {
            let row = self.row(&arm.name, at);
            let columns = row.iter().zip(&against).map(|(own, other)| difference(*own, *other));
            Differences { label: self.label(&arm.name), columns: columns.collect() }
        };
        let others = self.experiment.arms.iter().filter(|arm| arm.name != *baseline);
        others.map(of).filter(|arm| arm.columns.iter().any(Option::is_some)).collect()
    }
}

/// What an arm differs by from the baseline, column by column.
struct Differences {
    label: String,
    columns: Vec<Option<Summary>>,
}

/// The difference over the seeds that both have.
fn difference(result: Option<&CellResult>, baseline: Option<&CellResult>) -> Option<Summary> {
    let (result, baseline) = (result?, baseline?);
    let pairs = result.seeds.iter().filter_map(|own| {
        let other = baseline.seeds.iter().find(|other| other.seed == own.seed)?;
        Some(own.reported() - other.reported())
    });
    Summary::of(&pairs.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    const TEXT: &str = r#"
        title = "Tiny"
        text = "About."
        seeds = 3
        baseline = "plain"
        [settings]
        data = "digits"
        model = "linear"
        examples = 200
        batch = 100
        rounds = 2
        clip = 1.0
        learning-rate = 1.0
        [grid]
        epsilon = [1, 4]
        [[arm]]
        name = "plain"
        label = "Plain"
        [[arm]]
        name = "oracle"
        label = "Masked"
        settings = { retention = "0.5", warmup = 0.5, importance = "oracle" }
        [[target]]
        arm = "plain"
        at = { epsilon = 4 }
        least = 101
        of = "nobody"
        [[target]]
        arm = "oracle"
        at = { epsilon = 4 }
        least = 1
        of = "everybody"
        [[published]]
        label = "Others"
        values = { 1 = 12.3 }
        [quick]
        rounds = 1
    "#;

    #[test]
    fn a_page_holds_what_ran_what_did_not_and_the_command_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (results, docs) = (folder.path().join("results"), folder.path().join("docs"));
        let file = folder.path().join("tiny.toml");
        std::fs::write(&file, TEXT).unwrap();
        let experiment = Experiment::read(&file).unwrap();
        let mut runner = Runner::new(Default::default(), Some(results.clone()));
        let cells = experiment.cells().unwrap();
        // All but the oracle at epsilon 4, whose third seed is missing, too.
        for cell in &cells[..3] {
            let seeds = if cell.arm == "plain" { &[1, 2, 3][..] } else { &[1, 2] };
            let result = runner.run("tiny", cell, seeds, &mut Progress::new(0)).unwrap();
            let again = runner.run("tiny", cell, seeds, &mut Progress::new(0)).unwrap();
            assert_eq!(result.seeds[0].train_s, again.seeds[0].train_s, "it is not run again");
            assert_eq!(result.epsilon_pld.is_some(), cell.arm == "plain", "an oracle has none");
        }
        render(&[experiment], &results, &docs).unwrap();
        let page = std::fs::read_to_string(docs.join("RESULTS.md")).unwrap();
        let row = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap();
        assert!(row("| Plain |").contains("(3)") && !row("| Plain |").contains("cargo"));
        let masked = row("| Masked (NOT private) |");
        assert!(masked.contains("not run | `cargo paper -- run tiny --arm oracle`"), "{masked}");
        assert_eq!(row("| *Others* |"), "| *Others* | 12.30 |  |  |");
        assert!(row("| Tiny: Plain | epsilon=4 | 101.00 (nobody) |").contains("missed by"));
        assert!(
            row("| Tiny: Masked (NOT private) | epsilon=4 | 1.00 (everybody) |")
                .contains("not run")
        );
        assert!(page.contains("| against plain | 1 | 4 |"));
        let verdict: Vec<&str> = row("| Tiny | Plain |").split(" | ").collect();
        let counted = verdict[2..5].iter().map(|count| count.parse::<u32>().unwrap());
        assert_eq!(counted.sum::<u32>(), 1, "{verdict:?}");
        for (name, axis) in
            [("tiny", "Accuracy (%)"), ("tiny-differences", "Difference from Plain")]
        {
            assert!(page.contains(&format!("![Tiny](results/{name}.svg)")));
            let svg = std::fs::read_to_string(docs.join(format!("results/{name}.svg"))).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains(axis));
            assert!(svg.contains("Masked (NOT private)"));
        }
    }

    #[test]
    fn a_seed_gives_the_same_figures_to_the_last_digit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tiny.toml");
        std::fs::write(&file, TEXT).unwrap();
        let experiment = Experiment::read(&file).unwrap();
        let cell = &experiment.cells().unwrap()[2];
        let run = |seed| {
            let mut runner = Runner::new(Default::default(), None);
            runner.run("tiny", cell, &[seed], &mut Progress::new(0)).unwrap().seeds[0].last
        };
        assert_eq!(run(7), run(7));
    }
}
