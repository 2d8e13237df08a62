//! Text for people: tables, lists of fields, and the values in them.

use std::fmt::Display;

use serde::Serialize;

/// Text from elsewhere must not move the cursor of whoever reads it.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Columns under headings. A heading that ends in `>` has its column aligned to the right.
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell a heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The table; without rows, `empty` as a sentence.
    pub(super) fn text(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return empty.to_owned() + "\n";
        }
        let headings = self.headings.iter().map(|h| h.trim_end_matches('>').to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&headings).chain(&self.rows).collect();
        let widest = |column: usize| rows.iter().map(|row| width(row, column)).max();
        let widths: Vec<usize> =
            (0..self.headings.len()).map(|column| widest(column).unwrap_or(0)).collect();
        rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = self.headings.iter().zip(row).zip(widths).map(|((heading, cell), width)| {
            if heading.ends_with('>') {
                format!("{cell:>width$}")
            } else {
                format!("{cell:width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    }
}

fn width(row: &[String], column: usize) -> usize {
    row.get(column).map_or(0, |cell| cell.chars().count())
}

/// Names with their values, a line each.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// What there may be none of.
pub(super) fn or_none<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The name of an enumerated value, as JSON has it.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An epsilon, rounded up: a bound must not be told smaller than it is.
pub(super) fn epsilon(value: f64) -> String {
    if value.is_finite() {
        // Nothing is 0, not -0.
        format!("{:.4}", (1e4 * value - 1e-6).ceil() / 1e4 + 0.0)
    } else {
        "infinity".to_owned()
    }
}

/// A number of bytes, to three digits.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = count as f64;
    for unit in units {
        if scaled < 1024.0 || unit == "TiB" {
            let digits = if unit == "B" || scaled >= 100.0 { 0 } else { 1 };
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    unreachable!("the last unit takes everything")
}

/// Milliseconds since 1970 as date and time in UTC.
pub(super) fn time(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1_000 % 86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970. Years begin in March here, so that
/// the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days of 400 years.
    const ERA: u64 = 146_097;
    // Days from 1 March of the year 0 to 1 January 1970.
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let january = month >= 10;
    let month = if january { month - 9 } else { month + 3 };
    (400 * era + year + u64::from(january), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_no_cell_moves_the_cursor() {
        let mut table = Table::new(&["NAME", "COUNT>"]);
        table.row(["a".into(), "1".into()]);
        table.row(["long\u{1b}[2J".into(), "1000".into()]);
        assert_eq!(table.text(""), "NAME      COUNT\na             1\nlong\u{fffd}[2J   1000\n");
        assert_eq!(Table::new(&["NAME"]).text("nothing"), "nothing\n");
        assert_eq!(
            fields(&[("a", "1".into()), ("long", "2\n".into())]),
            "a     1\nlong  2\u{fffd}\n"
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_251_199_999, "2024-02-29 23:59:59Z"),
            (1_735_689_600_000, "2025-01-01 00:00:00Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(time(ms), text);
        }
        time(u64::MAX);
    }

    #[test]
    fn bytes_have_the_largest_unit_that_fits() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn epsilon_is_never_told_smaller() {
        assert_eq!([8.0, 1.00001, 0.0].map(epsilon), ["8.0000", "1.0001", "0.0000"]);
        assert_eq!(epsilon(f64::INFINITY), "infinity");
    }
}
