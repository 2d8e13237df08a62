//! Retention and thaw: how many coordinates are active, round by round.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How the retention ratio goes from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// r0 throughout.
    Static,
    /// r0 + (r1 - r0) x.
    Linear,
    /// r0 + (r1 - r0) (1 - cos(pi x)) / 2: slow, fast, slow.
    Cosine,
    /// Four equal steps: the first quarter at r0, the last at r1.
    Step4,
}

impl Schedule {
    const ALL: [(&'static str, Self); 4] = [
        ("static", Self::Static),
        ("linear", Self::Linear),
        ("cosine", Self::Cosine),
        ("step4", Self::Step4),
    ];
}

impl FromStr for Schedule {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|(name, _)| *name == s);
        found.map(|(_, schedule)| *schedule).ok_or_else(|| Error::Setting {
            name: "thaw schedule",
            value: s.to_owned(),
            expected: "static, linear, cosine or step4",
        })
    }
}

/// Retention ratio over the main phase: which share of the coordinates is active.
///
/// Written `R0`, `R0:R1` or `R0:R1:SCHEDULE`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Retention {
    start: f64,
    end: f64,
    schedule: Schedule,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    start: f64,
    end: f64,
    schedule: Schedule,
}

impl TryFrom<Fields> for Retention {
    type Error = Error;
    fn try_from(f: Fields) -> Result<Self, Error> {
        Self::new(f.start, f.end, f.schedule)
    }
}

impl From<Retention> for Fields {
    fn from(r: Retention) -> Self {
        Self { start: r.start, end: r.end, schedule: r.schedule }
    }
}

impl Retention {
    /// A schedule from `start` to `end`, both in (0, 1], never shrinking.
    ///
    /// # Errors
    /// [`Error::Setting`] for a ratio outside (0, 1] or an end below the start.
    pub fn new(start: f64, end: f64, schedule: Schedule) -> Result<Self, Error> {
        let refuse = |value: f64, expected| {
            Err(Error::Setting { name: "retention", value: value.to_string(), expected })
        };
        for ratio in [start, end] {
            if !(ratio > 0.0 && ratio <= 1.0) {
                return refuse(ratio, "a share of the coordinates above 0 and at most 1");
            }
        }
        if end < start {
            return refuse(end, "an end not below the start: a mask thaws, it does not freeze");
        }
        Ok(Self { start, end, schedule })
    }

    /// Every coordinate active throughout: plain DP-SGD.
    #[must_use]
    pub const fn full() -> Self {
        Self { start: 1.0, end: 1.0, schedule: Schedule::Static }
    }

    /// Mean retention ratio over the main phase; every thaw passes it half-way.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self.schedule {
            Schedule::Static => self.start,
            Schedule::Linear | Schedule::Cosine | Schedule::Step4 => 0.5 * (self.start + self.end),
        }
    }

    /// Retention ratio before round `t` of the `rounds` rounds of the main phase.
    #[must_use]
    pub fn at(&self, t: u64, rounds: u64) -> f64 {
        let x = if rounds <= 1 { 0.0 } else { t as f64 / (rounds - 1) as f64 };
        let share = match self.schedule {
            Schedule::Static => 0.0,
            Schedule::Linear => x,
            Schedule::Cosine => (1.0 - (std::f64::consts::PI * x).cos()) / 2.0,
            Schedule::Step4 => {
                let quarter = 4 * u128::from(t) / u128::from(rounds.max(1));
                quarter.min(3) as f64 / 3.0
            }
        };
        self.start + (self.end - self.start) * share
    }

    /// Number of active coordinates among `d` before round `t`.
    #[must_use]
    pub fn active_count(&self, t: u64, rounds: u64, d: usize) -> usize {
        active_count(self.at(t, rounds), d)
    }
}

/// k = ceil(r d), clamped to 1..=d. Products within 1e-9 of an integer count as that
/// integer, so that 0.3 of 10 is 3 although 0.3 * 10 > 3 in binary.
#[must_use]
pub fn active_count(r: f64, d: usize) -> usize {
    let x = r * d as f64;
    let nearest = x.round_ties_even();
    let k = if (x - nearest).abs() < 1e-9 { nearest } else { x.ceil() };
    (k.max(1.0) as usize).min(d)
}

impl FromStr for Retention {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let number = |part: &str| {
            part.parse::<f64>().map_err(|_| Error::Setting {
                name: "retention",
                value: s.to_owned(),
                expected: "R0, R0:R1 or R0:R1:SCHEDULE, such as 0.6 or 0.4:1:cosine",
            })
        };
        let parts: Vec<&str> = s.splitn(3, ':').collect();
        match parts[..] {
            [start] => Self::new(number(start)?, number(start)?, Schedule::Static),
            [start, end] => Self::new(number(start)?, number(end)?, Schedule::Linear),
            [start, end, schedule] => Self::new(number(start)?, number(end)?, schedule.parse()?),
            _ => number(s).map(|_| Self::full()),
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Schedule::ALL.iter().find(|(_, s)| *s == self.schedule).map_or("", |(n, _)| n);
        write!(f, "{}:{}:{name}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mean_is_that_of_all_rounds() {
        for text in ["0.6", "0.6:1:linear", "0.3:0.9:cosine", "0.2:0.8:step4"] {
            let retention: Retention = text.parse().unwrap();
            let mean = (0..400).map(|t| retention.at(t, 400)).sum::<f64>() / 400.0;
            assert!((mean - retention.mean()).abs() < 1e-9, "{text}: {mean}");
        }
    }

    #[test]
    fn a_thaw_over_the_most_rounds_ends_where_it_should() {
        let retention: Retention = "0.25:0.75:step4".parse().unwrap();
        assert_eq!(retention.at(u64::MAX - 1, u64::MAX), 0.75);
        assert_eq!(retention.at(u64::MAX / 8, u64::MAX), 0.25);
    }

    #[test]
    fn ratios_outside_their_range_are_refused() {
        for bad in ["0", "1.01", "-0.2", "nan", "0.6:0.5", "x", "0.5:0.9:fast"] {
            assert!(bad.parse::<Retention>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_forms_mean_what_they_say() {
        let shown = |s: &str| s.parse::<Retention>().unwrap().to_string();
        assert_eq!(shown("0.6"), "0.6:0.6:static");
        assert_eq!(shown("0.4:0.9"), "0.4:0.9:linear");
        assert_eq!(shown("0.4:1:step4"), "0.4:1:step4");
    }

    #[test]
    fn almost_integers_count_as_integers() {
        assert_eq!(active_count(0.3, 10), 3);
        assert_eq!(active_count(0.6, 26_010), 15_606);
        assert_eq!(active_count(1e-9, 10), 1);
    }

    proptest! {
        #[test]
        fn a_thaw_never_shrinks(
            r0 in 0.01_f64..1.0, grow in 0.0_f64..1.0, rounds in 1_u64..50, which in 0_usize..4,
        ) {
            let end = (r0 + grow).min(1.0);
            let retention = Retention::new(r0, end, Schedule::ALL[which].1).unwrap();
            let counts: Vec<usize> =
                (0..rounds).map(|t| retention.active_count(t, rounds, 1_000)).collect();
            prop_assert!(counts.is_sorted());
        }
    }
}
