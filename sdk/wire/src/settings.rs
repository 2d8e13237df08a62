//! How an operator runs a task: what may change while it runs. Nothing here can make a
//! device release more than its plan and its own policy allow.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::plan::{RoundPlan, refuse};

/// An operator's settings of a task. Everything left out keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSettings {
    /// Before this time no round seats a device, in milliseconds since 1970.
    pub start_ms: Option<u64>,
    /// From this time on no round seats a device, in milliseconds since 1970.
    pub stop_ms: Option<u64>,
    /// Oldest version of the SDK that is seated, such as `0.1.0`.
    pub least_client: Option<String>,
    /// Newest version of the SDK that is seated.
    pub most_client: Option<String>,
    /// Least time between two rounds of one device, in milliseconds.
    pub separation_ms: u64,
    /// Most updates a round takes; without it, every seated device's.
    pub most_reports: Option<u32>,
    /// How long a round stays open for stragglers after its goal, in milliseconds: what they
    /// release is charged anyway.
    pub grace_ms: u64,
    /// Within which time a device that finds no seat asks again; without it, the plan's.
    pub retry: Option<RetryWindow>,
    /// Devices that are expected: with it a cap that they cannot keep is refused beforehand.
    pub population: Option<u32>,
    /// A device is not seated where its epsilon would exceed this.
    pub device_epsilon_cap: Option<f64>,
    /// The task halts where any device's epsilon would exceed this.
    pub task_epsilon_cap: Option<f64>,
}

/// When devices without a seat ask again: each at a moment of its own within the window, so
/// that a fleet does not come back all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryWindow {
    /// Soonest, in milliseconds.
    pub least_ms: u64,
    /// Latest, in milliseconds.
    pub most_ms: u64,
}

impl TaskSettings {
    /// Checks the settings for a task of these rounds.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(&self, rounds: &RoundPlan) -> Result<(), Error> {
        self.check_times()?;
        self.check_clients()?;
        let most = self.most_reports.unwrap_or(rounds.cohort);
        if !(rounds.report_goal..=rounds.cohort).contains(&most) {
            return refuse("most_reports", most, "between the report goal and the cohort");
        }
        if let Some(devices) = self.population.filter(|n| *n < rounds.least_reports) {
            return refuse("population", devices, "at least as many as the least reports");
        }
        for (name, cap) in [
            ("device_epsilon_cap", self.device_epsilon_cap),
            ("task_epsilon_cap", self.task_epsilon_cap),
        ] {
            if let Some(cap) = cap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
                return refuse(name, cap, "a number above 0");
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), Error> {
        if let (Some(start), Some(stop)) = (self.start_ms, self.stop_ms)
            && stop <= start
        {
            return refuse("stop_ms", stop, "later than start_ms");
        }
        match self.retry {
            Some(RetryWindow { least_ms, most_ms }) if least_ms == 0 || most_ms < least_ms => {
                refuse("retry", format!("{least_ms} to {most_ms} ms"), "1 <= least_ms <= most_ms")
            }
            _ => Ok(()),
        }
    }

    fn check_clients(&self) -> Result<(), Error> {
        let expected = "a version such as 0.1.0, the least not above the most";
        let parse = |text: &Option<String>| -> Result<Option<semver::Version>, Error> {
            let Some(text) = text else { return Ok(None) };
            text.parse().map(Some).or_else(|_| refuse("client version", text, expected))
        };
        match (parse(&self.least_client)?, parse(&self.most_client)?) {
            (Some(least), Some(most)) if most < least => {
                refuse("client version", format!("{least} to {most}"), expected)
            }
            _ => Ok(()),
        }
    }

    /// Whether a device with this version of the SDK is seated. A version that is none is
    /// refused where there are limits.
    #[must_use]
    pub fn takes_client(&self, version: &str) -> bool {
        let limit =
            |text: &Option<String>| text.as_ref().and_then(|t| semver::Version::parse(t).ok());
        let (least, most) = (limit(&self.least_client), limit(&self.most_client));
        if least.is_none() && most.is_none() {
            return true;
        }
        semver::Version::parse(version).is_ok_and(|v| {
            least.is_none_or(|least| least <= v) && most.is_none_or(|most| v <= most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: RoundPlan = RoundPlan {
        cohort: 10,
        report_goal: 5,
        least_reports: 1,
        deadline_ms: 1,
        retry_after_ms: 1,
    };

    fn parsed(json: &str) -> Option<TaskSettings> {
        let settings: TaskSettings = serde_json::from_str(json).ok()?;
        settings.check(&ROUNDS).ok().map(|()| settings)
    }

    #[test]
    fn what_is_left_out_keeps_its_default_and_settings_come_back_as_they_were() {
        assert_eq!(parsed("{}"), Some(TaskSettings::default()));
        let settings = TaskSettings { grace_ms: 7, ..TaskSettings::default() };
        assert_eq!(parsed(&serde_json::to_string(&settings).unwrap()), Some(settings));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in [
            r#"{"start_ms": 5, "stop_ms": 5}"#,
            r#"{"least_client": "new"}"#,
            r#"{"least_client": "0.2.0", "most_client": "0.1.0"}"#,
            r#"{"most_reports": 4}"#,
            r#"{"most_reports": 11}"#,
            r#"{"retry": {"least_ms": 0, "most_ms": 5}}"#,
            r#"{"retry": {"least_ms": 6, "most_ms": 5}}"#,
            r#"{"device_epsilon_cap": 0}"#,
            r#"{"task_epsilon_cap": -1}"#,
            r#"{"population": 0}"#,
            r#"{"cohort": 3}"#,
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_are_compared_as_versions() {
        let settings = parsed(r#"{"least_client": "0.9.0", "most_client": "0.10.2"}"#).unwrap();
        for (version, taken) in
            [("0.9.0", true), ("0.10.0", true), ("0.10.3", false), ("0.8.9", false), ("x", false)]
        {
            assert_eq!(settings.takes_client(version), taken, "{version}");
        }
        assert!(TaskSettings::default().takes_client("x"));
    }
}
