//! Experiments as files describe them: arms times a grid, cell by cell.
//!
//! | table | holds |
//! | --- | --- |
//! | top | `title`, `text`, `seeds`, `baseline` (the arm that others are compared with) |
//! | `[settings]` | what all cells share |
//! | `[grid]` | settings with a list of values each: one cell for every combination |
//! | `[[when]]` | `at`, a position in the grid, and the `settings` that hold there |
//! | `[[arm]]` | `name`, `label`, and the `settings` by which it differs |
//! | `[[published]]` | `label`, and `values` by the last axis of the grid: for comparison |
//! | `[[target]]` | `arm`, `at`, `least` and `of`: an accuracy to reach, and whose figure it is |
//! | `[quick]` | settings of the short form, which takes the first position of the grid |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::Error;
use crate::settings::Settings;

/// An experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// File name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    path: PathBuf,
    pub(crate) title: String,
    pub(crate) text: String,
    seeds: u64,
    pub(crate) baseline: Option<String>,
    settings: Table,
    #[serde(default)]
    grid: Table,
    #[serde(default)]
    when: Vec<When>,
    #[serde(rename = "arm")]
    pub(crate) arms: Vec<Arm>,
    #[serde(default)]
    pub(crate) published: Vec<Published>,
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
    quick: Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    at: Table,
    settings: Table,
}

/// A row of an experiment's table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) label: String,
    /// Seeds, where not those of the experiment.
    #[serde(default)]
    seeds: Option<u64>,
    #[serde(default)]
    settings: Table,
}

/// Figures of others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    pub(crate) label: String,
    pub(crate) values: BTreeMap<String, f64>,
    /// Values of the other axes where it belongs.
    #[serde(default)]
    pub(crate) at: Table,
}

/// An accuracy that an arm is to reach.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) arm: String,
    #[serde(default)]
    pub(crate) at: Table,
    pub(crate) least: f64,
    /// Whose figure it is.
    pub(crate) of: String,
}

/// A position in the grid.
pub(crate) type Position = BTreeMap<String, Value>;

/// One cell: an arm at a position.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) arm: String,
    pub(crate) at: Position,
    pub(crate) settings: Settings,
}

/// An axis of the grid.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) values: Vec<Value>,
}

impl Experiment {
    /// Reads and checks a file whole: every cell's settings are understood.
    ///
    /// # Errors
    /// What is wrong with it, with its path.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let described = |reason| Error::Experiment { path: path.to_owned(), reason };
        let mut experiment: Self =
            toml::from_str(&text).map_err(|error| described(error.to_string()))?;
        experiment.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        experiment.path = path.to_owned();
        experiment.check()?;
        Ok(experiment)
    }

    /// What is named must be there, and what is said must act.
    fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        if let Some(Arm { name, .. }) = self.arms.iter().find(|arm| !names.insert(&arm.name)) {
            return Err(self.wrong(format!("two arms are called {name:?}")));
        }
        if let Some(baseline) = self.baseline.as_ref().filter(|name| !names.contains(name)) {
            return Err(self.wrong(format!("the baseline {baseline:?} is no arm")));
        }
        let of_arms = self.arms.iter().map(|arm| &arm.settings);
        let mut settings = of_arms.chain(self.when.iter().map(|when| &when.settings));
        if let Some(key) = settings.find_map(|own| own.keys().find(|k| self.grid.contains_key(*k)))
        {
            let reason = format!("{key} is an axis of the grid: neither an arm nor a when sets it");
            return Err(self.wrong(reason));
        }
        let positions = self.positions()?;
        let nowhere = |at: &&Table| positions.iter().all(|position| !holds(*at, position));
        let of_published = self.published.iter().map(|published| &published.at);
        if let Some(at) = self.when.iter().map(|when| &when.at).chain(of_published).find(nowhere) {
            return Err(self.wrong(format!("at {at}: the grid has no such position")));
        }
        let titles = self.columns()?.titles();
        let mut values = self.published.iter().flat_map(|published| published.values.keys());
        if let Some(value) = values.find(|value| !titles.contains(value)) {
            let titles = titles.join(", ");
            return Err(self.wrong(format!("published: no column {value:?}; there are: {titles}")));
        }
        let cells = self.cells()?;
        let missing = |target: &&Target| {
            let cell = |cell: &Cell| cell.arm == target.arm && holds(&target.at, &cell.at);
            cells.iter().filter(|known| cell(known)).count() != 1
        };
        if let Some(Target { arm, at, .. }) = self.targets.iter().find(missing) {
            return Err(self.wrong(format!("the target of {arm:?} at {at} is not of one cell")));
        }
        self.quick_cells().map(drop)
    }

    /// Seeds of an arm.
    pub(crate) fn seeds(&self, arm: &str) -> Vec<u64> {
        let own = self.arms.iter().find(|known| known.name == arm).and_then(|arm| arm.seeds);
        (1..=own.unwrap_or(self.seeds)).collect()
    }

    /// The last axis, along a table's columns.
    ///
    /// # Errors
    /// Those of [`Self::axes`].
    pub(crate) fn columns(&self) -> Result<Axis, Error> {
        let none = || Axis { name: "result".to_owned(), values: Vec::new() };
        Ok(self.axes()?.pop().unwrap_or_else(none))
    }

    /// The axes of the grid, in the file's order of names.
    pub(crate) fn axes(&self) -> Result<Vec<Axis>, Error> {
        let axis = |(name, values): (&String, &Value)| match values {
            Value::Array(values) if !values.is_empty() => {
                Ok(Axis { name: name.clone(), values: values.clone() })
            }
            _ => Err(self.wrong(format!("grid.{name} must be a list with at least one value"))),
        };
        self.grid.iter().map(axis).collect()
    }

    /// All cells, arm by arm.
    pub(crate) fn cells(&self) -> Result<Vec<Cell>, Error> {
        let positions = self.positions()?;
        let pairs = self.arms.iter().flat_map(|arm| positions.iter().map(move |at| (arm, at)));
        pairs.map(|(arm, at)| self.cell(arm, at, &Table::new())).collect()
    }

    /// The cells of the short form: every arm, at the first position.
    pub(crate) fn quick_cells(&self) -> Result<Vec<Cell>, Error> {
        let positions = self.positions()?;
        let first = positions.first().cloned().unwrap_or_default();
        self.arms.iter().map(|arm| self.cell(arm, &first, &self.quick)).collect()
    }

    fn positions(&self) -> Result<Vec<Position>, Error> {
        let mut positions = vec![Position::new()];
        for Axis { name, values } in self.axes()? {
            let with = |at: &Position, value: &Value| {
                let mut at = at.clone();
                at.insert(name.clone(), value.clone());
                at
            };
            let each = |at: Position| values.iter().map(|v| with(&at, v)).collect::<Vec<_>>();
            positions = positions.into_iter().flat_map(each).collect();
        }
        Ok(positions)
    }

    fn cell(&self, arm: &Arm, at: &Position, last: &Table) -> Result<Cell, Error> {
        let mut table = self.settings.clone();
        table.extend(at.clone());
        for when in self.when.iter().filter(|when| holds(&when.at, at)) {
            table.extend(when.settings.clone());
        }
        table.extend(arm.settings.clone());
        table.extend(last.clone());
        let described = |error: toml::de::Error| {
            self.wrong(format!("arm {:?} at {}: {}", arm.name, shown(at), error.message()))
        };
        let settings = Settings::deserialize(Value::Table(table)).map_err(described)?;
        let cell = Cell { arm: arm.name.clone(), at: at.clone(), settings };
        cell.settings.check().map_err(|error| self.wrong(format!("arm {cell}: {error}")))?;
        Ok(cell)
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Experiment { path: self.path.clone(), reason }
    }
}

impl Axis {
    /// Titles of its columns.
    pub(crate) fn titles(&self) -> Vec<String> {
        match self.values.as_slice() {
            [] => vec!["accuracy".to_owned()],
            values => values.iter().map(plain).collect(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arm)?;
        if !self.at.is_empty() {
            write!(f, " {}", shown(&self.at))?;
        }
        f.write_str(self.settings.warning())
    }
}

impl Cell {
    /// File of its result, below the folder of results.
    pub(crate) fn file(&self, experiment: &str) -> PathBuf {
        let place = self.at.iter().map(|(key, value)| format!("-{key}-{}", plain(value)));
        Path::new(experiment).join(format!("{}{}.json", self.arm, place.collect::<String>()))
    }
}

/// Whether every setting that is `given` has its value at a position.
pub(crate) fn holds<'a>(
    given: impl IntoIterator<Item = (&'a String, &'a Value)>,
    at: &Position,
) -> bool {
    given.into_iter().all(|(key, value)| at.get(key) == Some(value))
}

/// A value of the grid as people write it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A position in words.
pub(crate) fn shown(at: &Position) -> String {
    let parts: Vec<String> =
        at.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    parts.join(" ")
}

/// All experiments of a folder, by name.
///
/// # Errors
/// Those of [`Experiment::read`], and a folder that cannot be read.
pub(crate) fn all(folder: &Path) -> Result<Vec<Experiment>, Error> {
    files(folder)?.iter().map(|path| Experiment::read(path)).collect()
}

/// One experiment of a folder; the others need not be in order.
///
/// # Errors
/// As [`all`]; for a name that is not there, those that are.
pub(crate) fn one(folder: &Path, name: &str) -> Result<Experiment, Error> {
    let files = files(folder)?;
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(path) = files.iter().find(|path| stem(path) == name) {
        return Experiment::read(path);
    }
    let known = files.iter().map(stem).collect::<Vec<_>>().join(", ");
    Err(Error::Unknown { what: "experiment", name: name.to_owned(), known })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        title = "T"
        text = "t"
        seeds = 2
        baseline = "plain"
        [settings]
        data = "digits"
        model = "linear"
        epsilon = 1
        batch = 100
        rounds = 3
        clip = 1.0
        learning-rate = 1.0
        [grid]
        epsilon = [1, 4]
        momentum = [0.0, 0.5]
        [[when]]
        at = { epsilon = 4 }
        settings = { clip = 0.5 }
        [[arm]]
        name = "plain"
        label = "Plain"
        [[arm]]
        name = "masked"
        label = "Masked"
        seeds = 1
        settings = { retention = "0.5", warmup = 0.5, clip = 0.25 }
        [quick]
        rounds = 1
    "#;

    fn read(text: &str) -> Result<Experiment, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.toml");
        std::fs::write(&path, text).unwrap();
        Experiment::read(&path)
    }

    #[test]
    fn a_cell_has_what_its_arm_says_over_its_place_over_what_all_share() {
        let experiment = read(TEXT).unwrap();
        let cells = experiment.cells().unwrap();
        assert_eq!(cells.len(), 8);
        let clips: Vec<f64> = cells.iter().map(|cell| cell.settings.clip).collect();
        assert_eq!(clips, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]);
        assert_eq!(cells[3].settings.momentum, 0.5);
        let file = cells[3].file(&experiment.name);
        assert_eq!(file, Path::new("some/plain-epsilon-4-momentum-0.5.json"));
        let quick = experiment.quick_cells().unwrap();
        assert_eq!(quick.len(), 2);
        assert_eq!((quick[1].settings.epsilon, quick[1].settings.rounds), (1.0, Some(1)));
    }

    #[test]
    fn an_experiment_is_read_beside_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("some.toml"), TEXT).unwrap();
        std::fs::write(folder.path().join("other.toml"), "title = 1").unwrap();
        let experiment = one(folder.path(), "some").unwrap();
        assert_eq!((experiment.seeds("plain"), experiment.seeds("masked")), (vec![1, 2], vec![1]));
        let error = all(folder.path()).unwrap_err().to_string();
        assert!(error.contains("other.toml"), "{error}");
        let error = one(folder.path(), "third").unwrap_err().to_string();
        assert!(error.contains("\"third\"; there are: other, some"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_the_file_and_the_arm() {
        let wrong = |from: &str, to: &str| read(&TEXT.replace(from, to)).unwrap_err().to_string();
        let text = wrong("retention =", "retentoin =");
        assert!(text.contains("some.toml") && text.contains("masked"), "{text}");
        assert!(text.contains("retentoin"), "{text}");
        assert!(wrong("baseline = \"plain\"", "baseline = \"x\"").contains("is no arm"));
        let target = "[quick]\n[[target]]\narm = \"plain\"\nleast = 9\nof = \"x\"\n[quick]";
        let target = target.replacen("[quick]\n", "", 1);
        assert!(wrong("[quick]", &target).contains("not of one cell"));
        assert!(wrong("[1, 4]", "[]").contains("grid.epsilon"));
        assert!(wrong("name = \"masked\"", "name = \"plain\"").contains("two arms"));
        assert!(
            wrong("at = { epsilon = 4 }", "at = { epsilon = 4.0 }").contains("no such position")
        );
        assert!(wrong("clip = 0.25", "epsilon = 4").contains("epsilon is an axis"));
        let published = "[[published]]\nlabel = \"P\"\nvalues = { 4 = 1 }\n[quick]";
        assert!(wrong("[quick]", published).contains("no column \"4\"; there are: 0.0, 0.5"));
        assert!(wrong("clip = 0.25", "epochs = 1").contains("epochs and rounds"));
        assert!(wrong("retention = \"0.5\"", "retention = \"2\"").contains("masked"));
    }
}
