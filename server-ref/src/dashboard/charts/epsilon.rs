//! Devices by the epsilon they spent.

use maud::html;

use super::columns;
use crate::dashboard::chart::{Mark, Names, Panel, Table, histogram, plain};
use crate::dashboard::format::{count, counted, epsilon};
use crate::report::PrivacyReport;

/// A cap so many times the largest epsilon away would leave no room for the devices.
const FAR: f64 = 3.0;
/// Shares that are marked.
const MARKED: [f64; 3] = [0.5, 0.9, 0.99];

/// The chart of the devices' epsilons.
pub(super) fn panel(report: &PrivacyReport) -> Panel<'_> {
    let words = words(report);
    let names =
        Names { id: "epsilons", title: "Epsilon of the devices", description: &words, mark: plain };
    let marks = marks(report);
    let drawing = (!report.histogram.is_empty())
        .then(|| histogram(&names, &report.histogram, &marks, epsilon));
    let (id, title, table) = (names.id, names.title, table(report));
    Panel { id, title, words: html! { (words) }, keys: Vec::new(), drawing, table }
}

fn words(report: &PrivacyReport) -> String {
    if report.histogram.is_empty() {
        return "No device has been charged yet: epsilon grows with every round that a device is \
                asked to take part in."
            .to_owned();
    }
    let devices = counted(report.devices.len() as u64, "device", "devices");
    let cap = |name, cap: Option<f64>| {
        cap.map_or_else(String::new, |cap| format!("; cap of {name} {}", epsilon(cap)))
    };
    let device_cap = cap("a device", report.device_epsilon_cap);
    let task_cap = cap("the task", report.task_epsilon_cap);
    format!("{devices}, the largest at {}{device_cap}{task_cap}.", epsilon(report.epsilon))
}

/// Quantiles, those that read alike as one, and the caps that are near enough.
fn marks(report: &PrivacyReport) -> Vec<Mark> {
    let mut groups: Vec<(f64, Vec<String>)> = Vec::new();
    for q in report.quantiles.iter().filter(|q| MARKED.contains(&q.share)) {
        match groups.last_mut().filter(|(at, _)| epsilon(*at) == epsilon(q.epsilon)) {
            Some((_, names)) => names.push(name(q.share)),
            None => groups.push((q.epsilon, vec![name(q.share)])),
        }
    }
    let counted = groups.into_iter().map(|(at, names)| {
        let text = format!("{} {}", names.join(", "), epsilon(at));
        Mark { at, text, is_limit: false }
    });
    counted.chain(caps(report)).collect()
}

fn caps(report: &PrivacyReport) -> impl Iterator<Item = Mark> {
    let caps = [("device cap", report.device_epsilon_cap), ("task cap", report.task_epsilon_cap)];
    let far = FAR * report.epsilon;
    caps.into_iter().filter_map(move |(name, cap)| {
        let at = cap.filter(|&cap| cap <= far)?;
        Some(Mark { at, text: format!("{name} {}", epsilon(at)), is_limit: true })
    })
}

fn name(share: f64) -> String {
    if share == 0.5 { "median".to_owned() } else { format!("{} %", plain(100.0 * share)) }
}

fn table(report: &PrivacyReport) -> Table {
    let range = report.histogram.iter().map(|bucket| {
        let range = format!("above {} up to {}", epsilon(bucket.from), epsilon(bucket.to));
        vec![range, count(bucket.devices)]
    });
    let quantiles = report.quantiles.iter().map(|q| {
        let devices = format!("{} % of all", plain(100.0 * q.share));
        vec![format!("up to {}", epsilon(q.epsilon)), devices]
    });
    Table { columns: columns(["Epsilon", "Devices"]), rows: quantiles.chain(range).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::tests::privacy;
    use crate::report::{HistogramBucket, Quantile};

    #[test]
    fn quantiles_that_read_alike_are_marked_once_and_far_caps_not_at_all() {
        let quantile = |share, epsilon| Quantile { share, epsilon };
        let report = PrivacyReport {
            quantiles: vec![quantile(0.5, 1.0), quantile(0.9, 1.0), quantile(0.99, 1.5)],
            epsilon: 1.5,
            device_epsilon_cap: Some(2.0),
            task_epsilon_cap: Some(100.0),
            ..privacy()
        };
        let texts: Vec<String> = marks(&report).into_iter().map(|m| m.text).collect();
        assert_eq!(texts, ["median, 90 % 1.000", "99 % 1.500", "device cap 2.000"]);
        let words = words(&PrivacyReport { histogram: vec![bucket()], ..report });
        assert!(words.contains("cap of the task 100.000"), "{words}");
    }

    fn bucket() -> HistogramBucket {
        HistogramBucket { from: 0.0, to: 1.5, devices: 3 }
    }
}
