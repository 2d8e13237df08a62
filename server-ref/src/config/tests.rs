use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Value;

use super::keys::{KEYS, Key};
use super::settings::{Log, LogFormat, Secret, Settings, TlsFiles};
use super::sources::{Effective, Entry, Origin, from_file};
use super::{Database, Limits, effective, effective_json, example, variables};

const TOKEN: &str = "a token nobody may see";

/// Two values of a key, other than its default.
fn samples(key: &Key) -> [Value; 2] {
    let text = |[a, b]: [&str; 2]| [Value::from(a), Value::from(b)];
    match key.name {
        "listen" => text(["127.0.0.1:1", "[::1]:2"]),
        "database" => text(["a.sqlite", "b.sqlite"]),
        "admin_token" => text(["1234567890123456", "6543210987654321"]),
        "admin_token_file" | "tls.certificates" | "tls.key" | "tls.client_authorities" => {
            text(["a", "b"])
        }
        "open_reading" => [true.into(), false.into()],
        "log.filter" => text(["debug", "adafed_server=trace"]),
        "log.format" => text(["json", "text"]),
        _ => [3.into(), 5.into()],
    }
}

/// The value of a key, secrets included.
fn value(effective: &Effective, key: &Key) -> String {
    if key.name == "admin_token" {
        return effective.settings.admin_token.clone().map_or(String::new(), |t| t.0);
    }
    let all = effective_json(effective);
    let found = all.as_array().unwrap().iter().find(|one| one["key"] == key.name).unwrap();
    found["value"].as_str().map_or_else(|| found["value"].to_string(), str::to_owned)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn line(key: &Key, value: &Value) -> String {
    match key.parts() {
        ("", name) => format!("{name} = {value}\n"),
        (section, name) => format!("[{section}]\n{name} = {value}\n"),
    }
}

fn variable(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

/// A file in a folder of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adafed.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn of_file(text: &str) -> Result<Effective, String> {
    let (_folder, path) = file(text);
    Effective::of(Some(&path), [], vec![]).map_err(|e| e.to_string())
}

fn of_environment(name: &str, value: &str) -> Result<Effective, String> {
    Effective::of(None, [variable(name, value)], vec![]).map_err(|e| e.to_string())
}

fn full() -> Settings {
    let path = Some(PathBuf::from("x"));
    Settings {
        listen: ([127, 0, 0, 1], 1).into(),
        database: Database::from("x"),
        admin_token: Some(Secret(TOKEN.into())),
        admin_token_file: path.clone(),
        open_reading: true,
        max_database_mib: Some(1),
        tick_ms: 1,
        limits: Limits::default(),
        tls: TlsFiles { certificates: path.clone(), key: path.clone(), client_authorities: path },
        log: Log { filter: "x".into(), format: LogFormat::Json },
    }
}

#[test]
fn every_setting_is_a_key_and_every_key_a_setting() {
    let mut names = BTreeSet::new();
    for (name, value) in toml::Table::try_from(full()).unwrap() {
        match value {
            Value::Table(inner) => names.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            _ => _ = names.insert(name),
        }
    }
    assert_eq!(names, KEYS.iter().map(|key| key.name.to_owned()).collect());
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_default() {
    for key in KEYS {
        let [a, b] = samples(key);
        let (_folder, path) = file(&line(key, &a));
        let (name, flag) = (key.variable(), |v: &Value| Entry::flag(key.name, v.clone(), "--x"));
        let environment = |v: &Value| Some(variable(&name, &plain(v)));
        for (in_file, in_environment, in_flag, expected, from) in [
            (true, None, None, &a, "adafed.toml, line "),
            (false, environment(&a), None, &a, name.as_str()),
            (false, None, flag(&a), &a, "--x"),
            (true, environment(&b), None, &b, name.as_str()),
            (true, environment(&a), flag(&b), &b, "--x"),
        ] {
            let file = in_file.then_some(path.as_path());
            let found = Effective::of(file, in_environment, in_flag.into_iter().collect());
            let found = found.unwrap_or_else(|e| panic!("{}: {e}", key.name));
            assert_eq!(value(&found, key), plain(expected), "{}", key.name);
            let origin = found.origin(key).to_string();
            assert!(origin.contains(from), "{}: {origin}", key.name);
        }
        let untouched = Effective::of(None, [], vec![]).unwrap();
        assert_eq!(untouched.origin(key), &Origin::Default, "{}", key.name);
        assert_eq!(untouched.settings, Settings::default());
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_key_that_was_meant() {
    for (text, line, key, meant) in [
        ("\nlisen = 1", 2, "lisen", "`listen`"),
        ("[limits]\n\nmax_bodybytes = 1", 3, "limits.max_bodybytes", "`limits.max_body_bytes`"),
        ("[limit]\nmax_body_bytes = 1", 2, "limit.max_body_bytes", "`limits.max_body_bytes`"),
        ("limits.max_bytes = 1", 1, "limits.max_bytes", "`limits.max_body_bytes`"),
        ("[other]", 1, "other", "?"),
        ("tls = 1", 1, "`tls` is a section", "`[tls]`"),
    ] {
        let error = of_file(text).unwrap_err();
        for part in ["adafed.toml", &format!("line {line}:"), key, meant] {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
    let error = of_environment("ADAFED_LIMITS_MAX_BODY_BYTES", "1").unwrap_err();
    assert!(error.contains("did you mean ADAFED_LIMITS__MAX_BODY_BYTES"), "{error}");
    for other in ["ADAFED_SERVER", "ADAFED_TOKEN", "ADAFED_TEST_X", "ADAFED_OTLP_ENDPOINT", "PATH"]
    {
        assert!(of_environment(other, "x").is_ok(), "{other}");
    }
}

#[test]
fn wrong_values_are_refused_with_their_place_and_key() {
    for (text, parts) in [
        ("listen = 8080", ["line 1", "`listen`"]),
        ("\n[limits]\nmax_body_bytes = -1", ["line 3", "`limits.max_body_bytes`"]),
        ("open_reading = \"yes\"", ["line 1", "`open_reading`"]),
        ("[log]\nformat = \"xml\"", ["line 2", "`log.format`"]),
        ("listen = ", ["line 1", "no TOML"]),
        ("a = 1\nlisten = \"x\"\nlisten = \"y\"", ["line 3", "no TOML"]),
    ] {
        let error = of_file(text).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
    let error = of_environment("ADAFED_TICK_MS", "soon").unwrap_err();
    assert!(error.contains("ADAFED_TICK_MS: the value of `tick_ms` is wrong"), "{error}");
}

#[test]
fn values_out_of_range_are_refused_with_their_place_and_key() {
    let token = "admin_token = \"1234567890123456\"\n";
    for (text, parts) in [
        (format!("{token}tick_ms = 0"), ["line 2", "`tick_ms`"]),
        (format!("{token}[limits]\nconcurrent_uploads = 0"), ["line 3", "`limits.concurrent_up"]),
        ("admin_token = \"short\"".to_owned(), ["line 1", "`admin_token`"]),
        (format!("{token}[tls]\nkey = \"x\""), ["tls.certificates", "tls.key"]),
        (String::new(), ["ADAFED_ADMIN_TOKEN", "admin_token_file"]),
        (format!("{token}admin_token_file = \"x\""), ["both", "admin_token"]),
    ] {
        let error = of_file(&text).unwrap().server().unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        assert!(!error.contains("short"), "{error}");
    }
}

#[test]
fn a_token_may_come_from_a_file_and_a_stronger_layer_replaces_it() {
    let (_folder, secret) = file(&format!("  {TOKEN}\r\n"));
    let named = secret.to_str().unwrap();
    let from_file = of_environment("ADAFED_ADMIN_TOKEN_FILE", named).unwrap().server().unwrap();
    assert_eq!(from_file.admin_token, TOKEN);
    let (_other, path) = file("admin_token = \"the token of the file\"");
    let environment = [variable("ADAFED_ADMIN_TOKEN_FILE", named)];
    let replaced = Effective::of(Some(&path), environment, vec![]).unwrap().server().unwrap();
    assert_eq!(replaced.admin_token, TOKEN);
    let missing = of_environment("ADAFED_ADMIN_TOKEN_FILE", "/nowhere").unwrap().server();
    assert!(missing.unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn an_empty_variable_is_none() {
    assert_eq!(of_environment("ADAFED_LISTEN", "").unwrap().settings, Settings::default());
}

#[test]
fn secrets_are_never_shown() {
    let text = format!(
        "admin_token = \"{TOKEN}\"\ndatabase = \"postgres://me:hunter1@host/db?key=hunter2\""
    );
    let found = of_file(&text).unwrap();
    let shown = [
        effective(&found),
        effective_json(&found).to_string(),
        format!("{found:?}"),
        format!("{:?}", found.server().unwrap()),
    ];
    for shown in shown {
        assert!(!shown.contains(TOKEN) && !shown.contains("hunter"), "{shown}");
    }
    // Messages about a value must not repeat it either.
    for (text, secret) in [
        ("admin_token = 123456789", "123456789"),
        ("admin_token = \"secret-text", "secret-text"),
        ("admin_tokn = \"secret-text\"", "secret-text"),
        ("admin_token = [\"secret-text\"]", "secret-text"),
        ("database = [\"secret-text\"]", "secret-text"),
    ] {
        let error = of_file(text).unwrap_err();
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn what_is_shown_is_a_configuration_again() {
    let found = of_file("tick_ms = 7\n[limits]\nconcurrent_uploads = 9").unwrap();
    let again = of_file(&effective(&found)).unwrap();
    assert_eq!(again.settings, found.settings);
}

#[test]
fn the_example_is_the_default_and_lists_every_key() {
    let text = example();
    assert_eq!(of_file(&text).unwrap().settings, Settings::default());
    let uncommented: String = text
        .lines()
        .filter(|line| line.contains(" = "))
        .fold(String::new(), |out, line| out + line.trim_start_matches("# ") + "\n");
    for key in KEYS {
        let name = key.parts().1;
        assert!(uncommented.contains(&format!("{name} = ")), "{}", key.name);
        assert!(text.contains(key.about), "{}", key.name);
    }
}

#[test]
fn every_example_of_a_key_is_a_value_of_it() {
    for key in KEYS {
        let value: toml::Table = format!("x = {}", key.example).parse().unwrap();
        from_file(Path::new("x"), &line(key, &value["x"])).unwrap();
        of_file(&line(key, &value["x"])).unwrap();
    }
}

#[test]
fn help_and_manual_list_every_key_and_variable() {
    let manual = include_str!("../../../docs/OPERATIONS.md");
    let help = variables();
    for key in KEYS {
        for text in [manual, &help] {
            assert!(text.contains(key.name), "{}", key.name);
            assert!(text.contains(&key.variable()), "{}", key.variable());
        }
    }
}
