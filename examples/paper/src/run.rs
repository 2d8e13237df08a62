//! Runs cells: what has a result already is left out, so a run that was killed goes on.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adafed::data::Examples;
use adafed::nn::{Model, ModelSpec};
use adafed::privacy::{Composition, Delta, accounting};
use adafed_examples::memory;
use serde_json::{Map, Value};

use crate::Error;
use crate::cache::Cache;
use crate::experiment::Cell;
use crate::features::FeatureSettings;
use crate::moment;
use crate::plan::{Plans, plans};
use crate::pretrained::Pretraining;
use crate::progress::Progress;
use crate::result::{CellResult, SeedResult, missing};
use crate::settings::Settings;
use crate::source::Split;
use crate::train::Trainer;

/// Seed by which examples are dealt to devices, the same for all runs.
const DEAL: u64 = 1;

/// Where things are.
pub(crate) struct Runner {
    /// Data sets.
    pub(crate) data: PathBuf,
    /// Results; none where they are only shown.
    pub(crate) results: Option<PathBuf>,
    /// Computed features of earlier calls.
    pub(crate) cache: Option<Cache>,
    /// Data as the last run saw it, with the settings that made it.
    prepared: Option<(String, Split)>,
    /// What the last pre-training left.
    pretrained: Option<Start>,
}

/// Where training starts after public pre-training: the same for every budget.
struct Start {
    pretraining: Pretraining,
    spec: ModelSpec,
    parameters: Vec<f32>,
}

impl Runner {
    pub(crate) const fn new(data: PathBuf, results: Option<PathBuf>) -> Self {
        Self { data, results, cache: None, prepared: None, pretrained: None }
    }

    fn path(&self, experiment: &str, cell: &Cell) -> Option<PathBuf> {
        self.results.as_ref().map(|folder| folder.join(cell.file(experiment)))
    }

    /// What is there of a cell.
    ///
    /// # Errors
    /// A file that is no result, or of other settings.
    pub(crate) fn known(&self, experiment: &str, cell: &Cell) -> Result<Option<CellResult>, Error> {
        self.path(experiment, cell).map_or(Ok(None), |path| known(&path, &cell.settings))
    }

    /// Runs the seeds of a cell that have no result yet.
    ///
    /// # Errors
    /// The first error of data, training or files, with the cell.
    pub(crate) fn run(
        &mut self,
        experiment: &str,
        cell: &Cell,
        seeds: &[u64],
        progress: &mut Progress,
    ) -> Result<CellResult, Error> {
        let result = self.run_cell(experiment, cell, seeds, progress);
        result.map_err(|error| error.during(format!("{experiment}: {cell}")))
    }

    fn run_cell(
        &mut self,
        experiment: &str,
        cell: &Cell,
        seeds: &[u64],
        progress: &mut Progress,
    ) -> Result<CellResult, Error> {
        let (path, mut since) = (self.path(experiment, cell), Instant::now());
        let found = self.known(experiment, cell)?;
        let missing = missing(found.as_ref(), seeds);
        if let Some(found) = found.as_ref().filter(|_| missing.is_empty()) {
            return Ok(found.clone());
        }
        let pretrained = self.pretrained.take();
        let split = self.prepare(&cell.settings, progress)?;
        let scene = Scene::new(&cell.settings, split, pretrained, progress)?;
        let mut result = scene.empty(experiment, cell);
        if let (Some(found), Some(path)) = (&found, &path) {
            check_same_plan(path, found, &result)?;
            result.add(found.seeds.clone());
        }
        for seed in missing {
            progress.start(&format!("{cell} seed {seed}"));
            let run = scene.run(seed, progress);
            let mut run = run.map_err(|error| error.during(format!("seed {seed}")))?;
            run.wall_s = since.elapsed().as_secs_f64();
            since = Instant::now();
            progress.done(run.reported());
            result.add(vec![run]);
            if let Some(path) = &path {
                // Another process may have added seeds meanwhile.
                result.add(known(path, &cell.settings)?.map_or(Vec::new(), |now| now.seeds));
                result.write(path)?;
            }
        }
        self.pretrained = scene.start;
        Ok(result)
    }

    /// The data of a run; features are kept for the next run with the same.
    fn prepare(
        &mut self,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<Cow<'_, Split>, Error> {
        let Settings { data, holdout, examples, features, .. } = settings;
        let key = serde_json::to_string(&(data, examples, features))?;
        // One at a time: features of a whole data set can be some gigabytes.
        let known = self.prepared.take().filter(|(known, _)| *known == key);
        let (key, whole) = match known {
            Some(known) => known,
            None => {
                let split = data.load(&self.data)?;
                let split = match examples {
                    Some(examples) => split.first(*examples),
                    None => split,
                };
                let make = |split| {
                    progress.preparing("computing features");
                    features.apply(split)
                };
                let whole = match (&self.cache, features) {
                    (_, FeatureSettings::None) => split,
                    (Some(cache), _) => cached(cache, &key, split, make)?,
                    (None, _) => make(split)?,
                };
                (key, whole)
            }
        };
        let (_, whole) = self.prepared.insert((key, whole));
        Ok(if *holdout { Cow::Owned(whole.held_out()) } else { Cow::Borrowed(whole) })
    }
}

fn cached(
    cache: &Cache,
    key: &str,
    split: Split,
    make: impl FnOnce(Split) -> Result<Split, Error>,
) -> Result<Split, Error> {
    if let Some(known) = cache.read(key, &split)? {
        return Ok(known);
    }
    let made = make(split)?;
    cache.write(key, &made)?;
    Ok(made)
}

/// The result in a file, where there is one.
///
/// # Errors
/// A file that is no result, or of other settings: it would be taken for one of these.
fn known(path: &Path, wanted: &Settings) -> Result<Option<CellResult>, Error> {
    let Some(result) = CellResult::read(path)? else { return Ok(None) };
    let (found, wanted) = (serde_json::to_value(&result.settings)?, serde_json::to_value(wanted)?);
    if found == wanted {
        return Ok(Some(result));
    }
    let settings = [&found, &wanted].into_iter().filter_map(Value::as_object);
    let keys: BTreeSet<&String> = settings.flat_map(Map::keys).collect();
    let other = keys.into_iter().filter(|key| found.get(key) != wanted.get(key));
    let names = other.map(String::as_str).collect::<Vec<_>>().join(", ");
    let reason = format!(
        "this result is of other settings than the experiment has now ({names}); remove it to run \
         the cell again"
    );
    Err(Error::Experiment { path: path.to_owned(), reason })
}

/// Seeds of another plan would be taken for those of this one, such as after a change of how the
/// noise is calibrated.
fn check_same_plan(path: &Path, found: &CellResult, planned: &CellResult) -> Result<(), Error> {
    if found.is_of_the_plan_of(planned) {
        return Ok(());
    }
    let reason = "noise, rate, steps, parameters or upload of this result are not those that its \
                  settings give now; remove it to run the cell again"
        .to_owned();
    Err(Error::Experiment { path: path.to_owned(), reason })
}

fn deal<'a>(settings: &Settings, train: &'a Examples) -> Result<Vec<Cow<'a, Examples>>, Error> {
    if settings.devices == 1 {
        return Ok(vec![Cow::Borrowed(train)]);
    }
    let shares = settings.partition.split(train.labels(), settings.devices, DEAL)?;
    Ok(shares.iter().map(|share| Cow::Owned(train.subset(share))).collect())
}

/// What the seeds of a cell share.
struct Scene<'a> {
    settings: &'a Settings,
    split: Cow<'a, Split>,
    model: Model,
    plans: Plans,
    start: Option<Start>,
}

impl<'a> Scene<'a> {
    fn new(
        settings: &'a Settings,
        split: Cow<'a, Split>,
        pretrained: Option<Start>,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let spec = settings.model.spec(split.train.shape(), split.train.classes());
        let model = Model::new(&spec)?;
        let plans = plans(settings, &spec, model.layout(), split.train.len())?;
        let start = settings.pretraining.map(|pretraining| {
            let same = |start: &Start| start.pretraining == pretraining && start.spec == spec;
            if let Some(start) = pretrained.filter(same) {
                return Ok(start);
            }
            progress.preparing("pre-training");
            let parameters = pretraining.start(&spec)?;
            Ok::<_, Error>(Start { pretraining, spec: spec.clone(), parameters })
        });
        let start = start.transpose()?;
        Ok(Self { settings, split, model, plans, start })
    }

    /// One seed from start to end.
    fn run(&self, seed: u64, progress: &Progress) -> Result<SeedResult, Error> {
        memory::restart_peak();
        let Self { settings, model, .. } = self;
        let whitened = self.whitened(seed)?;
        let Split { train, test } = whitened.as_ref().unwrap_or(&self.split);
        let shares = deal(settings, train)?;
        let mut plan = self.plans.training.clone();
        // A random mask is drawn anew for every seed, so that an interval holds its draw, too.
        plan.algorithm.random_seed = seed;
        let plan = &plan;
        let counts = self.plans.counts.as_ref();
        let start = self.start.as_ref().map_or(&[][..], |start| &start.parameters);
        let trainer = Trainer { settings, plan, model, start, shares: &shares, counts, seed };
        let trained = trainer.run(|step| progress.step(&step))?;
        let accuracy = |parameters: &[f32]| {
            let share = model.accuracy(parameters, test.inputs(), test.targets());
            Ok::<_, Error>(100.0 * share?)
        };
        let last = accuracy(&trained.last)?;
        let average = trained.average.as_deref().map(accuracy).transpose()?;
        let (train_s, wall_s) = (trained.train_s, 0.0);
        let peak_rss_mb = memory::peak_rss_mb();
        let (clip, noise_energy) = (trained.clip, Some(trained.noise_energy));
        Ok(SeedResult { seed, last, average, clip, noise_energy, train_s, wall_s, peak_rss_mb })
    }

    /// The data whitened by its released second moment, where one is asked for.
    fn whitened(&self, seed: u64) -> Result<Option<Split>, Error> {
        let plan = self.plans.second_moment.as_ref();
        let (Some(moment), Some(plan)) = (self.settings.second_moment(), plan) else {
            return Ok(None);
        };
        let Split { train, test } = &*self.split;
        let rotated = moment::whitening(moment, plan, train, seed)?;
        let (train, test) = (train.with_features(&rotated)?, test.with_features(&rotated)?);
        Ok(Some(Split { train, test }))
    }

    /// The cell's result without a seed.
    fn empty(&self, experiment: &str, cell: &Cell) -> CellResult {
        let plan = &self.plans.training;
        let privacy = &plan.privacy;
        let composition = self.plans.composition();
        let private = cell.settings.is_private();
        let epsilon =
            |of: fn(&Composition, Delta) -> f64| private.then(|| of(&composition, privacy.delta));
        CellResult {
            experiment: experiment.to_owned(),
            arm: cell.arm.clone(),
            at: cell.at.clone(),
            settings: cell.settings.clone(),
            private,
            noise_multiplier: privacy.least_noise_multiplier().value(),
            rate: privacy.rate.value(),
            steps: privacy.rounds() * u64::from(privacy.local_steps),
            parameters: plan.layout.len(),
            beside: self.plans.beside(),
            epsilon_pld: epsilon(accounting::pld_epsilon),
            epsilon_rdp: epsilon(accounting::rdp_epsilon),
            bytes_up: self.plans.bytes_up(),
            seeds: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Position;

    fn cell(more: &str) -> Cell {
        let text = format!(
            "data = \"digits\"\nmodel = \"linear\"\nexamples = 200\nepsilon = 4\nbatch = 100\n\
             rounds = 2\nclip = 1\n{more}"
        );
        let settings = toml::from_str(&text).unwrap();
        Cell { arm: "plain".to_owned(), at: Position::new(), settings }
    }

    fn run(folder: &Path, cell: &Cell, seeds: &[u64]) -> Result<Vec<u64>, Error> {
        let mut runner = Runner::new(Default::default(), Some(folder.to_owned()));
        let result = runner.run("tiny", cell, seeds, &mut Progress::new(0))?;
        Ok(result.seeds.iter().map(|run| run.seed).collect())
    }

    #[test]
    fn seeds_are_added_to_those_of_the_same_settings_and_plan_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = cell("learning-rate = 1");
        assert_eq!(run(folder, &first, &[2]).unwrap(), [2]);
        assert_eq!(run(folder, &first, &[1, 2]).unwrap(), [1, 2]);
        let error = run(folder, &cell("learning-rate = 2"), &[3]).unwrap_err().to_string();
        assert!(error.contains("tiny: plain") && error.contains("(learning-rate)"), "{error}");
        // As if noise had been calibrated otherwise when the file was written.
        let path = folder.join("tiny/plain.json");
        let mut result = CellResult::read(&path).unwrap().unwrap();
        result.noise_multiplier *= 1.01;
        result.write(&path).unwrap();
        let error = run(folder, &first, &[3]).unwrap_err().to_string();
        assert!(error.contains("plain.json: noise, rate, steps"), "{error}");
        assert_eq!(run(folder, &first, &[1, 2]).unwrap(), [1, 2], "what is there is shown");
    }

    #[test]
    fn a_run_that_fails_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut cell = cell("learning-rate = 1");
        cell.settings.data = crate::source::Source::Mnist;
        let error = run(folder.path(), &cell, &[1]).unwrap_err();
        assert!(error.is_missing_data() && error.to_string().starts_with("tiny: plain: "));
    }
}
