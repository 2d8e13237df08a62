//! What a simulation can be told, with its defaults.

use std::path::PathBuf;

use adafed::algorithm::{FederationPlan, ImportanceRule, Retention, ScaleSettings};
use adafed::privacy::{ClipNorm, Delta, Epsilon, SamplingRate};
use clap::{Args, ValueEnum};

use crate::partition::Partition;
use crate::source::Source;

/// How a budget is split between the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitRule {
    /// One noise multiplier for all rounds.
    Equal,
    /// The multipliers that add the least noise to the model, by search.
    Optimal,
}

/// A fleet of devices training one model under differential privacy.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Data: builtin, mnist:DIR or fashion-mnist:DIR (DIR holds the IDX files, .gz or not).
    #[arg(long, default_value = "builtin", value_name = "SOURCE")]
    pub data: Source,

    /// Devices in the fleet.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,

    /// Devices asked to take part in each round [default: all].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub cohort: Option<u32>,

    /// How examples are spread over devices: iid, dirichlet:ALPHA or shards:PER_DEVICE.
    #[arg(long, default_value = "iid", value_name = "PARTITION")]
    pub partition: Partition,

    /// Rounds, warm-up among them.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,

    /// Of them, rounds in which importance is learned.
    #[arg(long, default_value_t = 20)]
    pub warmup_rounds: u64,

    /// Local steps of a device in a round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub local_steps: u32,

    /// Largest epsilon of any device over the whole run.
    #[arg(long, default_value = "8")]
    pub epsilon: Epsilon,

    /// Delta at which epsilon is stated.
    #[arg(long, default_value = "0.00001")]
    pub delta: Delta,

    /// How the budget is split between warm-up and main phase: the same noise in both, or the
    /// least noise energy over all active coordinates.
    #[arg(long, value_enum, default_value_t = SplitRule::Equal)]
    pub split: SplitRule,

    /// Probability with which a step takes each example.
    #[arg(long, default_value = "0.1")]
    pub rate: SamplingRate,

    /// L2 norm to which one example's gradient is clipped.
    #[arg(long, default_value = "0.1")]
    pub clip: ClipNorm,

    /// Share of active coordinates: R0, R0:R1 or R0:R1:SCHEDULE, where SCHEDULE is
    /// static, linear, cosine or step4.
    #[arg(long, default_value = "0.6:1:linear", value_name = "R0[:R1[:SCHEDULE]]")]
    pub retention: Retention,

    /// How coordinates are ranked: abs, debiased or random.
    #[arg(long, default_value = "debiased", value_name = "RULE")]
    pub importance: ImportanceRule,

    /// Scale of coordinates before clipping: none, whiten or minimal, the last two with
    /// :coordinate (default), :row or :tensor.
    #[arg(long, default_value = "minimal:tensor", value_name = "RULE")]
    pub scale: ScaleSettings,

    /// Take the running mean of releases off before clipping, and put it back after.
    #[arg(long)]
    pub centre: bool,

    /// The server's learning rate.
    #[arg(long, default_value_t = 6.0)]
    pub learning_rate: f64,

    /// Share of the learning rate that is left at the last round.
    #[arg(long, default_value_t = 0.2)]
    pub final_share: f64,

    /// The server's momentum.
    #[arg(long, default_value_t = 0.9)]
    pub momentum: f64,

    /// How releases become the next model, as JSON: aggregation, norm_bound, weights,
    /// adaptivity, proximal, buffer, refresh; such as '{"aggregation": "median"}'.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = federation)]
    pub federation: FederationPlan,

    /// Seed of built-in data, partition, initial model and random mask. The noise is
    /// never seeded: two runs differ by it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Talk to the server over HTTP on a loopback port (the default).
    #[arg(long, conflicts_with = "in_process")]
    pub http: bool,

    /// Hand requests to the server within the process, without a socket.
    #[arg(long)]
    pub in_process: bool,

    /// Rounds between two evaluations on the test set; 0 evaluates the last model only.
    #[arg(long, default_value_t = 10)]
    pub evaluate_every: u64,

    /// Write the figures of the run to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write report.json, report.html, plots and the devices' signed privacy reports to this
    /// folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,

    /// Print noise multiplier, steps, epsilon and bytes, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
}

fn federation(json: &str) -> Result<FederationPlan, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

impl Settings {
    /// Devices asked to take part in each round.
    #[must_use]
    pub fn cohort(&self) -> u32 {
        self.cohort.unwrap_or(self.clients).min(self.clients)
    }
}
