//! Numbers as people read them. The exact value stands beside each in the page.

/// Stands where there is nothing to tell.
pub(super) const NOTHING: &str = "–";

/// A count, with its thousands apart: `12,345`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what it counts: `1 device`, `2 devices`.
pub(super) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// Bytes with three digits that count: `1.25 MB`.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if value < 1_000 {
        return format!("{value} B");
    }
    let (mut size, mut unit) = (value as f64 / 1e3, 0);
    // 999.5 would be written as 1000.
    while size >= 999.5 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1e3, unit + 1);
    }
    format!("{} {}", three_digits(size), UNITS[unit])
}

/// Three digits that count, for numbers from 1 on; never more than two decimals.
fn three_digits(value: f64) -> String {
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}")
}

/// Epsilon, rounded up: a bound is never told smaller than it is.
pub(super) fn epsilon(value: f64) -> String {
    match value {
        v if v.is_nan() => NOTHING.to_owned(),
        v if v.is_infinite() => "∞".to_owned(),
        v if v >= 1e6 => format!("{v:.2e}"),
        v => {
            let up = (1e3 * v).ceil() / 1e3;
            // A product just above a whole number of thousandths is that number.
            let near = (1e3 * v).round() / 1e3;
            format!("{:.3}", if near >= v { near } else { up })
        }
    }
}

/// A share, as per cent: `83.4 %`.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { NOTHING.to_owned() }
}

/// Any other number, with about four digits that count.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => NOTHING.to_owned(),
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        _ if size >= 1e3 => format!("{value:.0}"),
        _ => {
            let decimals = (3.0 - size.log10().floor()).clamp(1.0, 4.0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

/// A span of time in its two largest units: `4 min 5 s`.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 if ms.is_multiple_of(1_000) => format!("{s} s"),
        1..60 => format!("{:.1} s", ms as f64 / 1e3),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

fn two(more: u64, unit: &str, rest: u64, small: &str) -> String {
    if rest == 0 { format!("{more} {unit}") } else { format!("{more} {unit} {rest} {small}") }
}

/// How long ago: whole seconds are enough.
pub(super) fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) / 1_000 {
        0 => "just now".to_owned(),
        s => format!("{} ago", whole_seconds(s)),
    }
}

/// How long until; `None` where the time has come.
pub(super) fn until(then_ms: u64, now_ms: u64) -> Option<String> {
    let left = then_ms.checked_sub(now_ms).filter(|&left| left > 0)?;
    Some(whole_seconds(left.div_ceil(1_000)))
}

fn whole_seconds(s: u64) -> String {
    if s < 60 { format!("{s} s") } else { duration(s.saturating_mul(1_000)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_their_thousands_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!((counted(1, "task", "tasks"), counted(0, "task", "tasks")).1, "0 tasks");
        assert_eq!(counted(1, "task", "tasks"), "1 task");
    }

    #[test]
    fn bytes_take_the_unit_that_fits() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn epsilon_is_never_told_smaller_than_it_is() {
        for (value, text) in [
            (0.0, "0.000"),
            (1e-9, "0.001"),
            (1.2340001, "1.235"),
            (1.234, "1.234"),
            (8.0, "8.000"),
            (2.5e7, "2.50e7"),
            (f64::INFINITY, "∞"),
            (f64::NAN, NOTHING),
        ] {
            assert_eq!(epsilon(value), text, "{value}");
        }
        for thousandths in 0..5_000_u32 {
            let value = f64::from(thousandths) / 1e3;
            assert_eq!(epsilon(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn other_numbers_are_short_and_never_not_a_number() {
        for (value, text) in [
            (0.0, "0"),
            (0.123_456, "0.1235"),
            (2.302_685, "2.303"),
            (45.678, "45.68"),
            (-456.78, "-456.8"),
            (12_345.6, "12346"),
            (1e-7, "1.00e-7"),
            (1e9, "1.00e9"),
            (f64::NAN, NOTHING),
            (f64::NEG_INFINITY, NOTHING),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.8337), "83.4 %");
        assert_eq!(percent(f64::NAN), NOTHING);
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (15_000, "15 s"),
            (60_000, "1 min"),
            (245_000, "4 min 5 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!((ago(5, 3), ago(0, 61_000)), ("just now".into(), "1 min 1 s ago".into()));
        assert_eq!((until(5, 5), until(5, 9)), (None, None));
        assert_eq!(until(1_001, 0).unwrap(), "2 s");
    }
}
