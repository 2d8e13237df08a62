//! UCI Adult: the census record of a person, and whether they earn above 50,000 dollars
//! (Becker and Kohavi, 1996).
//!
//! Numbers are scaled by constants and categories are those that `adult.names` publishes, so
//! that an example's features depend on no other example.

use std::path::Path;

use super::file::{find, read_text};
use super::{Error, Examples};

const CLASSES: usize = 2;

/// What a column becomes.
enum Column {
    /// Nothing: it says how many people a record stands for.
    Weight,
    /// `x / top`.
    Share { name: &'static str, top: f32 },
    /// `ln(1 + x) / 10`: dollars, mostly 0, up to five digits.
    Dollars { name: &'static str },
    /// One of these values, or `?`, which comes last: one number each, 1 where it holds.
    Category { name: &'static str, values: &'static [&'static str] },
}

use Column::{Category, Dollars, Share, Weight};

/// The columns in the order of the file; after them stands the label.
const COLUMNS: [Column; 14] = [
    Share { name: "age", top: 100.0 },
    Category {
        name: "workclass",
        values: &[
            "Private",
            "Self-emp-not-inc",
            "Self-emp-inc",
            "Federal-gov",
            "Local-gov",
            "State-gov",
            "Without-pay",
            "Never-worked",
        ],
    },
    Weight,
    Category {
        name: "education",
        values: &[
            "Bachelors",
            "Some-college",
            "11th",
            "HS-grad",
            "Prof-school",
            "Assoc-acdm",
            "Assoc-voc",
            "9th",
            "7th-8th",
            "12th",
            "Masters",
            "1st-4th",
            "10th",
            "Doctorate",
            "5th-6th",
            "Preschool",
        ],
    },
    Share { name: "education-num", top: 16.0 },
    Category {
        name: "marital-status",
        values: &[
            "Married-civ-spouse",
            "Divorced",
            "Never-married",
            "Separated",
            "Widowed",
            "Married-spouse-absent",
            "Married-AF-spouse",
        ],
    },
    Category {
        name: "occupation",
        values: &[
            "Tech-support",
            "Craft-repair",
            "Other-service",
            "Sales",
            "Exec-managerial",
            "Prof-specialty",
            "Handlers-cleaners",
            "Machine-op-inspct",
            "Adm-clerical",
            "Farming-fishing",
            "Transport-moving",
            "Priv-house-serv",
            "Protective-serv",
            "Armed-Forces",
        ],
    },
    Category {
        name: "relationship",
        values: &["Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried"],
    },
    Category {
        name: "race",
        values: &["White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"],
    },
    Category { name: "sex", values: &["Female", "Male"] },
    Dollars { name: "capital-gain" },
    Dollars { name: "capital-loss" },
    Share { name: "hours-per-week", top: 100.0 },
    Category {
        name: "native-country",
        values: &[
            "United-States",
            "Cambodia",
            "England",
            "Puerto-Rico",
            "Canada",
            "Germany",
            "Outlying-US(Guam-USVI-etc)",
            "India",
            "Japan",
            "Greece",
            "South",
            "China",
            "Cuba",
            "Iran",
            "Honduras",
            "Philippines",
            "Italy",
            "Poland",
            "Jamaica",
            "Vietnam",
            "Mexico",
            "Portugal",
            "Ireland",
            "France",
            "Dominican-Republic",
            "Laos",
            "Ecuador",
            "Taiwan",
            "Haiti",
            "Columbia",
            "Hungary",
            "Guatemala",
            "Nicaragua",
            "Scotland",
            "Thailand",
            "Yugoslavia",
            "El-Salvador",
            "Trinadad&Tobago",
            "Peru",
            "Hong",
            "Holand-Netherlands",
        ],
    },
];

/// Reads the training set (`adult.data`) and the test set (`adult.test`) of UCI Adult.
/// Examples have shape `[112]`, label 1 stands for more than 50,000 dollars (24 % of them).
///
/// | column | features |
/// | --- | --- |
/// | age, hours-per-week | `x / 100` |
/// | education-num | `x / 16`, the number of its levels |
/// | capital-gain, capital-loss | `ln(1 + x) / 10` |
/// | fnlwgt | none |
/// | any other | one for each value that `adult.names` lists, and one for `?` |
///
/// The constants are public: nothing is computed over the examples.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Read`] about the environment; [`Error::Line`] about the first
/// line that is no record, with its column.
///
/// # Edge cases
/// | line | result |
/// | --- | --- |
/// | blank, or a comment that begins with a bar | left out |
/// | a label with a full stop, as `adult.test` has it | read as without |
/// | a value that `adult.names` does not list | [`Error::Line`] |
pub fn load_adult(directory: &Path) -> Result<(Examples, Examples), Error> {
    // Both are found before the first is read, so a missing one is told at once.
    let file = |name: &str| find(directory, &[name.to_owned(), format!("{name}.gz")]);
    let (train, test) = (file("adult.data")?, file("adult.test")?);
    Ok((read(&train)?, read(&test)?))
}

fn read(path: &Path) -> Result<Examples, Error> {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for (number, line) in read_text(path)?.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('|') {
            continue;
        }
        let refused = |what| Error::Line { path: path.to_owned(), line: number + 1, what };
        labels.push(record(line, &mut inputs).map_err(refused)?);
    }
    let width = COLUMNS.iter().map(Column::width).sum();
    Examples::new(vec![width], inputs, labels, CLASSES)
}

/// Appends a record's features and gives its label, or the column at fault.
fn record(line: &str, features: &mut Vec<f32>) -> Result<u32, &'static str> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [values @ .., label] = &fields[..] else { return Err("number of columns") };
    if values.len() != COLUMNS.len() {
        return Err("number of columns");
    }
    for (column, value) in COLUMNS.iter().zip(values) {
        column.write(value, features)?;
    }
    match label.strip_suffix('.').unwrap_or(label) {
        "<=50K" => Ok(0),
        ">50K" => Ok(1),
        _ => Err("income"),
    }
}

impl Column {
    const fn width(&self) -> usize {
        match self {
            Weight => 0,
            Share { .. } | Dollars { .. } => 1,
            Category { values, .. } => values.len() + 1,
        }
    }

    fn write(&self, value: &str, features: &mut Vec<f32>) -> Result<(), &'static str> {
        let number = |name| value.parse::<u32>().map(|x| x as f32).map_err(|_| name);
        match *self {
            Weight => {}
            Share { name, top } => features.push(number(name)? / top),
            Dollars { name } => features.push(number(name)?.ln_1p() / 10.0),
            Category { name, values } => {
                let known = values.iter().position(|known| *known == value);
                let unknown = (value == "?").then_some(values.len());
                let place = known.or(unknown).ok_or(name)?;
                features.extend((0..=values.len()).map(|i| f32::from(u8::from(i == place))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{folder, real};
    use super::*;

    const RECORD: &str = "50, Private, 83311, Bachelors, 8, Divorced, Sales, Wife, White, Female, \
                          0, 9, 40, ?, <=50K\n";

    fn load(data: &str, test: &str) -> Result<(Examples, Examples), Error> {
        load_adult(folder(&[("adult.data", data), ("adult.test", test)]).path())
    }

    #[test]
    fn a_record_becomes_scaled_numbers_and_one_hot_categories() {
        let rich = RECORD.replace("<=50K", ">50K.");
        let (train, test) = load(RECORD, &format!("|1x3 Cross validator\n{rich}\n\n")).unwrap();
        assert_eq!((train.shape(), train.len(), train.classes()), (&[112][..], 1, 2));
        assert_eq!((train.labels(), test.labels()), (&[0][..], &[1][..]));
        assert_eq!(train.inputs(), test.inputs());
        let set: Vec<(usize, f32)> =
            train.inputs().iter().copied().enumerate().filter(|(_, x)| *x != 0.0).collect();
        let numbers = [(0, 0.5), (27, 0.5), (68, 10_f32.ln() / 10.0), (69, 0.4)];
        assert!(numbers.iter().all(|number| set.contains(number)), "{set:?}");
        // The last country's slot is that of `?`.
        let ones: Vec<usize> = set.iter().filter(|(_, x)| *x == 1.0).map(|(i, _)| *i).collect();
        assert_eq!(ones, [1, 10, 29, 39, 51, 58, 64, 111]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named_with_its_column() {
        let refusals = [
            ("50,", "-1,", "age"),
            ("50,", "", "number of columns"),
            ("Private", "Secret", "workclass"),
            ("?", "Atlantis", "native-country"),
            ("9, 40", "9.5, 40", "capital-loss"),
            ("<=50K", "50K", "income"),
        ];
        for (from, to, column) in refusals {
            let error = load(&format!("{RECORD}{}", RECORD.replace(from, to)), "").unwrap_err();
            let shown = error.to_string();
            assert!(
                matches!(error, Error::Line { line: 2, what, .. } if what == column),
                "{shown}"
            );
            assert!(shown.contains("adult.data") && shown.contains("line 2"), "{shown}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_adult(folder(&[("adult.data", RECORD)]).path()).unwrap_err();
        assert!(error.to_string().starts_with("adult.test is not in"), "{error}");
    }

    #[test]
    fn the_published_files_are_read_whole() {
        let Some(folder) = real("tabular", "adult.data") else { return };
        let (train, test) = load_adult(&folder).unwrap();
        assert_eq!((train.len(), test.len()), (32_561, 16_281));
        let rich = |set: &Examples| set.labels().iter().filter(|label| **label == 1).count();
        assert_eq!((rich(&train), rich(&test)), (7_841, 3_846));
    }
}
