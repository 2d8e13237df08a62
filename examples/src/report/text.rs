//! Figures in words: the terminal table, and what the page shares with it.

use super::Report;

/// The figures of a report as label and value, in the order in which they are read.
pub(super) fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let active = 100.0 * report.active_coordinates as f64 / report.parameters.max(1) as f64;
    vec![
        ("Task", report.task.clone()),
        ("Data", report.data.clone()),
        ("Final accuracy", format!("{:.2} %", report.final_accuracy)),
        ("Largest epsilon", format!("{:.3} at delta {:e}", told(report.epsilon_max), report.delta)),
        ("Median epsilon", format!("{:.3}", told(report.epsilon_median))),
        ("Accountant", report.accountant.clone()),
        ("Noise multiplier", format!("{:.4}", report.noise_multiplier)),
        ("Sampling rate", format!("{:.4}", report.sampling_rate)),
        ("Noisy steps", count(report.steps)),
        ("Rounds", count(report.rounds)),
        ("Devices", count(report.clients as u64)),
        ("Parameters", count(report.parameters as u64)),
        (
            "Active at the end",
            format!("{} ({active:.1} %)", count(report.active_coordinates as u64)),
        ),
        ("First mask keeps", format!("{:.1} %", 100.0 * report.retention)),
        ("Importance", report.importance.clone()),
        ("Scale", report.scale.clone()),
        ("Sent up", sent_up(report)),
        ("Sent down", bytes(report.bytes_down)),
        ("Duration", duration(report.wall_s)),
        ("Seed", report.seed.to_string()),
        ("Version", report.version.clone()),
    ]
}

fn sent_up(report: &Report) -> String {
    let share = 100.0 * report.bytes_up as f64 / report.bytes_up_dense_f32.max(1) as f64;
    let dense = bytes(report.bytes_up_dense_f32);
    format!("{} ({share:.1} % of {dense} as dense float32)", bytes(report.bytes_up))
}

/// The figures of a run as an aligned table for a terminal, one to a line.
#[must_use]
pub fn summary_table(report: &Report) -> String {
    let figures = figures(report);
    let width = figures.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    figures.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
}

/// What the guarantee is and is not, a paragraph each.
pub(super) fn privacy_statement(report: &Report) -> [String; 5] {
    let (epsilon, delta) = (told(report.epsilon_max), report.delta);
    [
        format!(
            "The unit of privacy is one training example. Whoever sees everything that a device \
             ever sent for this task learns only a bounded amount about whether any one example \
             was on that device: adding or removing the example changes the probability of \
             whatever they may see by a factor of at most e^{epsilon:.3} = {:.2e}, up to an added \
             {delta}. In the field's words: ({epsilon:.3}, {delta})-differential privacy, \
             adjacency add or remove one example.",
            epsilon.exp()
        ),
        "It covers all that leaves a device: model updates, and any statistics and counts with \
         them. It holds against the server and everybody behind it, because each device adds \
         its noise itself, and it does not end with the run."
            .to_owned(),
        format!(
            "Epsilon is an upper bound, computed by the {} accountant for Poisson sampling at \
             rate {:.4}, noise multiplier {:.4} and {} noisy steps, on the device that spent \
             most; others spent less or the same.",
            report.accountant,
            report.sampling_rate,
            report.noise_multiplier,
            count(report.steps)
        ),
        "It does not cover: a person as a whole who has many examples (their joint protection \
         is weaker), the fact that a device took part and when, and this page's accuracy, which \
         is measured on a public test set."
            .to_owned(),
        "These figures can be checked. Beside this page, privacy-report.json holds what the \
         device that spent most was charged, signed with its key, and the folder devices the \
         same for every device. The command cargo adafed-verify FOLDER, where FOLDER is the \
         folder of this page, checks signatures and plans and computes every epsilon again \
         from these files alone."
            .to_owned(),
    ]
}

/// Epsilon as it is shown, to three decimals: rounded up, since a bound must not be told
/// smaller than it is (a millionth of the last decimal is left to float error).
pub(super) fn told(epsilon: f64) -> f64 {
    (1e3 * epsilon - 1e-6).ceil() / 1e3
}

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Decimal units: 1 kB is 1000 bytes.
pub(super) fn bytes(number: u64) -> String {
    let (size, unit) = byte_unit(number as f64);
    if size == 1.0 { format!("{number} B") } else { format!("{:.1} {unit}", number as f64 / size) }
}

/// The largest decimal unit that does not exceed `number` bytes: its size and its name.
pub(super) fn byte_unit(number: f64) -> (f64, &'static str) {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    units.into_iter().find(|&(size, _)| number >= size).unwrap_or((1.0, "B"))
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        let shown = [0, 999, 1_000, 26_010, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "26,010", "1,234,567"]);
    }

    #[test]
    fn bytes_take_the_largest_unit_below_them() {
        let shown = [0, 999, 1_000, 1_550_000, 2_000_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.6 MB", "2.0 GB"]);
    }

    #[test]
    fn epsilon_is_never_told_smaller() {
        assert_eq!([8.0, 1.1, 7.9994, 0.0001].map(told), [8.0, 1.1, 8.0, 0.001]);
    }

    #[test]
    fn long_runs_are_told_in_minutes() {
        assert_eq!(duration(119.94), "119.9 s");
        assert_eq!(duration(3_725.0), "62 min 05 s");
    }
}
