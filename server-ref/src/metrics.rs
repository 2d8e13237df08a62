//! What a monitoring system scrapes. One registry a service; labels are routes, codes and
//! names of tasks, never devices or tokens.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::report::TaskStatus;
use crate::store::Outcome;

/// Transactions by name and outcome.
pub(crate) type Counts = BTreeMap<(&'static str, Outcome), u64>;

/// A gauge that holds a fraction.
type Real = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Uploaded {
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Closed {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transaction {
    name: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Task {
    task: String,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram>,
    bytes_up: Counter,
    bytes_down: Counter,
    uploads: Family<Uploaded, Counter>,
    rounds_closed: Family<Closed, Counter>,
    devices_enrolled: Counter,
    tokens_created: Counter,
    transactions: Family<Transaction, Counter>,
    devices: Gauge,
    tasks: TaskGauges,
}

/// How an upload ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upload {
    Accepted,
    Duplicate,
    Refused(&'static str),
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("adafed");
        let r = &mut registry;
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let durations = Family::<Route, Histogram>::new_with_constructor(seconds as fn() -> _);
        let help = "Time to answer a request";
        r.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        Self {
            requests: registered(r, "http_requests", "Requests answered"),
            bytes_up: registered(r, "bytes_up", "Bytes of update bodies received"),
            bytes_down: registered(r, "bytes_down", "Bytes of bodies sent to devices"),
            uploads: registered(r, "uploads", "Updates received, by what became of them"),
            rounds_closed: registered(r, "rounds_closed", "Rounds closed, by their last phase"),
            devices_enrolled: registered(r, "devices_enrolled", "Enrolments"),
            tokens_created: registered(r, "tokens_created", "Enrolment tokens made"),
            transactions: registered(
                r,
                "transactions",
                "Attempts at transactions, by how they ended",
            ),
            devices: registered(r, "devices", "Devices that ever enrolled"),
            tasks: TaskGauges::new(r),
            durations,
            registry,
        }
    }

    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { method, route, status }).inc();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_down.inc_by(bytes as u64);
    }

    pub(crate) fn uploaded(&self, bytes: usize, upload: Upload) {
        let (outcome, code) = match upload {
            Upload::Accepted => ("accepted", ""),
            Upload::Duplicate => ("duplicate", ""),
            Upload::Refused(code) => ("refused", code),
        };
        self.bytes_up.inc_by(bytes as u64);
        self.uploads.get_or_create(&Uploaded { outcome, code }).inc();
    }

    pub(crate) fn round_closed(&self, phase: crate::Phase) {
        self.rounds_closed.get_or_create(&Closed { phase: phase.as_str() }).inc();
    }

    pub(crate) fn enrolled(&self) {
        self.devices_enrolled.inc();
    }

    pub(crate) fn token_created(&self) {
        self.tokens_created.inc();
    }

    /// Everything as OpenMetrics text: tasks as they stand now, transactions as the store has
    /// counted them.
    pub(crate) fn render(
        &self,
        tasks: &[TaskStatus],
        devices: u64,
        transactions: &Counts,
    ) -> String {
        self.tasks.set(tasks);
        self.devices.set(devices as i64);
        for (&(name, outcome), &count) in transactions {
            let outcome = outcome.as_str();
            let counter = self.transactions.get_or_create(&Transaction { name, outcome }).clone();
            counter.inner().store(count, Ordering::Relaxed);
        }
        let mut out = String::new();
        // Writing to a string does not fail; a half-written answer would end without `# EOF`.
        if text::encode(&mut out, &self.registry).is_err() {
            let _ = out.write_str("# the registry cannot be written\n");
        }
        out
    }
}

fn registered<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// How tasks stand when somebody looks.
struct TaskGauges {
    round: Family<Task, Gauge>,
    participants: Family<Task, Gauge>,
    reports: Family<Task, Gauge>,
    active: Family<Task, Gauge>,
    epsilon: Family<Task, Real>,
}

impl TaskGauges {
    fn new(r: &mut Registry) -> Self {
        Self {
            round: registered(r, "task_round", "Rounds done"),
            participants: registered(r, "task_participants", "Devices in the current round"),
            reports: registered(r, "task_reports", "Updates received in the current round"),
            active: registered(r, "task_active_coordinates", "Active coordinates"),
            epsilon: registered(r, "task_epsilon", "Largest epsilon of any device"),
        }
    }

    fn set(&self, tasks: &[TaskStatus]) {
        for status in tasks {
            let task = Task { task: status.task.to_string() };
            self.round.get_or_create(&task).set(status.round as i64);
            self.participants.get_or_create(&task).set(i64::from(status.participants));
            self.reports.get_or_create(&task).set(i64::from(status.reports));
            self.active.get_or_create(&task).set(status.active_coordinates as i64);
            self.epsilon.get_or_create(&task).set(status.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_and_every_registry_is_its_own() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.answered("GET", "/v1/tasks", 200, Duration::from_millis(5));
        one.uploaded(7, Upload::Refused("server/stale"));
        let transactions = BTreeMap::from([(("upload", Outcome::Done), 3)]);
        let text = one.render(&[], 0, &transactions);
        for line in [
            r#"adafed_http_requests_total{method="GET",route="/v1/tasks",status="200"} 1"#,
            r#"adafed_uploads_total{outcome="refused",code="server/stale"} 1"#,
            r#"adafed_transactions_total{name="upload",outcome="done"} 3"#,
            "adafed_bytes_up_total 7",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(
            text.ends_with("# EOF\n")
                && !other.render(&[], 0, &BTreeMap::new()).contains("server/stale")
        );
    }
}
