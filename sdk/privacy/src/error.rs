//! What can go wrong in the privacy core, grouped by who is to blame.

/// An error of the privacy core.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a number outside its range.
    #[error("{name} is {value}, expected {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// The refused value.
        value: f64,
        /// The accepted range, in words.
        expected: &'static str,
    },
    /// Caller: a procedure for which there is no privacy event.
    #[error("{what} have no privacy event: {why}")]
    NoEvent {
        /// What was asked for.
        what: &'static str,
        /// Why there is none, and what to do instead.
        why: &'static str,
    },
    /// Caller: no noise multiplier up to `largest` meets the target.
    #[error(
        "epsilon {epsilon} at delta {delta} cannot be met over {steps} steps: even a noise \
         multiplier of {largest} is not enough; ask for fewer steps, a lower sampling rate, \
         or a larger epsilon"
    )]
    Unreachable {
        /// Epsilon that was asked for.
        epsilon: f64,
        /// Delta that was asked for.
        delta: f64,
        /// Steps over all phases.
        steps: u64,
        /// Largest noise multiplier that was tried.
        largest: f64,
    },
    /// Caller: two things that must have the same length do not.
    #[error("{what} has {found} entries, expected {expected}")]
    Length {
        /// What was measured.
        what: &'static str,
        /// Length found.
        found: usize,
        /// Length needed.
        expected: usize,
    },
    /// Budget: the device's own policy refuses a plan or a charge.
    #[error("the device's policy refuses {what}: {found} against a limit of {limit}; {advice}")]
    Policy {
        /// What was refused.
        what: &'static str,
        /// The value the task asks for.
        found: f64,
        /// The value the policy allows.
        limit: f64,
        /// What can be done about it.
        advice: &'static str,
    },
    /// Budget: a task's plan does not fit into what is left of the device's cap.
    #[error(
        "task {task} asks for epsilon {asked:.4} and the device has given {spent:.4} of its cap \
         {cap}; together {total:.4}. {}",
        what_fits(noise_multiplier, *rounds)
    )]
    Budget {
        /// Task that was refused.
        task: String,
        /// Epsilon of its plan alone.
        asked: f64,
        /// Epsilon of all tasks accepted before.
        spent: f64,
        /// Epsilon of both together.
        total: f64,
        /// The device's cap.
        cap: f64,
        /// Least noise multiplier with which the plan would fit; `None` when none does.
        noise_multiplier: Option<f64>,
        /// Most rounds of the plan that would fit.
        rounds: u64,
    },
    /// Budget: the round was charged and its release already recorded.
    #[error("task {task} round {round} was already released; only the recorded bytes may be sent")]
    AlreadyReleased {
        /// Task of the charge.
        task: String,
        /// Round of the charge.
        round: u64,
    },
    /// Budget: a release is recorded for a round that was never charged.
    #[error("task {task} round {round} has no charge; a release needs one before it")]
    NotCharged {
        /// Task of the release.
        task: String,
        /// Round of the release.
        round: u64,
    },
    /// Peer: the same task came back with other privacy parameters.
    #[error(
        "task {task} changed its privacy plan ({known} was accepted, {offered} is offered); \
         a task's privacy parameters are immutable"
    )]
    PlanChanged {
        /// Task whose plan differs.
        task: String,
        /// Digest that was accepted first.
        known: String,
        /// Digest offered now.
        offered: String,
    },
    /// Environment: the ledger could not be written or read.
    #[error("the privacy ledger cannot be used: {reason}; nothing is released without it")]
    Ledger {
        /// What the store or the parser said.
        reason: String,
    },
    /// Environment: the operating system gave no randomness.
    #[error("the operating system's random generator failed; nothing is released without it")]
    Randomness,
}

impl Error {
    /// Stable identifier, for logs and for the C interface.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Parameter { .. } => "privacy/parameter",
            Self::NoEvent { .. } => "privacy/no-event",
            Self::Unreachable { .. } => "privacy/unreachable",
            Self::Length { .. } => "privacy/length",
            Self::Policy { .. } => "privacy/policy",
            Self::Budget { .. } => "privacy/budget",
            Self::AlreadyReleased { .. } => "privacy/already-released",
            Self::NotCharged { .. } => "privacy/not-charged",
            Self::PlanChanged { .. } => "privacy/plan-changed",
            Self::Ledger { .. } => "privacy/ledger",
            Self::Randomness => "privacy/randomness",
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Randomness)
    }
}

fn what_fits(noise_multiplier: &Option<f64>, rounds: u64) -> String {
    match noise_multiplier {
        Some(sigma) => format!(
            "It would fit with a noise multiplier of at least {sigma:.3}, or with at most \
             {rounds} rounds; the cap belongs to the device's owner"
        ),
        None => "No plan of this shape fits into what is left; only the device's owner can \
                 raise the cap"
            .to_owned(),
    }
}
