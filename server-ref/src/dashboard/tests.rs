//! Whole pages.

use adafed_privacy::Adjacency;
use adafed_privacy::accounting::Accountant;
use adafed_wire::{Digest, TaskSettings};

use super::*;
use crate::report::{HistogramBucket, PrivacyUnit, Quantile, TaskState};
use crate::round::Phase;
use crate::testing::plan;

const NOW_MS: u64 = 1_700_000_000_000;

pub(super) fn round(round: u64) -> RoundReport {
    RoundReport {
        round,
        phase: Phase::Committed,
        opened_ms: NOW_MS - 60_000,
        deadline_ms: Some(NOW_MS + 30_000),
        closed_ms: Some(NOW_MS - 20_000),
        participants: 8,
        reports: 6,
        stale_reports: 0,
        dropped: 2,
        goal_ms: Some(NOW_MS - 20_000),
        active_coordinates: 6,
        bytes_up: 120,
        bytes_dense: 480,
        bytes_down: 900,
    }
}

pub(super) fn privacy() -> PrivacyReport {
    PrivacyReport {
        task: plan("task").task,
        adjacency: Adjacency::AddRemove,
        unit: PrivacyUnit::Example,
        delta: 1e-5,
        epsilon: 1.25,
        accountant: Accountant::Pld,
        epsilon_rdp: 1.5,
        epsilon_pld: Some(1.25),
        epsilon_next_round: 1.375,
        epsilon_all_rounds: 4.0,
        device_epsilon_cap: None,
        task_epsilon_cap: None,
        halted_devices: 0,
        quantiles: Vec::new(),
        histogram: Vec::new(),
        devices: Vec::new(),
    }
}

fn status() -> TaskStatus {
    TaskStatus {
        task: plan("task").task,
        state: TaskState::Running,
        round: 1,
        rounds: 3,
        phase: Phase::Selecting,
        participants: 2,
        reports: 1,
        active_coordinates: 6,
        parameters: 12,
        epsilon: 1.25,
        epsilon_all_rounds: 4.0,
        delta: 1e-5,
        accountant: Accountant::Pld,
        epsilon_next_round: 1.375,
        settings: TaskSettings::default(),
        plan: Digest::of(b"plan"),
        model: Digest::of(b"model"),
    }
}

fn evaluation(round: u64, evaluator: &str) -> Evaluation {
    let evaluator = evaluator.to_owned();
    let accuracy = Some(0.5 + round as f64 / 10.0);
    Evaluation { round, evaluator, loss: 1.0, accuracy, examples: 500, reported_ms: NOW_MS }
}

fn open_round(number: u64) -> RoundReport {
    let phase = Phase::Selecting;
    RoundReport {
        phase,
        closed_ms: None,
        goal_ms: None,
        participants: 2,
        reports: 1,
        dropped: 0,
        ..round(number)
    }
}

fn detail() -> TaskDetail {
    let evaluations = vec![evaluation(1, "hospital"), evaluation(0, "hospital")];
    let view = TaskView { status: status(), rounds: vec![round(0), open_round(1)], evaluations };
    let quantiles = vec![Quantile { share: 0.5, epsilon: 1.25 }];
    let histogram = vec![HistogramBucket { from: 0.0, to: 1.25, devices: 2 }];
    TaskDetail {
        view,
        privacy: PrivacyReport { quantiles, histogram, ..privacy() },
        plan: plan("task"),
    }
}

fn empty() -> TaskDetail {
    let status = TaskStatus { epsilon: 0.0, round: 0, participants: 0, reports: 0, ..status() };
    let view = TaskView { status, rounds: Vec::new(), evaluations: Vec::new() };
    TaskDetail { view, privacy: privacy(), plan: plan("task") }
}

/// The value of the first figure of that name.
fn value<'a>(page: &'a str, name: &str) -> &'a str {
    let from = page.find(&format!("data-figure=\"{name}\"")).expect("the figure is there");
    let rest = &page[from..];
    let rest = &rest[rest.find("data-value=\"").unwrap() + 12..];
    &rest[..rest.find('"').unwrap()]
}

#[test]
fn a_task_page_carries_the_figures_of_the_interface() {
    let page = task_page(&detail(), NOW_MS);
    for (name, exact) in [
        ("state", "running"),
        ("round", "1"),
        ("rounds", "3"),
        ("live_round", "1"),
        ("phase", "selecting"),
        ("participants", "2"),
        ("reports", "1"),
        ("epsilon", "1.25"),
        ("epsilon_rdp", "1.5"),
        ("epsilon_pld", "1.25"),
        ("epsilon_next_round", "1.375"),
        ("epsilon_all_rounds", "4.0"),
        ("delta", "0.00001"),
        ("accuracy", "0.6"),
        ("loss", "1.0"),
        ("active_coordinates", "6"),
        ("parameters", "12"),
        ("bytes_up", "240"),
        ("bytes_dense", "960"),
        ("bytes_saved", "720"),
        ("device_epsilon_cap", "null"),
        ("adjacency", "add_remove"),
    ] {
        assert_eq!(value(&page, name), exact, "{name}");
    }
    assert!(page.contains("Closes in <strong>"), "the deadline is told");
}

#[test]
fn an_overview_carries_the_figures_of_each_task() {
    let page = overview(&[detail().view], Some(4));
    assert!(page.contains("href=\"/tasks/task\""));
    for (name, exact) in
        [("tasks", "1"), ("devices", "4"), ("round", "1"), ("bytes_saved", "720"), ("loss", "1.0")]
    {
        assert_eq!(value(&page, name), exact, "{name}");
    }
}

#[test]
fn pages_without_anything_say_what_to_do() {
    assert!(overview(&[], None).contains("adafed-server task create"));
    let page = task_page(&empty(), NOW_MS);
    for words in ["No evaluator has reported yet", "No round", "No device has been charged yet"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn names_of_evaluators_are_no_markup() {
    let mut task = detail();
    task.view.evaluations.push(evaluation(1, "<script>alert(1)</script>\" onload=\"x"));
    for page in [task_page(&task, NOW_MS), overview(&[task.view.clone()], None)] {
        assert!(!page.contains("<script>alert") && !page.contains("\" onload"));
    }
    assert!(task_page(&task, NOW_MS).contains("&lt;script&gt;alert(1)"));
}

#[test]
fn pages_name_no_other_place_and_no_style_of_their_own() {
    let pages = [
        task_page(&detail(), NOW_MS),
        task_page(&empty(), NOW_MS),
        overview(&[detail().view], None),
        overview(&[], None),
        error_page(404, "Unknown task", "none"),
    ];
    for page in pages {
        for word in ["http://", "https://", "src=", " style=", " onclick=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}

#[test]
fn extreme_numbers_draw_what_is_no_number_nowhere() {
    let mut task = detail();
    let infinite = f64::INFINITY;
    task.view.status = TaskStatus { epsilon: infinite, epsilon_next_round: infinite, ..status() };
    task.privacy = PrivacyReport { epsilon: infinite, epsilon_rdp: infinite, ..privacy() };
    let hard = Evaluation { loss: f64::MAX, accuracy: Some(f64::NAN), ..evaluation(0, "e") };
    task.view.evaluations = vec![hard.clone(), Evaluation { loss: infinite, ..hard }];
    let most = u64::MAX;
    let big =
        RoundReport { bytes_up: most, bytes_dense: most, active_coordinates: most, ..round(most) };
    task.view.rounds = vec![round(0), big];
    for page in [task_page(&task, NOW_MS), overview(&[task.view.clone()], None)] {
        let body = &page[page.find("<main").unwrap()..page.find("</main>").unwrap()];
        assert!(!body.contains("NaN") && !body.contains("inf%") && !body.contains(">inf<"));
        assert!(body.contains('∞'));
    }
}

#[test]
fn a_long_task_makes_a_page_of_bounded_size() {
    let mut task = detail();
    task.view.rounds = (0..20_000).map(round).collect();
    task.view.evaluations = (0..20_000).map(|r| evaluation(r, "e")).collect();
    let page = task_page(&task, NOW_MS);
    assert!(page.len() < 600_000, "{}", page.len());
    assert!(page.contains("The chart shows the last 120 rounds."));
}

#[test]
fn every_part_has_a_name_of_its_own() {
    for page in [task_page(&detail(), NOW_MS), overview(&[detail().view], None)] {
        let mut names: Vec<&str> =
            page.split(" id=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "a name twice");
    }
}
