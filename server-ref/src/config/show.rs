//! The configuration as TOML: the example, and what is in force.

use serde_json::json;
use toml::{Table, Value};

use super::keys::{KEYS, Key, OTHER_VARIABLES};
use super::settings::Settings;
use super::sources::{Effective, Origin};

const HEAD: &str = "\
# Configuration of adafed-server, with every key and its default.
#
# Each key can also be set by an environment variable, whose name is ADAFED_ and the key in
# capitals, with two underscores between section and key: listen is ADAFED_LISTEN, and
# max_body_bytes of [limits] is ADAFED_LIMITS__MAX_BODY_BYTES. An empty variable counts as not
# set. The command line goes before the environment, the environment before this file, this
# file before the defaults. Paths are relative to the folder the server is started in.
";

/// An example with every key: those that have a default hold it, the others are commented out.
pub(crate) fn example() -> String {
    let defaults = table(&Settings::default());
    HEAD.to_owned()
        + &by_section(|key| {
            let name = key.parts().1;
            let line = match find(&defaults, key) {
                Some(value) => format!("{name} = {value}"),
                None => format!("# {name} = {}", key.example),
            };
            format!("# {}\n{line}\n\n", key.about)
        })
}

/// What is in force, each line with where it comes from. Secrets are hidden.
pub(crate) fn effective(effective: &Effective) -> String {
    let values = table(&effective.settings);
    by_section(|key| {
        let name = key.parts().1;
        match (find(&values, key), effective.origin(key)) {
            (Some(value), origin) => format!("{name} = {value}  # {origin}\n"),
            (None, _) => format!("# {name} is not set\n"),
        }
    })
}

/// As [`effective`], for programs.
pub(crate) fn effective_json(effective: &Effective) -> serde_json::Value {
    let values = table(&effective.settings);
    let one = |key: &Key| {
        let from = match effective.origin(key) {
            Origin::Default => "default",
            Origin::File(..) => "file",
            Origin::Environment(_) => "environment",
            Origin::Flag(_) => "flag",
        };
        let place = effective.origin(key).to_string();
        let value = find(&values, key);
        json!({ "key": key.name, "value": value, "from": from, "place": place })
    };
    KEYS.iter().map(one).collect()
}

/// The variables, for people: keys, then those of other commands.
pub(crate) fn variables() -> String {
    let keys = KEYS.iter().map(|key| format!("  {:42}{}\n", key.variable(), key.name));
    let others = OTHER_VARIABLES.join(", ");
    format!("Keys and their variables:\n{}\nNot settings: {others}", keys.collect::<String>())
}

fn by_section(line: impl Fn(&Key) -> String) -> String {
    let (mut out, mut current) = (String::new(), "");
    for key in KEYS {
        let section = key.parts().0;
        if section != current {
            out = format!("{}\n\n[{section}]\n", out.trim_end());
            current = section;
        }
        out += &line(key);
    }
    out.trim_end().to_owned() + "\n"
}

fn table(settings: &Settings) -> Table {
    Table::try_from(settings).unwrap_or_default()
}

fn find(table: &Table, key: &Key) -> Option<Value> {
    let (section, name) = key.parts();
    if section.is_empty() { table.get(name) } else { table.get(section)?.get(name) }.cloned()
}
