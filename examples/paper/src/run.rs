//! Runs cells: what has a result already is left out, so a run that was killed goes on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adafed::data::Examples;
use adafed::nn::Model;
use adafed::privacy::{Composition, Delta, accounting};

use crate::Error;
use crate::cache::Cache;
use crate::experiment::{Cell, shown};
use crate::features::FeatureSettings;
use crate::moment;
use crate::plan::{Plans, plans};
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
}

impl Runner {
    pub(crate) const fn new(data: PathBuf, results: Option<PathBuf>) -> Self {
        Self { data, results, cache: None, prepared: None }
    }

    fn path(&self, experiment: &str, cell: &Cell) -> Option<PathBuf> {
        self.results.as_ref().map(|folder| folder.join(cell.file(experiment)))
    }

    /// What is there of a cell.
    ///
    /// # Errors
    /// A file that is no result, or of other settings.
    pub(crate) fn known(&self, experiment: &str, cell: &Cell) -> Result<Option<CellResult>, Error> {
        let Some(path) = self.path(experiment, cell) else { return Ok(None) };
        let known = CellResult::read(&path)?;
        if let Some(result) = &known {
            check_same(&path, &result.settings, &cell.settings)?;
        }
        Ok(known)
    }

    /// Runs the seeds of a cell that have no result yet.
    ///
    /// # Errors
    /// The first error of data, training or files.
    pub(crate) fn run(
        &mut self,
        experiment: &str,
        cell: &Cell,
        seeds: &[u64],
        progress: &mut Progress,
    ) -> Result<CellResult, Error> {
        let known = self.known(experiment, cell)?;
        let missing = missing(known.as_ref(), seeds);
        if let Some(known) = known.as_ref().filter(|_| missing.is_empty()) {
            return Ok(known.clone());
        }
        let (path, mut since) = (self.path(experiment, cell), Instant::now());
        let split = self.prepare(&cell.settings, progress)?;
        let scene = Scene::new(&cell.settings, split)?;
        let mut result = match known {
            Some(known) => known,
            None => scene.empty(experiment, cell),
        };
        for seed in missing {
            progress.start(&format!("{} {} seed {seed}", cell.arm, shown(&cell.at)));
            let (mut seed, bytes_up) = scene.run(seed, progress)?;
            seed.wall_s = since.elapsed().as_secs_f64();
            since = Instant::now();
            progress.done(seed.reported());
            result.bytes_up = bytes_up;
            result.seeds.push(seed);
            result.seeds.sort_by_key(|seed| seed.seed);
            if let Some(path) = &path {
                result.write(path)?;
            }
        }
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
                    progress.features();
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

/// A result of other settings would be taken for one of these.
fn check_same(path: &Path, found: &Settings, wanted: &Settings) -> Result<(), Error> {
    if serde_json::to_value(found)? == serde_json::to_value(wanted)? {
        return Ok(());
    }
    let reason = "this result is of other settings than the experiment has now; remove it to \
                  run the cell again";
    Err(Error::Experiment { path: path.to_owned(), reason: reason.to_owned() })
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
    /// What public pre-training left, where there was one.
    start: Vec<f32>,
}

impl<'a> Scene<'a> {
    fn new(settings: &'a Settings, split: Cow<'a, Split>) -> Result<Self, Error> {
        let spec = settings.model.spec(split.train.shape(), split.train.classes());
        let model = Model::new(&spec)?;
        let plans = plans(settings, &spec, model.layout(), split.train.len())?;
        let start = settings.pretraining.map(|pretraining| pretraining.start(&spec));
        let start = start.transpose()?.unwrap_or_default();
        Ok(Self { settings, split, model, plans, start })
    }

    /// One seed from start to end, and what a device uploaded.
    fn run(&self, seed: u64, progress: &Progress) -> Result<(SeedResult, u64), Error> {
        let Self { settings, model, .. } = self;
        let whitened = self.whitened(seed)?;
        let Split { train, test } = whitened.as_ref().unwrap_or(&self.split);
        let shares = deal(settings, train)?;
        let plan = &self.plans.training;
        let counts = self.plans.counts.as_ref();
        let start = &self.start;
        let trainer = Trainer { settings, plan, model, start, shares: &shares, counts, seed };
        let trained = trainer.run(|step| progress.step(&step))?;
        let accuracy = |parameters: &[f32]| {
            let share = model.accuracy(parameters, test.inputs(), test.targets());
            Ok::<_, Error>(100.0 * share?)
        };
        let last = accuracy(&trained.last)?;
        let average = trained.average.as_deref().map(accuracy).transpose()?;
        let (train_s, wall_s) = (trained.train_s, 0.0);
        let peak_rss_mb = adafed_examples::memory::peak_rss_mb();
        let (clip, noise_energy) = (trained.clip, Some(trained.noise_energy));
        let result =
            SeedResult { seed, last, average, clip, noise_energy, train_s, wall_s, peak_rss_mb };
        Ok((result, trained.bytes_up))
    }

    /// The data whitened by its released second moment, where one is asked for.
    fn whitened(&self, seed: u64) -> Result<Option<Split>, Error> {
        let privacy = self.plans.second_moment;
        let (Some(moment), Some(privacy)) = (self.settings.second_moment(), privacy) else {
            return Ok(None);
        };
        let Split { train, test } = &*self.split;
        let rotated = moment::whitening(self.settings, moment, privacy, train, seed)?;
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
            bytes_up: 0,
            seeds: Vec::new(),
        }
    }
}
