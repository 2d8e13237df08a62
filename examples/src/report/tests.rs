use std::fs;

use super::*;

/// `x` with three decimals: what serde_json reads back without a last-bit error.
fn short(x: f64) -> f64 {
    (1e3 * x).round() / 1e3
}

fn report() -> Report {
    let record = |round: u64| {
        let warm_up = round <= 12;
        let active = if warm_up { 26_010 } else { (7_803 + 30 * round as usize).min(26_010) };
        RoundRecord {
            round,
            phase: if warm_up { Phase::WarmUp } else { Phase::Main },
            accuracy: round
                .is_multiple_of(4)
                .then(|| short(93.6 - 70.0 * (-(round as f64) / 14.0).exp())),
            epsilon: short(2.2 + 5.7 * (round as f64 / 60.0).sqrt()),
            active_coordinates: active,
            participants: 8 + (round % 3) as usize,
            bytes_up: 10 * (active as u64 * 11 / 8 + 420),
            bytes_up_dense_f32: 10 * 4 * 26_010,
            bytes_down: 10 * 4 * 26_010 + 9_000,
        }
    };
    let history: Vec<RoundRecord> = (1..=60).map(record).collect();
    let sum = |bytes: fn(&RoundRecord) -> u64| history.iter().map(bytes).sum();
    Report {
        version: "0.1.0".to_owned(),
        task: "digits-cnn".to_owned(),
        data: "built-in digits, dirichlet:0.5".to_owned(),
        seed: 42,
        clients: 10,
        rounds: 60,
        final_accuracy: 92.61,
        epsilon_max: 8.0,
        epsilon_median: 7.7,
        delta: 1e-5,
        accountant: "pld".to_owned(),
        noise_multiplier: 0.87,
        sampling_rate: 0.05,
        steps: 600,
        retention: 0.3,
        importance: "debiased".to_owned(),
        scale: "minimal, pooled by row".to_owned(),
        parameters: 26_010,
        active_coordinates: 9_603,
        bytes_up: sum(|record| record.bytes_up),
        bytes_up_dense_f32: sum(|record| record.bytes_up_dense_f32),
        bytes_down: sum(|record| record.bytes_down),
        wall_s: 74.2,
        epsilon_histogram: epsilon_histogram(
            &[8.0, 7.6, 7.8, 7.1, 6.2, 7.9, 7.4, 5.1, 7.7, 7.9],
            8,
        ),
        history,
    }
}

fn written(report: &Report) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(report, &directory.path().join("new/run")).unwrap();
    directory
}

fn text(directory: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(directory.path().join("new/run").join(name)).unwrap()
}

#[test]
fn a_report_reads_back_as_it_was() {
    let directory = written(&report());
    let read: Report = serde_json::from_str(&text(&directory, "report.json")).unwrap();
    assert_eq!(read, report());
}

#[test]
fn the_json_has_its_promised_keys() {
    let json: serde_json::Value =
        serde_json::from_str(&text(&written(&report()), "report.json")).unwrap();
    for key in [
        "final_accuracy",
        "epsilon_max",
        "epsilon_median",
        "delta",
        "rounds",
        "clients",
        "active_coordinates",
        "parameters",
        "bytes_up",
        "bytes_up_dense_f32",
        "bytes_down",
        "wall_s",
        "seed",
        "version",
        "task",
        "data",
        "accountant",
        "noise_multiplier",
        "sampling_rate",
        "steps",
        "retention",
        "importance",
        "scale",
        "epsilon_histogram",
        "history",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["history"][0]["phase"], "warm-up");
    assert_eq!(json["history"][59]["phase"], "main");
    assert!(json["history"][0]["accuracy"].is_null());
}

#[test]
fn the_page_fetches_nothing_and_runs_nothing() {
    let page = text(&written(&report()), "report.html");
    for forbidden in ["<script", "<link", "<img", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let addresses: Vec<&str> = page.matches("http").collect();
    // One name space a picture, which is a name and not fetched.
    assert_eq!(addresses.len(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert_eq!(page.matches("<svg ").count(), 4);
    assert!(page.contains("adjacency add or remove one example"));
}

#[test]
fn the_page_has_a_colour_for_every_colour_of_the_plots() {
    let page = text(&written(&report()), "report.html");
    for attribute in [" fill=\"", " stroke=\""] {
        let colours = page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        for colour in colours.filter(|colour| *colour != "none") {
            let rule = format!("figure [{}{colour}\"]", attribute.trim_start());
            assert!(page.contains(&rule), "{rule}");
        }
    }
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let mut report = report();
    report.task = "<script>alert(\"x\")</script> & co".to_owned();
    let page = text(&written(&report), "report.html");
    assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; co"));
    assert!(!page.contains("<script"));
}

#[test]
fn a_run_without_rounds_has_a_report() {
    let mut report = report();
    report.history.clear();
    report.epsilon_histogram.clear();
    report.bytes_up_dense_f32 = 0;
    report.parameters = 0;
    let directory = written(&report);
    assert!(text(&directory, "bytes.svg").contains("</svg>"));
}

#[test]
fn a_second_report_replaces_the_first_and_leaves_nothing_else() {
    let directory = written(&report());
    let path = directory.path().join("new/run");
    let mut second = report();
    second.seed = 43;
    write(&second, &path).unwrap();
    assert!(text(&directory, "report.json").contains("\"seed\": 43"));
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = [
        "accuracy.svg",
        "bytes.svg",
        "coordinates.svg",
        "epsilon.svg",
        "report.html",
        "report.json",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_figure_that_is_not_finite_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut report = report();
    report.history[3].accuracy = Some(f64::NAN);
    let error = write(&report, &directory.path().join("none")).unwrap_err();
    assert!(error.to_string().starts_with("accuracy of round 4 is not a finite number"), "{error}");
    report.epsilon_max = f64::INFINITY;
    let error = write(&report, &directory.path().join("none")).unwrap_err();
    assert!(error.to_string().starts_with("epsilon_max"), "{error}");
    assert!(!directory.path().join("none").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&report(), &file.join("run")).unwrap_err();
    assert!(matches!(&error, Error::Write { path, .. } if *path == file.join("run")), "{error}");
}

#[test]
fn a_file_in_the_way_is_named_and_no_temporary_stays() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("report.json/full")).unwrap();
    let error = write(&report(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("report.json cannot be written"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn every_device_is_in_one_bucket() {
    let buckets = epsilon_histogram(&[0.0, 0.5, 1.0, 1.01, 4.0], 4);
    let counts: Vec<usize> = buckets.iter().map(|bucket| bucket.clients).collect();
    assert_eq!(counts, [3, 1, 0, 1]);
    assert_eq!((buckets[0].from, buckets[3].to), (0.0, 4.0));
    let idle = epsilon_histogram(&[0.0, 0.0], 4);
    assert_eq!(idle, [EpsilonBucket { from: 0.0, to: 0.0, clients: 2 }]);
    assert!(epsilon_histogram(&[], 4).is_empty() && epsilon_histogram(&[1.0], 0).is_empty());
}

#[test]
fn the_summary_lines_up() {
    let table = summary_table(&report());
    assert!(table.contains("Final accuracy     92.61 %\n"), "{table}");
    assert!(table.contains("Largest epsilon    8.000 at delta 1e-5\n"), "{table}");
}

/// A device without tasks, whose report is true of nothing.
fn signed() -> adafed::wire::SignedReport {
    use adafed::privacy::{EphemeralStore, Ledger, Policy, report::PrivacyReport};
    use adafed::wire::{DeviceKey, SignedReport};
    let policy = Policy::new("8".parse().unwrap(), "0.00001".parse().unwrap()).unwrap();
    let ledger = Ledger::open(EphemeralStore::default(), policy).unwrap();
    let report = PrivacyReport::new(&ledger, |_| None);
    let key = DeviceKey::from_pkcs8(&DeviceKey::generate().unwrap()).unwrap();
    SignedReport::sign(report, vec![], &key).unwrap()
}

#[test]
fn privacy_reports_of_an_earlier_run_are_replaced_and_other_files_stay() {
    let directory = tempfile::tempdir().unwrap();
    let names = |folder: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let devices = directory.path().join("devices");
    PrivacyReports::new(vec![signed(), signed()]).write(directory.path()).unwrap();
    fs::write(devices.join("notes.json"), "mine").unwrap();
    let last = signed();
    PrivacyReports::new(vec![last.clone()]).write(directory.path()).unwrap();
    let mut expected = vec![format!("{}.json", last.device), "notes.json".to_owned()];
    expected.sort();
    assert_eq!(names(&devices), expected);
    assert_eq!(names(directory.path()), ["devices", "privacy-report.json"]);
    let text = fs::read_to_string(directory.path().join("privacy-report.json")).unwrap();
    assert_eq!(adafed::wire::SignedReport::from_json(&text).unwrap(), last);
}
