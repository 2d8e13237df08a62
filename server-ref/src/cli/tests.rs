//! Commands against a server that records what it is asked and answers what it is told.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use adafed_wire::{CreateTask, MEDIA_TYPE, TaskSettings, decode};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clap::CommandFactory;
use serde_json::{Value, json};

use super::Cli;
use super::failure::EXIT_CODES;
use crate::testing::{D, plan};

const DEVICE: &str = "0123456789abcdef0123456789abcdef";

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    line: String,
    authorization: String,
    kind: String,
    body: Vec<u8>,
}

/// A server on a free port of this machine.
struct Fake {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Answers every request with the same status, headers and body.
    fn answering(status: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::new(move |_| (StatusCode::from_u16(status).unwrap(), body.clone()).into_response())
    }

    fn new(answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let record = asked.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (record, answer) = (record.clone(), answer.clone());
            async move {
                let asked = Asked::of(request).await;
                record.lock().unwrap().push(asked.clone());
                answer(&asked)
            }
        });
        let thread = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let stop = async { drop(stopped.await) };
                tokio::select! {
                    () = stop => {}
                    served = axum::serve(listener, app) => served.unwrap(),
                }
            });
        });
        let address = format!("http://{}", told.recv().unwrap());
        Self { address, asked, stop: Some(stop), thread: Some(thread) }
    }

    /// Runs a command against it.
    fn run(&self, command: &str) -> Ended {
        let words = command.split_whitespace();
        run(words.chain(["--server", &self.address, "--token", "the-token"]))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Asked {
    async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let header = |name| {
            let value = parts.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            value.unwrap_or_default()
        };
        let [authorization, kind] = ["authorization", "content-type"].map(header);
        let line = format!("{} {}", parts.method, parts.uri);
        let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Self { line, authorization, kind, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: u8,
    out: String,
    err: String,
}

fn run<'a>(words: impl IntoIterator<Item = &'a str>) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["adafed-server"].into_iter().chain(words).map(Into::into);
    let code = super::run(words, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code, out: text(out), err: text(err) }
}

/// A folder with a plan, its parameters and settings.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    write("plan.json", serde_json::to_value(plan("digits")).unwrap());
    write("parameters.json", vec![0.5; D].into());
    write("zeros.json", vec![0.0; D].into());
    write("settings.json", json!({ "device_epsilon_cap": 3.0 }));
    folder
}

fn status() -> Value {
    json!({
        "task": "digits", "state": "running", "round": 2, "rounds": 12, "phase": "collecting",
        "participants": 30, "reports": 7, "active_coordinates": 100, "parameters": 200,
        "epsilon": 1.00001, "epsilon_all_rounds": 4.0, "delta": 1e-5, "accountant": "rdp",
        "epsilon_next_round": 1.5, "settings": { "grace_ms": 5 },
        "plan": "00".repeat(32), "model": "11".repeat(32),
    })
}

fn device(name: &str) -> Value {
    json!({
        "device": name, "state": "active", "enrolled_ms": 0, "seen_ms": null,
        "version": "0.1.0\u{1b}[2J", "weight": 1, "rounds_charged": 3,
    })
}

#[test]
fn every_command_asks_what_the_interface_has_and_prints_it_as_it_is_on_request() {
    let digest = "ab".repeat(32);
    let task = "/v1/tasks/digits";
    for (command, line, body) in [
        ("task list", "GET /v1/tasks".to_owned(), Value::Null),
        ("task show digits", format!("GET {task}"), Value::Null),
        ("task pause digits", format!("POST {task}/pause"), Value::Null),
        ("task resume digits", format!("POST {task}/resume"), Value::Null),
        ("task cancel digits", format!("POST {task}/cancel"), Value::Null),
        ("round list digits", format!("GET {task}/rounds"), Value::Null),
        ("round show digits 3", format!("GET {task}/rounds/3"), Value::Null),
        ("privacy report digits", format!("GET {task}/privacy"), Value::Null),
        ("evaluation list digits", format!("GET {task}/evaluations"), Value::Null),
        (
            "evaluation report digits --round 3 --loss -0.5 --examples 10",
            format!("POST {task}/evaluations"),
            json!({ "round": 3, "loss": -0.5, "accuracy": null, "examples": 10 }),
        ),
        (&format!("device show {DEVICE}"), format!("GET /v1/devices/{DEVICE}"), Value::Null),
        (
            &format!("device revoke {DEVICE} --ban"),
            format!("POST /v1/devices/{DEVICE}/revoke"),
            json!({ "ban": true }),
        ),
        (
            "token create --uses 5 --expires 7d --weight 2",
            "POST /v1/tokens".to_owned(),
            json!({ "uses": 5, "expires_in_s": 604_800, "weight": 2 }),
        ),
        ("token list", "GET /v1/tokens".to_owned(), Value::Null),
        (
            "operator create board --scope read",
            "POST /v1/operators".to_owned(),
            json!({ "name": "board", "scope": "read", "expires_in_s": null }),
        ),
        ("operator list", "GET /v1/operators".to_owned(), Value::Null),
    ] {
        let fake = Fake::answering(200, r#"{"as":  "it is"}"#);
        let ended = fake.run(&format!("{command} --json"));
        assert_eq!(
            (ended.code, &*ended.out),
            (0, "{\"as\":  \"it is\"}\n"),
            "{command}: {ended:?}"
        );
        let asked = &fake.asked()[0];
        assert_eq!((&asked.line, asked.json()), (&line, body), "{command}");
        assert_eq!(asked.authorization, "Bearer the-token", "{command}");
    }
    for (command, line) in [
        (format!("token revoke {digest}"), format!("DELETE /v1/tokens/{digest}")),
        ("operator revoke board".to_owned(), "DELETE /v1/operators/board".to_owned()),
    ] {
        let fake = Fake::answering(204, "");
        let ended = fake.run(&command);
        assert_eq!((ended.code, &*ended.out), (0, ""), "{ended:?}");
        assert_eq!(fake.asked()[0].line, line);
    }
}

#[test]
fn a_problem_document_decides_the_exit_code_and_is_told_with_its_code() {
    for (status, code) in [
        (302, 1),
        (400, 8),
        (401, 6),
        (403, 6),
        (404, 7),
        (405, 8),
        (409, 8),
        (413, 8),
        (422, 8),
        (429, 9),
        (500, 9),
        (503, 9),
        (507, 9),
    ] {
        let problem = json!({
            "type": "urn:adafed:problem:server/some-code", "title": "Some title",
            "status": status, "detail": "what was wrong\u{1b}[2J",
        });
        let ended = Fake::answering(status, &problem.to_string()).run("task list");
        assert_eq!((ended.code, &*ended.out), (code, ""), "{status}: {ended:?}");
        let told = "Some title: what was wrong\u{fffd}[2J [server/some-code]";
        assert!(ended.err.contains(told), "{ended:?}");
        assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
    }
    // A proxy in between answers what it likes.
    let ended = Fake::answering(502, "<html>").run("task list");
    assert!(ended.code == 9 && ended.err.contains("[http/502]"), "{ended:?}");
    let busy =
        Fake::new(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response());
    assert!(busy.run("task list").err.contains("try again in 7 s"));
}

#[test]
fn a_server_that_is_not_there_and_an_answer_that_is_none_have_codes_of_their_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(["task", "list", "--server", &format!("http://{free}")]);
    assert!(ended.code == 5 && ended.err.contains("--server"), "{ended:?}");
    let ended = Fake::answering(200, "<html>").run("task list");
    assert!(ended.code == 1 && ended.err.contains("not understood"), "{ended:?}");
}

#[test]
fn wrong_command_lines_and_files_end_with_2_before_anything_is_asked() {
    let fake = Fake::answering(200, "{}");
    let folder = files();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("short.json"), "[1, 2]").unwrap();
    std::fs::write(at("bad.json"), r#"{"cohort": 3}"#).unwrap();
    let (plan, good) = (at("plan.json"), at("parameters.json"));
    for (command, part) in [
        ("task show NOT-A-NAME".to_owned(), "a-z"),
        ("task".to_owned(), "Usage"),
        ("device show xyz".to_owned(), "hexadecimal"),
        ("token create --expires 7".to_owned(), "7d, 12h"),
        ("operator revoke ..".to_owned(), "dots"),
        (format!("task create {plan}"), "--parameters"),
        (format!("task create {plan} --parameters {}", at("zeros.json")), "--zeros"),
        (format!("task create {plan} --parameters {}", at("short.json")), "12 parameters"),
        (format!("task create {} --zeros", at("bad.json")), "bad.json: unknown field"),
        (format!("task create {} --zeros", at("none.json")), "none.json: cannot be read"),
        (format!("task create {plan} --parameters {good} --settings {}", at("bad.json")), "cohort"),
        ("task list --token-file /nowhere/token".to_owned(), "/nowhere/token"),
        ("task list --ca /nowhere/ca.pem".to_owned(), "/nowhere/ca.pem"),
        (format!("task list --ca {plan}"), "plan.json: "),
    ] {
        let ended = fake.run(&command);
        assert!(ended.code == 2 && ended.err.contains(part), "{command}: {ended:?}");
    }
    let ended = run(["task", "list", "--server", "ftp://x"]);
    assert!(ended.code == 2 && ended.err.contains("ftp"), "{ended:?}");
    assert_eq!(fake.asked(), []);
}

#[test]
fn a_task_is_sent_with_plan_parameters_and_settings() {
    let folder = files();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let fake = Fake::answering(201, &status().to_string());
    let [p, values, s] = ["plan.json", "parameters.json", "settings.json"].map(at);
    let ended = fake.run(&format!("task create {p} --parameters {values} --settings {s}"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let asked = &fake.asked()[0];
    assert_eq!((&*asked.line, &*asked.kind), ("POST /v1/tasks", MEDIA_TYPE));
    let settings = TaskSettings { device_epsilon_cap: Some(3.0), ..TaskSettings::default() };
    let sent: CreateTask = decode(&asked.body).unwrap();
    assert_eq!(sent, CreateTask { plan: plan("digits"), parameters: vec![0.5; D], settings });
}

#[test]
fn a_dry_run_says_what_a_task_would_cost() {
    let folder = files();
    let plan = folder.path().join("plan.json").display().to_string();
    let forecast = json!({
        "task": "digits", "possible": false, "reasons": ["one round alone costs too much"],
        "rounds": 12, "delta": 1e-5, "epsilon_all_rounds": 4.00001, "accountant": "rdp",
        "epsilon_one_round": 0.5, "rounds_within_cap": 3, "noise_multiplier_within_cap": 2.5,
        "noise_multiplier_warmup": 1.0, "noise_multiplier_main": 1.25, "expected_batch": 10.0,
        "parameters": 200, "active_coordinates": [100, 50], "update_bytes": [2048, 1024],
    });
    let fake = Fake::answering(200, &forecast.to_string());
    let ended = fake.run(&format!("task create {plan} --dry-run"));
    assert_eq!((ended.code, &*fake.asked()[0].line), (0, "POST /v1/tasks?dry_run=true"));
    for part in [
        "IMPOSSIBLE",
        "one round alone",
        "1.0000 in the warm-up",
        "1.2500 in the main",
        "4.0001",
        "0.5000",
        "3 of 12",
        "2.5000",
        "100 in its first",
        "2.0 KiB at first, 1.0 KiB under",
    ] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
}

#[test]
fn tables_align_round_epsilons_up_and_let_no_device_move_the_cursor() {
    let fake = Fake::answering(200, &json!([status()]).to_string());
    let ended = fake.run("task list");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 2, "{ended:?}");
    assert!(lines[0].starts_with("TASK    STATE    ROUND  OF"), "{ended:?}");
    assert!(lines[1].contains("1.0001") && lines[1].contains("4.0000"), "{ended:?}");
    let ended = Fake::answering(200, "[]").run("task list");
    assert_eq!(ended.out, "No task yet.\n");
    let shown =
        Fake::answering(200, &device(DEVICE).to_string()).run(&format!("device show {DEVICE}"));
    assert!(shown.code == 0 && !shown.out.contains('\u{1b}'), "{shown:?}");
    assert!(shown.out.contains("1970-01-01 00:00:00Z"), "{shown:?}");
}

#[test]
fn devices_are_listed_page_after_page() {
    let names = [1, 2, 3].map(|n: u128| format!("{n:032x}"));
    let all = names.clone();
    let fake = Fake::new(move |asked: &Asked| {
        let from = asked.line.split_once("&after=").map(|(_, name)| name.to_owned());
        let later = all.iter().filter(|name| from.as_ref().is_none_or(|from| *name > from));
        axum::Json(later.take(2).map(|name| device(name)).collect::<Vec<_>>()).into_response()
    });
    let ended = fake.run("device list --json");
    let found: Vec<Value> = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(found, names.each_ref().map(|name| device(name)));
    let ended = fake.run("device list --limit 2");
    assert_eq!(ended.out.lines().count(), 3, "{ended:?}");
}

#[test]
fn settings_are_printed_and_replaced() {
    let folder = files();
    let fake = Fake::answering(200, &status().to_string());
    let ended = fake.run("task settings digits");
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), json!({ "grace_ms": 5 }));
    let file = folder.path().join("settings.json").display().to_string();
    assert_eq!(fake.run(&format!("task settings digits {file}")).code, 0);
    let asked = &fake.asked()[1];
    assert_eq!(asked.line, "PUT /v1/tasks/digits/settings");
    assert_eq!(asked.json()["device_epsilon_cap"], 3.0);
}

#[test]
fn a_new_token_stands_alone_on_standard_output() {
    let fake = Fake::answering(201, r#"{"token": "secret", "expires_ms": 0}"#);
    for command in ["token create", "operator create x --scope admin"] {
        let ended = fake.run(command);
        assert_eq!((ended.code, &*ended.out), (0, "secret\n"), "{ended:?}");
        assert!(ended.err.contains("1970-01-01") && !ended.err.contains("secret"), "{ended:?}");
    }
}

#[test]
fn a_token_of_a_file_goes_before_one_of_the_command_line() {
    let fake = Fake::answering(200, "[]");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "of-the-file\n").unwrap();
    fake.run(&format!("task list --token-file {}", file.display()));
    assert_eq!(fake.asked()[0].authorization, "Bearer of-the-file");
}

#[test]
fn a_model_is_written_whole_or_not_at_all() {
    let bytes = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &bytes);
    let model = safetensors::serialize([("w", view.unwrap())], None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let command = format!("model pull digits -o {}", file.display());
    let answer = model.clone();
    let ended = Fake::new(move |_| answer.clone().into_response()).run(&command);
    assert!(ended.code == 0 && ended.out.contains("1 tensors"), "{ended:?}");
    assert_eq!(std::fs::read(&file).unwrap(), model);
    let ended = Fake::answering(200, "a page of somebody else").run(&command);
    assert!(ended.code == 1 && ended.err.contains("nothing was written"), "{ended:?}");
    assert_eq!(std::fs::read(&file).unwrap(), model);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn configurations_are_checked_with_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("good.pem"), pair.cert.pem()).unwrap();
    std::fs::write(at("good.key"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("other.key"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("empty.pem"), "").unwrap();
    for (certificates, key, code, part) in [
        ("good.pem", "good.key", 0, "valid: https"),
        ("good.pem", "other.key", 2, "server/tls"),
        ("empty.pem", "good.key", 2, "empty.pem"),
        ("none.pem", "good.key", 2, "none.pem"),
    ] {
        let (certificates, key) = (at(certificates), at(key));
        let text = format!(
            "admin_token = \"1234567890123456\"\n[tls]\ncertificates = {certificates:?}\n\
             key = {key:?}\n"
        );
        std::fs::write(at("adafed.toml"), text).unwrap();
        let ended = run(["config", "check", "--config", &at("adafed.toml")]);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!((ended.out.clone() + &ended.err).contains(part), "{ended:?}");
        assert!(!ended.out.contains("1234567890123456"), "{ended:?}");
    }
    let shown = run(["config", "show", "--listen", "127.0.0.1:1", "--json"]);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["settings"][0]["place"], "--listen");
    let wrong = run(["config", "check", "--admin-token", "1234567890123456", "--log", "a=b=c"]);
    assert!(wrong.code == 2 && wrong.err.contains("log.filter"), "{wrong:?}");
}

#[test]
fn every_command_has_an_example_and_every_group_its_exit_codes() {
    Cli::command().debug_assert();
    for group in Cli::command().get_subcommands() {
        let name = group.get_name();
        let help =
            |c: &clap::Command| c.get_after_help().map(ToString::to_string).unwrap_or_default();
        if group.has_subcommands() {
            assert!(help(group).contains(EXIT_CODES), "{name}");
        }
        for command in group.get_subcommands() {
            let text = help(command);
            let offline = ["verify"].contains(&command.get_name());
            assert!(offline || text.contains("Example"), "{name} {}", command.get_name());
        }
    }
    let help = run(["token", "create", "--help"]);
    assert_eq!(help.code, 0);
    for part in ["[default: 1]", "http://127.0.0.1:8080", "--uses 100 --expires 7d"] {
        assert!(help.out.contains(part), "{}", help.out);
    }
    let script = run(["completions", "bash"]);
    assert!(script.code == 0 && script.out.contains("adafed-server"));
}

#[test]
fn the_manual_has_a_plan_that_is_one_and_every_command_and_exit_code() {
    let manual = include_str!("../../../docs/OPERATIONS.md");
    let plan = manual.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```"));
    let plan: adafed_wire::TaskPlan = serde_json::from_str(plan.unwrap().0).unwrap();
    plan.check().unwrap();
    for group in Cli::command().get_subcommands() {
        assert!(manual.contains(&format!("`{}", group.get_name())), "{}", group.get_name());
        for command in group.get_subcommands() {
            assert!(manual.contains(command.get_name()), "{}", command.get_name());
            for flag in command.get_arguments().filter_map(|a| a.get_long()) {
                assert!(manual.contains(&format!("--{flag}")), "{flag}");
            }
        }
    }
    for line in EXIT_CODES.lines().skip(1) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(manual.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
}
