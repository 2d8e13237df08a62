//! Where a setting comes from: command line before environment before file before default.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::ServerConfig;
use super::keys::{self, Key, OTHER_VARIABLES, PREFIX};
use super::settings::{Settings, refuse};
use crate::Error;

/// Where one value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere.
    Default,
    /// In this line of the file.
    File(PathBuf, usize),
    /// In this environment variable.
    Environment(String),
    /// In this flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One value of one key.
#[derive(Clone)]
pub(crate) struct Entry {
    key: &'static Key,
    value: Value,
    origin: Origin,
}

impl Entry {
    /// What a flag says about the key of that name.
    pub(crate) fn flag(name: &str, value: impl Into<Value>, flag: &'static str) -> Option<Self> {
        Some(Self { key: Key::find(name)?, value: value.into(), origin: Origin::Flag(flag) })
    }

    /// Checks the value by itself, so that a message can say where it stands.
    fn check(&self) -> Result<(), Error> {
        let mut alone = Table::new();
        put(&mut alone, self.key, self.value.clone());
        alone.try_into::<Settings>().map(drop).or_else(|e| {
            let (name, origin, reason) = (self.key.name, &self.origin, e.message());
            refuse(format!("{origin}: the value of `{name}` is wrong: {reason}"))
        })
    }
}

/// The configuration in force, and where each part of it comes from.
#[derive(Debug)]
pub(crate) struct Effective {
    /// All of it.
    pub(crate) settings: Settings,
    origins: Vec<(&'static Key, Origin)>,
}

impl Effective {
    /// Puts file, environment and command line together.
    ///
    /// # Errors
    /// [`Error::Config`] says what is wrong, where, and which key may have been meant.
    pub(crate) fn of(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<Entry>,
    ) -> Result<Self, Error> {
        let in_file = file.map(read).transpose()?.unwrap_or_default();
        let layers = [in_file, from_environment(environment)?, flags];
        let (mut table, mut origins) = (Table::new(), Vec::new());
        for layer in layers {
            for entry in layer {
                entry.check()?;
                one_token(&mut table, &mut origins, &entry);
                put(&mut table, entry.key, entry.value);
                origins.push((entry.key, entry.origin));
            }
        }
        let settings = table
            .try_into()
            .or_else(|e| refuse(format!("the parts do not fit together: {}", e.message())))?;
        Ok(Self { settings, origins })
    }

    /// Where the key's value comes from.
    pub(crate) fn origin(&self, key: &Key) -> &Origin {
        let found = self.origins.iter().rev().find(|(known, _)| *known == key);
        found.map_or(&Origin::Default, |(_, origin)| origin)
    }

    /// Settings of a server, in range.
    ///
    /// # Errors
    /// Those of [`Settings::server`], with the place of what is out of range.
    pub(crate) fn server(&self) -> Result<ServerConfig, Error> {
        self.settings.server().map_err(|e| match e {
            Error::Setting { name, expected } => {
                Error::Config { reason: self.out_of_range(name, expected) }
            }
            e => e,
        })
    }

    fn out_of_range(&self, name: &str, expected: &str) -> String {
        let plain = name.replace(' ', "_");
        let called = |key: &&(&'static Key, Origin)| {
            let last = key.0.parts().1;
            last == plain || last.strip_prefix(plain.as_str()).is_some_and(|unit| unit == "_ms")
        };
        match self.origins.iter().rev().find(called) {
            Some((key, origin)) => {
                format!("{origin}: `{}` is out of range, expected {expected}", key.name)
            }
            None => format!("the {name} is out of range, expected {expected}"),
        }
    }
}

/// A token of a stronger layer takes the place of a token's file of a weaker one, and the other
/// way round; the two in one layer contradict each other.
fn one_token(table: &mut Table, origins: &mut Vec<(&'static Key, Origin)>, entry: &Entry) {
    let other = match entry.key.name {
        "admin_token" => "admin_token_file",
        "admin_token_file" => "admin_token",
        _ => return,
    };
    let layer = std::mem::discriminant(&entry.origin);
    let weaker = |(key, origin): &(&Key, Origin)| {
        key.name == other && std::mem::discriminant(origin) != layer
    };
    if origins.iter().any(weaker) {
        table.remove(other);
        origins.retain(|known| !weaker(known));
    }
}

fn put(table: &mut Table, key: &Key, value: Value) {
    let (section, name) = key.parts();
    if section.is_empty() {
        table.insert(name.to_owned(), value);
        return;
    }
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}

fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .or_else(|e| refuse(format!("{shown} cannot be read: {e}; see --config")))?;
    from_file(path, &text)
}

/// The entries of a file.
pub(super) fn from_file(path: &Path, text: &str) -> Result<Vec<Entry>, Error> {
    let file = File { path, text };
    // The message alone: the whole error repeats the line, which may hold a token.
    let malformed = |e: toml::de::Error| -> Error {
        file.error(&e.span().unwrap_or(0..0), &format!("it is no TOML: {}", e.message()))
    };
    let places = DeTable::parse(text).map_err(malformed)?;
    let values: Table = text.parse().map_err(malformed)?;
    let mut entries = Vec::new();
    for (name, place) in places.get_ref() {
        let value = values.get(name.get_ref().as_ref());
        file.item("", name, place, value, &mut entries)?;
    }
    Ok(entries)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn item(
        &self,
        section: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        place: &Spanned<DeValue<'_>>,
        value: Option<&Value>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let dot = if section.is_empty() { "" } else { "." };
        let full = format!("{section}{dot}{}", name.get_ref());
        let line = self.line(&name.span());
        match (Key::find(&full), place.get_ref(), value) {
            (Some(key), _, Some(value)) => {
                let origin = Origin::File(self.path.to_owned(), line);
                entries.push(Entry { key, value: value.clone(), origin });
                Ok(())
            }
            (None, DeValue::Table(inner), Some(Value::Table(values)))
                if section.is_empty() && (keys::is_section(&full) || !inner.is_empty()) =>
            {
                inner.iter().try_for_each(|(name, place)| {
                    self.item(&full, name, place, values.get(name.get_ref().as_ref()), entries)
                })
            }
            _ if keys::is_section(&full) => {
                Err(self.error(&name.span(), &format!("`{full}` is a section, write `[{full}]`")))
            }
            _ => Err(self.error(&name.span(), &unknown(&full))),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn error(&self, span: &Range<usize>, reason: &str) -> Error {
        let place = format!("{}, line {}", self.path.display(), self.line(span));
        Error::Config { reason: format!("{place}: {reason}") }
    }
}

fn unknown(name: &str) -> String {
    let name = name.escape_debug();
    format!("key `{name}` is unknown; did you mean `{}`?", keys::nearest(&name.to_string()).name)
}

/// The entries of the environment. An empty variable is as good as none.
fn from_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Entry>, Error> {
    let ours = environment.into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        (!belongs_to_others(&name) && !value.is_empty()).then_some((name, value))
    });
    ours.map(|(name, value)| variable(name, value)).collect()
}

fn belongs_to_others(name: &str) -> bool {
    OTHER_VARIABLES.iter().any(|other| match other.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *other,
    })
}

fn variable(name: String, value: OsString) -> Result<Entry, Error> {
    let Some(key) = keys::KEYS.iter().find(|key| key.variable() == name) else {
        let meant = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        let nearest = keys::nearest(&meant).variable();
        return refuse(format!("{name}: no setting has this variable; did you mean {nearest}?"));
    };
    let Ok(text) = value.into_string() else {
        return refuse(format!("{name}: the value is no UTF-8 text"));
    };
    let origin = Origin::Environment(name);
    let entry = |value| Entry { key, value, origin: origin.clone() };
    // The environment has no types: text is taken for what the key takes.
    let readings = [
        Some(Value::String(text.clone())),
        text.parse().ok().map(Value::Integer),
        text.parse().ok().map(Value::Boolean),
    ];
    let mut entries: Vec<Entry> = readings.into_iter().flatten().map(entry).collect();
    let fits = entries.iter().position(|entry| entry.check().is_ok());
    Ok(entries.swap_remove(fits.unwrap_or(0)))
}
