//! `cargo paper`: experiments on public data, their results, and the page made of them.
#![forbid(unsafe_code)]

mod cache;
mod error;
mod experiment;
mod features;
mod glyphs;
mod model;
mod moment;
mod plan;
mod pretrained;
mod progress;
mod quantile;
mod released;
mod render;
mod result;
mod run;
mod settings;
mod source;
mod train;
mod upright;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adafed_examples::output;
use clap::{Parser, Subcommand};

use crate::cache::Cache;
pub(crate) use crate::error::Error;
use crate::experiment::{Cell, Experiment, plain, shown};
use crate::progress::Progress;
use crate::result::CellResult;
use crate::run::Runner;

/// What stands behind a cell.
const LEGEND: &str = "mean accuracy in % ± standard deviation (seeds)";

/// Experiments of AdaFed: each is a file that names data, model, algorithm, budget and seeds.
///
/// A run that was killed goes on where it was: what has a result is not run again. Exit code
/// 0: done; 1: an error, which is printed; 2: arguments that cannot be read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Folder of the experiments [default: examples/paper/experiments in the repository].
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments"), hide_default_value = true)]
    experiments: PathBuf,
    /// Folder of the results [default: examples/paper/results in the repository].
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"), hide_default_value = true)]
    results: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Lists experiments and what is missing of them.
    List {
        /// Shows the arms and cells of this one.
        experiment: Option<String>,
        /// One line of JSON a cell.
        #[arg(long)]
        json: bool,
    },
    /// Runs what is missing of an experiment.
    Run(Run),
    /// Writes docs/RESULTS.md and its plots from the results.
    Render {
        /// Folder of the page [default: docs in the repository].
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"), hide_default_value = true)]
        docs: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Name of the experiment, or `all`.
    experiment: String,
    /// Only this arm.
    #[arg(long)]
    arm: Option<String>,
    /// Only cells at this position, such as `epsilon=4`; may be given several times.
    #[arg(long = "at", value_name = "KEY=VALUE", value_parser = key_value)]
    at: Vec<(String, String)>,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// The short form: every arm once, in less than two minutes; nothing is kept.
    #[arg(long, conflicts_with = "at")]
    quick: bool,
    /// Folder of the data sets [default: ADAFED_DATA, or shared/data beside the repository].
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder where computed features are kept, for this build of the program alone.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Keep nothing, print the results as JSON.
    #[arg(long)]
    json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("expected KEY=VALUE, such as epsilon=4")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> Result<(), Error> {
    let folder = &arguments.experiments;
    match &arguments.command {
        Command::List { experiment, json } => {
            let (experiments, show): (_, Show) = match experiment {
                Some(name) => (vec![experiment::one(folder, name)?], cells_of),
                None => (experiment::all(folder)?, line_of),
            };
            list(&experiments, &arguments.results, if *json { json_of } else { show })
        }
        Command::Run(run) => run_experiments(folder, run, &arguments.results),
        Command::Render { docs } => {
            render::render(&experiment::all(folder)?, &arguments.results, docs)
        }
    }
}

/// What there is of a cell.
struct State {
    cell: Cell,
    known: Option<CellResult>,
    /// Seeds that have a result, and all that the experiment asks for.
    done: usize,
    seeds: usize,
}

/// Prints an experiment.
type Show = fn(&Experiment, &[State]) -> Result<(), Error>;

/// Prints every experiment by `show`. A result that cannot be read is taken for none, and is the
/// error at the end: the list is whole.
fn list(experiments: &[Experiment], results: &Path, show: Show) -> Result<(), Error> {
    let runner = Runner::new(PathBuf::new(), Some(results.to_owned()));
    let mut first = Ok(());
    for experiment in experiments {
        let states = experiment.cells()?.into_iter().map(|cell| {
            let known = runner.known(&experiment.name, &cell).unwrap_or_else(|error| {
                if first.is_ok() {
                    first = Err(error);
                }
                None
            });
            let seeds = experiment.seeds(&cell.arm);
            let done = seeds.len() - result::missing(known.as_ref(), &seeds).len();
            State { cell, known, done, seeds: seeds.len() }
        });
        show(experiment, &states.collect::<Vec<_>>())?;
    }
    first
}

fn line_of(experiment: &Experiment, states: &[State]) -> Result<(), Error> {
    let done: usize = states.iter().map(|state| state.done).sum();
    let all: usize = states.iter().map(|state| state.seeds).sum();
    let (name, title) = (&experiment.name, &experiment.title);
    Ok(output::line(format_args!("{name:24} {done:4} of {all:4} runs  {title}"))?)
}

fn cells_of(experiment: &Experiment, states: &[State]) -> Result<(), Error> {
    let (title, text) = (&experiment.title, experiment.text.trim());
    output::line(format_args!("{title}\n\n{text}\n\n{LEGEND}"))?;
    for State { cell, known, done, seeds } in states {
        let summary = known.as_ref().and_then(CellResult::summary);
        let accuracy = summary.map_or(String::new(), |summary| format!("  {summary}"));
        let (arm, at, warning) = (&cell.arm, shown(&cell.at), cell.settings.warning());
        output::line(format_args!(
            "--arm {arm:20} {at:16} {done} of {seeds} runs{accuracy}{warning}"
        ))?;
    }
    Ok(())
}

fn json_of(experiment: &Experiment, states: &[State]) -> Result<(), Error> {
    for State { cell, known, done, seeds } in states {
        let summary = known.as_ref().and_then(CellResult::summary);
        output::line(serde_json::json!({
            "experiment": experiment.name,
            "arm": cell.arm,
            "at": cell.at,
            "private": cell.settings.is_private(),
            "done": done,
            "seeds": seeds,
            "mean": summary.map(|summary| summary.mean),
            "deviation": summary.and_then(|summary| summary.deviation),
        }))?;
    }
    Ok(())
}

fn run_experiments(folder: &Path, run: &Run, results: &Path) -> Result<(), Error> {
    let all = run.experiment == "all";
    let wanted = match all {
        true => experiment::all(folder)?,
        false => vec![experiment::one(folder, &run.experiment)?],
    };
    let data = run.data.clone().unwrap_or_else(source::default_root);
    let kept = (!run.quick && !run.json).then(|| results.to_owned());
    let mut runner = Runner::new(data, kept);
    runner.cache = run.cache.clone().map(Cache::new).transpose()?;
    let chosen = wanted.iter().map(|experiment| Ok((experiment, run.cells_of(experiment)?)));
    let chosen = chosen.collect::<Result<Vec<_>, Error>>()?;
    // Of all experiments, those without such a cell are left out.
    if let (true, [first, ..]) = (chosen.iter().all(|(_, cells)| cells.is_empty()), &*wanted) {
        return Err(run.takes_none_of(first)?);
    }
    for (experiment, cells) in chosen.into_iter().filter(|(_, cells)| !cells.is_empty()) {
        match run_one(experiment, &cells, run, &mut runner) {
            Err(error) if all && run.quick && error.is_missing_data() => {
                eprintln!("skipped: {}: {error}", experiment.name);
            }
            other => other?,
        }
    }
    Ok(())
}

fn run_one(
    experiment: &Experiment,
    cells: &[Cell],
    run: &Run,
    runner: &mut Runner,
) -> Result<(), Error> {
    let seeds = |cell: &Cell| match run.seed {
        Some(seed) => vec![seed],
        None if run.quick => vec![1],
        None => experiment.seeds(&cell.arm),
    };
    let of_arms = |seed: &u64| cells.iter().all(|cell| experiment.seeds(&cell.arm).contains(seed));
    if let Some(seed) = run.seed.filter(|seed| runner.results.is_some() && !of_arms(seed)) {
        let known = "those that the experiment asks for; --json runs any and keeps nothing";
        return Err(Error::Unknown {
            what: "seed",
            name: seed.to_string(),
            known: known.to_owned(),
        });
    }
    let (mut missing, mut all) = (0, 0);
    for cell in cells {
        let (known, seeds) = (runner.known(&experiment.name, cell)?, seeds(cell));
        missing += result::missing(known.as_ref(), &seeds).len();
        all += seeds.len();
    }
    eprintln!("{}: {missing} of {all} runs are missing", experiment.name);
    let mut progress = Progress::new(missing as u64);
    let mut lines = Vec::new();
    for cell in cells {
        let result = runner.run(&experiment.name, cell, &seeds(cell), &mut progress)?;
        if run.json {
            output::line(serde_json::to_string(&result)?)?;
        } else if let Some(summary) = result.summary() {
            let (arm, at, warning) = (&cell.arm, shown(&cell.at), cell.settings.warning());
            lines.push(format!("{arm:20} {at:16} {summary}{warning}"));
        }
    }
    // Below the bar, not through it.
    drop(progress);
    if !lines.is_empty() {
        output::line(LEGEND)?;
    }
    for line in lines {
        output::line(line)?;
    }
    Ok(())
}

impl Run {
    /// The cells that are asked for.
    fn cells_of(&self, experiment: &Experiment) -> Result<Vec<Cell>, Error> {
        let all = if self.quick { experiment.quick_cells()? } else { experiment.cells()? };
        Ok(all.into_iter().filter(|cell| self.takes(cell)).collect())
    }

    fn takes(&self, cell: &Cell) -> bool {
        let at = |(key, value): &(String, String)| {
            cell.at.get(key).is_some_and(|found| plain(found) == *value)
        };
        self.arm.as_ref().is_none_or(|arm| *arm == cell.arm) && self.at.iter().all(at)
    }

    /// Says what of an experiment there is instead of what was asked for.
    fn takes_none_of(&self, experiment: &Experiment) -> Result<Error, Error> {
        let is = |name: &String| experiment.arms.iter().any(|arm| arm.name == *name);
        if let Some(name) = self.arm.clone().filter(|name| !is(name)) {
            let known: Vec<&str> = experiment.arms.iter().map(|arm| arm.name.as_str()).collect();
            return Ok(Error::Unknown { what: "arm", name, known: known.join(", ") });
        }
        let wanted: Vec<String> = self.at.iter().map(|(key, at)| format!("{key}={at}")).collect();
        let axes = experiment.axes()?.into_iter().flat_map(|axis| {
            axis.values.iter().map(|v| format!("{}={}", axis.name, plain(v))).collect::<Vec<_>>()
        });
        let known = match axes.collect::<Vec<_>>() {
            axes if axes.is_empty() => "one cell for each arm, without --at".to_owned(),
            axes => axes.join(", "),
        };
        Ok(Error::Unknown { what: "cell at", name: wanted.join(" "), known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_beside_a_result_that_cannot_be_read() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sms = experiment::one(&own.join("experiments"), "sms").unwrap();
        let cells = sms.cells().unwrap();
        let results = tempfile::tempdir().unwrap();
        let [broken, whole] = [0, 1].map(|index| cells[index].file("sms"));
        std::fs::create_dir(results.path().join("sms")).unwrap();
        std::fs::write(results.path().join(&broken), "{").unwrap();
        std::fs::copy(own.join("results").join(&whole), results.path().join(&whole)).unwrap();
        let error = list(&[sms], results.path(), |_, states| {
            let done: Vec<usize> = states.iter().map(|state| state.done).collect();
            assert_eq!((done[0], done[1], done[2], states[1].seeds), (0, 3, 0, 3));
            Ok(())
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(broken.to_str().unwrap()), "{error}");
    }
}
