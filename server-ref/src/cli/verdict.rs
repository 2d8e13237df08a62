//! What `privacy verify` prints: the report in words, and what came of checking it.

use std::fmt::Write as _;

use adafed_privacy::Event;
use adafed_privacy::report::{
    Bound, Difference, PrivacyReport, RELATIVE_TOLERANCE, Source, TaskReport,
};
use serde_json::Value;

use super::show::{self, printable, word};
use super::verify::{Checked, Verdict};

/// Columns of a line of text.
const WIDTH: usize = 92;
/// Columns before the text.
const LABEL: usize = 15;

/// One report at length, several a line each.
pub(super) fn text(verdict: &Verdict) -> String {
    match verdict.reports.as_slice() {
        [one] => document(one) + "\n" + &parts(one) + conclusion(one.is_true),
        many => many.iter().map(line).collect::<String>() + "\n" + &fleet(verdict),
    }
}

fn document(checked: &Checked) -> String {
    let report = &checked.signed.report;
    let mut out = row("device", &checked.signed.device.to_string());
    let software = &report.software;
    out += &row("software", &format!("AdaFed {}", software.adafed));
    out += &row("accountants", &format!("RDP {}", software.rdp));
    out += &row("", &format!("PLD {}", software.pld));
    out += &row("noise", &report.noise.sampler);
    out += &row("", &report.noise.generator);
    report.tasks.iter().for_each(|t| out += &task(t));
    out += "\n";
    out += &row("all tasks", &spent(report));
    out += &policy(report);
    for (label, words) in [("released", &report.released), ("not covered", &report.not_covered)] {
        out += "\n";
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        words.iter().zip(labels).for_each(|(text, label)| out += &row(label, text));
    }
    out
}

fn task(task: &TaskReport) -> String {
    let guarantee = &task.guarantee;
    let protects = format!(
        "one {} on the device; adjacency {}; trust model {}",
        word(&guarantee.unit),
        word(&guarantee.adjacency),
        word(&guarantee.trust)
    );
    let mut out = "\n".to_owned() + &row("task", &task.task);
    out += &row("protects", &protects);
    out += &row("plan", &task.plan_digest);
    out += &row("charged", &charged(task));
    task.events.iter().for_each(|e| out += &row("", &event(e)));
    let account = &task.spent;
    let by_both = format!("RDP {}, PLD {}", told(account.rdp), told(account.pld));
    let bound = format!("{} at delta {:e}", told(account.epsilon), account.delta.value());
    let paid = format!("{:.1e} of it for the sampler", account.sampler_charge.value());
    out += &row("epsilon", &format!("{bound}, by {} ({by_both}; {paid})", account.accountant));
    let sources = task.sources.map_or(["unknown"; 2], |s| [source(s.mask), source(s.scale)]);
    out + &row("mask", sources[0]) + &row("scale", sources[1])
}

fn charged(task: &TaskReport) -> String {
    let (charged, plan) = (task.rounds_charged, &task.plan);
    format!(
        "{} of {} warm-up rounds, {} of {} main rounds; steps a round {}, steps {}",
        charged.warmup,
        plan.warmup.rounds,
        charged.main,
        plan.main.rounds,
        plan.local_steps,
        task.steps_charged
    )
}

/// A mechanism by its name and fields, whatever it is.
fn event(event: &Event) -> String {
    let mechanism = serde_json::to_value(event.mechanism).unwrap_or_default();
    let described = match &mechanism {
        Value::Object(map) => map.iter().map(|(name, fields)| fields_of(name, fields)).collect(),
        other => other.to_string(),
    };
    format!("{} times {described}", event.count)
}

fn fields_of(name: &str, fields: &Value) -> String {
    let fields = fields.as_object().into_iter().flatten();
    fields.fold(name.to_owned(), |mut out, (field, value)| {
        let value = if value.is_null() { "any".to_owned() } else { value.to_string() };
        let _ = write!(out, ", {field} {value}");
        out
    })
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Unused => "not used",
        Source::Public => "public, independent of all data",
        Source::Released => "computed from releases",
    }
}

fn spent(report: &PrivacyReport) -> String {
    let (spent, committed) = (&report.spent, &report.committed);
    format!(
        "epsilon {} at delta {:e}, by {}; {} once every accepted plan has ended",
        told(spent.epsilon),
        spent.delta.value(),
        spent.accountant,
        told(committed.epsilon)
    )
}

/// The owner's limits by name, whatever they are.
fn policy(report: &PrivacyReport) -> String {
    let limits = serde_json::to_value(&report.policy).unwrap_or_default();
    let kept = if report.within_cap {
        "kept by the accepted plans"
    } else {
        "NOT KEPT: the accepted plans may go beyond it"
    };
    row("policy", fields_of("", &limits).trim_start_matches(", ")) + &row("", kept)
}

/// Each part of the check, with its differences.
fn parts(checked: &Checked) -> String {
    let check = &checked.check;
    let signature = if check.signature {
        row("signature", "true: the device's key signed this document")
    } else {
        row("signature", "FALSE: it was changed after it was signed, or signed by another key")
    };
    let numbers =
        format!("true: every figure follows from the events, within {RELATIVE_TOLERANCE:e}");
    [
        signature,
        part("device", &check.device, "true: the name belongs to the key"),
        part("plans", &check.plans, "true: each is the plan that the device agreed to"),
        part("figures", &check.numbers, &numbers),
    ]
    .concat()
}

fn part(label: &str, differences: &[Difference], good: &str) -> String {
    let fields = match differences.len() {
        0 => return row(label, good),
        1 => "1 field differs".to_owned(),
        n => format!("{n} fields differ"),
    };
    differences.iter().fold(row(label, &format!("FALSE: {fields}")), |out, d| out + &difference(d))
}

fn difference(d: &Difference) -> String {
    let [field, stated, recomputed] = [&d.field, &d.stated, &d.recomputed].map(|t| printable(t));
    let indent = " ".repeat(LABEL);
    format!("{indent}{field}\n{indent}  stated      {stated}\n{indent}  recomputed  {recomputed}\n")
}

fn conclusion(is_true: bool) -> &'static str {
    if is_true { "\nTRUE\n" } else { "\nFALSE\n" }
}

fn line(checked: &Checked) -> String {
    let verdict = if checked.is_true { "TRUE " } else { "FALSE" };
    let spent = &checked.signed.report.spent;
    let (epsilon, file) = (told(spent.epsilon), checked.file.display());
    let head = format!("{verdict}  epsilon {epsilon}  {file}\n");
    if checked.is_true { head } else { head + &parts(checked) }
}

fn fleet(verdict: &Verdict) -> String {
    let bound = |b: Option<Bound>| b.map_or_else(|| "none".to_owned(), told);
    let (largest, median) = (bound(verdict.largest_epsilon), bound(verdict.median_epsilon));
    row("devices", &verdict.devices.to_string())
        + &row("epsilon", &format!("largest {largest}, median {median}"))
        + conclusion(verdict.is_true)
}

/// Rounded up, since a bound must not be told smaller than it is.
fn told(bound: Bound) -> String {
    match bound.value() {
        x if x.is_finite() => show::epsilon(x),
        _ => bound.to_string(),
    }
}

/// A label and a text, broken into lines between words.
fn row(label: &str, text: &str) -> String {
    let mut out = format!("{label:LABEL$}");
    let mut column = LABEL;
    for (index, word) in text.split_whitespace().map(printable).enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > WIDTH {
            out += &format!("\n{:LABEL$}", "");
            column = LABEL;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out += &word;
        column += width;
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_align() {
        let text = row("label", &"word ".repeat(40));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("label          word") && text.lines().count() == 3, "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("               word")));
    }

    #[test]
    fn a_report_cannot_forge_a_verdict() {
        let said = "\u{1b}[2J\r\nTRUE\n".to_owned();
        let d = Difference { field: "x".into(), stated: said.clone(), recomputed: "1".into() };
        for text in [difference(&d), row("task", &said)] {
            assert!(!text.contains('\u{1b}') && !text.contains("\nTRUE"), "{text:?}");
        }
    }

    #[test]
    fn epsilon_is_never_told_smaller() {
        let told = |x| super::told(Bound::new(x).unwrap());
        assert_eq!([told(8.0), told(1.00001)], ["8.0000", "1.0001"]);
        assert_eq!(told(f64::INFINITY), "infinity");
    }
}
