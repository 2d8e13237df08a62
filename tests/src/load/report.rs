//! What a run of the load found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::watch::Memory;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Devices.
    pub devices: u32,
    /// Parameters of the model.
    pub coordinates: usize,
    /// Connections of the load.
    pub connections: usize,
    /// Servers.
    pub replicas: usize,
    /// Kind of the database.
    pub database: &'static str,
    /// Enrolments a second.
    pub enrolments_per_s: f64,
    /// Every round.
    pub rounds: Vec<Round>,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// Its number.
    pub round: u64,
    /// Active coordinates.
    pub active: usize,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all accepted bodies.
    pub bytes: u64,
    /// Check-ins a second.
    pub check_ins_per_s: f64,
    /// Uploads that the server has taken, by its own account.
    pub accepted: u64,
    /// Uploads it acknowledged and does not have, or has in another sum.
    pub lost: u64,
    /// Whether the model is the one that the bodies' sum gives.
    pub sum_is_right: bool,
    /// Answers other than a receipt, after which the upload was sent again.
    pub retried: u64,
    /// From the first upload to the last receipt, in seconds.
    pub seconds: f64,
    /// Uploads a second over that time.
    pub uploads_per_s: f64,
    /// From the last receipt to the next model, in seconds.
    pub closing_s: f64,
    /// Latency of uploads.
    pub latency_ms: Latency,
    /// Memory of the servers, where they run here.
    pub memory: Option<Memory>,
}

/// Quantiles of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them are at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Quantiles of these times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (times.len() as f64 * share).ceil() as usize;
            times.get(rank.saturating_sub(1)).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

impl Report {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rounds.iter().all(|round| round.lost == 0 && round.sum_is_right)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, coordinates, connections, replicas, database, .. } = self;
        writeln!(
            f,
            "{devices} devices, {coordinates} parameters, {connections} connections, \
             {replicas} servers on {database}"
        )?;
        writeln!(f, "enrolment  {:.0} a second", self.enrolments_per_s)?;
        self.rounds.iter().try_for_each(|round| round.fmt(f))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p99, max } = self.latency_ms;
        let (mb, right) = (self.bytes as f64 / 1e6, self.sum_is_right);
        writeln!(f, "round {}    {} active coordinates", self.round, self.active)?;
        writeln!(f, "  check-in {:.0} a second", self.check_ins_per_s)?;
        writeln!(
            f,
            "  uploads  {} accepted, {} lost, {} sent again; sum {}",
            self.accepted,
            self.lost,
            self.retried,
            if right { "right" } else { "WRONG" }
        )?;
        writeln!(
            f,
            "  speed    {:.0} uploads a second, {:.1} s, {mb:.0} MB in bodies of {} bytes",
            self.uploads_per_s, self.seconds, self.body_bytes
        )?;
        writeln!(f, "  latency  p50 {p50:.1} ms, p90 {p90:.1}, p99 {p99:.1}, max {max:.1}")?;
        writeln!(f, "  closing  {:.2} s after the last receipt", self.closing_s)?;
        let Some(memory) = self.memory else { return Ok(()) };
        let Memory { before_mb, at_10_percent_mb, at_50_percent_mb, at_100_percent_mb, peak_mb } =
            memory;
        writeln!(
            f,
            "  memory   {before_mb:.0} MB before, {at_10_percent_mb:.0} at 10 %, \
             {at_50_percent_mb:.0} at 50 %, {at_100_percent_mb:.0} at 100 %, peak {peak_mb:.0}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Latency::of(times), Latency { p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 });
        assert_eq!(Latency::of(vec![]).max, 0.0);
    }
}
