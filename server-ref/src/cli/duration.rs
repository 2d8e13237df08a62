//! Durations as people write them: `7d`, `12h`, `30m`, `10s`.

use std::time::Duration;

/// Reads a duration of whole days, hours, minutes or seconds.
///
/// # Errors
/// Says what is accepted.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number above 0 with a unit, such as 7d, 12h, 30m or 10s";
    let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let unit = units.iter().find_map(|(unit, s)| Some((text.strip_suffix(*unit)?, *s)));
    let (number, seconds) = unit.ok_or(EXPECTED)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: Option<u64> = number.parse().ok().filter(|n| digits && *n > 0);
    let seconds = number.and_then(|n| n.checked_mul(seconds)).ok_or(EXPECTED)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in
            [("7d", 604_800), ("12h", 43_200), ("30m", 1_800), ("10s", 10), ("007s", 7)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "7", "7 d", "+7d", "-7d", "1.5h", "0s", "7w", "99999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
