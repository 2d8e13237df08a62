//! What can go wrong on the server, grouped by who is to blame.

use std::net::SocketAddr;

use adafed_wire::{DeviceId, Digest, TaskId};

/// An error of the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a setting out of range.
    #[error("the {name} is out of range, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The accepted values, in words.
        expected: &'static str,
    },
    /// Caller: a task of that name exists, and tasks are immutable.
    #[error("task {task} exists already; a task never changes, create it under another name")]
    TaskExists {
        /// The task.
        task: TaskId,
    },
    /// Caller: a model beyond what one state record holds.
    #[error("the model has {parameters} parameters, this server holds at most {limit}")]
    TaskTooLarge {
        /// Parameters of the model.
        parameters: usize,
        /// Most parameters accepted.
        limit: usize,
    },
    /// Peer: bytes, names or settings that the wire format refuses.
    #[error(transparent)]
    Wire(#[from] adafed_wire::Error),
    /// Peer: text that is not what it should be.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// Peer: a body over the limit of its route.
    #[error("the body is longer than {limit} bytes, the most accepted here")]
    BodyTooLarge {
        /// Most bytes accepted.
        limit: usize,
    },
    /// Peer: a body that did not arrive in time.
    #[error("the body did not arrive within {limit_ms} ms; send it again over a better connection")]
    SlowBody {
        /// How long it may take, in milliseconds.
        limit_ms: u64,
    },
    /// Peer: no such path.
    #[error("there is nothing at this path; paths begin with /v1")]
    UnknownPath,
    /// Peer: a path that does not take the method.
    #[error("this path does not take the method; `allow` names those it takes")]
    Method,
    /// Peer: a request that must be signed is not.
    #[error("header {header} is missing or malformed; sign the request with the device's key")]
    Unsigned {
        /// The header.
        header: &'static str,
    },
    /// Peer: signed too long ago, or in the future.
    #[error(
        "the request was signed at {signed_ms} ms, it is {now_ms} ms here; at most {window_ms} ms \
         may lie between: set the device's clock and sign again"
    )]
    SignedAtOtherTime {
        /// Time of signing.
        signed_ms: u64,
        /// Time on the server.
        now_ms: u64,
        /// Accepted difference.
        window_ms: u64,
    },
    /// Peer: a device that never enrolled here.
    #[error("device {device} is not enrolled; enrol with a token first")]
    UnknownDevice {
        /// The device.
        device: DeviceId,
    },
    /// Peer: one device acts for another.
    #[error("device {signed} signed a request about device {named}; a device acts for itself only")]
    OtherDevice {
        /// The signing device.
        signed: DeviceId,
        /// The device in the path.
        named: DeviceId,
    },
    /// Peer: a signed request that was sent before.
    #[error(
        "a request signed at {signed_ms} ms or later was taken from this device before, so this \
         one is a repetition; sign again with the present time"
    )]
    Replayed {
        /// Time of signing.
        signed_ms: u64,
    },
    /// Peer: a device whose requests are no longer taken.
    #[error("device {device} was revoked; enrol again with a new token")]
    Revoked {
        /// The device.
        device: DeviceId,
    },
    /// Peer: a device whose key may not enrol again.
    #[error("device {device} was banned by the operator")]
    Banned {
        /// The device.
        device: DeviceId,
    },
    /// Peer: too many requests.
    #[error("too many requests; come back in {retry_after_ms} ms")]
    TooManyRequests {
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
    /// Peer: a version of the SDK that the task does not take.
    #[error("the task takes versions {expected} of the SDK, this is {found}; update the app")]
    ClientVersion {
        /// The device's version.
        found: String,
        /// Accepted versions.
        expected: String,
    },
    /// Peer: an enrolment token that is unknown, used up or expired.
    #[error("the enrolment token is unknown, used up or expired; ask the operator for a new one")]
    Token,
    /// Peer: no known operator.
    #[error("this needs an operator's token, as `authorization: Bearer TOKEN`")]
    Admin,
    /// Peer: an operator's token that does not allow the request.
    #[error("this needs a token of scope `{needed}`, the token given has `{held}`")]
    Scope {
        /// Scope that is needed.
        needed: &'static str,
        /// Scope of the token.
        held: &'static str,
    },
    /// Caller: a name that is taken.
    #[error("there is a {what} of the name {name} already")]
    Exists {
        /// What has names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Caller: a name of nothing.
    #[error("there is no {what} {name}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Caller: something that a task in this state does not do.
    #[error("task {task} is {state}; {expected}")]
    TaskState {
        /// The task.
        task: TaskId,
        /// Its state.
        state: &'static str,
        /// What is possible.
        expected: &'static str,
    },
    /// Caller: a task that its own caps make impossible.
    #[error("the task is impossible: {}", reasons.join("; "))]
    Impossible {
        /// What makes it impossible, and what would fit.
        reasons: Vec<String>,
    },
    /// Peer: a range outside the content.
    #[error("the range lies outside the content, which has {length} bytes")]
    Range {
        /// Length of the content.
        length: usize,
    },
    /// Environment: as much in hand as the server takes on at once.
    #[error("the server has its hands full; come back in {retry_after_ms} ms")]
    Overloaded {
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
    /// Caller: a configuration that cannot be used.
    #[error("the configuration cannot be used: {reason}")]
    Config {
        /// What is wrong, where, and what would be right.
        reason: String,
    },
    /// Environment: a key or certificate that cannot be used.
    #[error("the {what} {path} cannot be used: {reason}")]
    Tls {
        /// Key or certificates.
        what: &'static str,
        /// Its file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Peer: no such task.
    #[error("task {task} does not exist")]
    UnknownTask {
        /// The task.
        task: TaskId,
    },
    /// Peer: content that no open round uses.
    #[error("task {task} has no content {digest}, or no longer; check in for the current round")]
    UnknownContent {
        /// The task.
        task: TaskId,
        /// The content.
        digest: Digest,
    },
    /// Peer: a round that has not begun.
    #[error("round {round} has not begun, the current one is {current}; check in")]
    UnknownRound {
        /// The round.
        round: u64,
        /// The current round.
        current: u64,
    },
    /// Peer: an update for a round that takes none any more.
    #[error("round {round} is closed, the current one is {current}; drop the update and check in")]
    RoundClosed {
        /// The round.
        round: u64,
        /// The current round.
        current: u64,
    },
    /// Peer: a release without the permission that is charged for.
    #[error("the device does not take part in round {round}; check in and wait to be asked")]
    NotAssigned {
        /// The round.
        round: u64,
    },
    /// Peer: a second, different update of one round.
    #[error(
        "an update with digest {kept} was taken from this device in this round; a second one with \
         digest {sent} is refused, for a device releases once a round"
    )]
    OtherUpdate {
        /// Digest of the update that was taken.
        kept: Digest,
        /// Digest of the refused one.
        sent: Digest,
    },
    /// Peer: an update made under another plan, model or mask than the round's.
    #[error("the update was made under {what} {sent}, the round has {expected}; drop it, check in")]
    Stale {
        /// Plan, model or mask.
        what: &'static str,
        /// Digest in the update.
        sent: Digest,
        /// Digest of the round.
        expected: Digest,
    },
    /// Environment: no room for the database.
    #[error("the database is full, nothing was stored; free disk space, then try again")]
    StorageFull,
    /// Environment: somebody else holds the database.
    #[error("the database is busy, nothing was stored; try again")]
    StorageBusy,
    /// Environment: two transactions met; the store runs them again.
    #[error("two transactions met, nothing was stored; try again")]
    StorageConflict,
    /// Environment: the database cannot be read or written.
    #[error("the database cannot be used, nothing was stored: {0}")]
    Storage(#[source] sqlx::Error),
    /// Environment: a database that a newer version wrote.
    #[error("the database has schema version {version}, newer than this build; update the server")]
    SchemaTooNew {
        /// Version found.
        version: i64,
    },
    /// Environment: the schema cannot be brought up to date.
    #[error("the database's schema cannot be brought up to date: {0}")]
    Schema(#[source] sqlx::migrate::MigrateError),
    /// Environment: no listening socket.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Environment: no randomness for a token.
    #[error("the operating system gave no randomness")]
    Randomness,
    /// Bug, or a damaged database: a stored record does not decode.
    #[error("a stored {what} cannot be read: {reason}; restore the database from a copy")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// Bug: a background computation ended without a result.
    #[error("a computation ended without a result")]
    Stopped,
}

impl Error {
    /// Stable identifier, for logs and problem documents.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Setting { .. } => "server/setting",
            Self::TaskExists { .. } => "server/task-exists",
            Self::TaskTooLarge { .. } => "server/task-too-large",
            Self::Wire(e) => e.code(),
            Self::Malformed { .. } => "server/malformed",
            Self::BodyTooLarge { .. } => "server/body-too-large",
            Self::SlowBody { .. } => "server/slow-body",
            Self::UnknownPath => "server/unknown-path",
            Self::Method => "server/method",
            Self::Unsigned { .. } => "server/unsigned",
            Self::SignedAtOtherTime { .. } => "server/signed-at-other-time",
            Self::UnknownDevice { .. } => "server/unknown-device",
            Self::OtherDevice { .. } => "server/other-device",
            Self::Replayed { .. } => "server/replayed",
            Self::Revoked { .. } => "server/revoked",
            Self::Banned { .. } => "server/banned",
            Self::TooManyRequests { .. } => "server/too-many-requests",
            Self::ClientVersion { .. } => "server/client-version",
            Self::Token => "server/token",
            Self::Admin => "server/admin",
            Self::Scope { .. } => "server/scope",
            Self::Exists { .. } => "server/exists",
            Self::Unknown { .. } => "server/unknown",
            Self::TaskState { .. } => "server/task-state",
            Self::Impossible { .. } => "server/impossible",
            Self::Range { .. } => "server/range",
            Self::Overloaded { .. } => "server/overloaded",
            Self::Config { .. } => "server/config",
            Self::Tls { .. } => "server/tls",
            Self::UnknownTask { .. } => "server/unknown-task",
            Self::UnknownContent { .. } => "server/unknown-content",
            Self::UnknownRound { .. } => "server/unknown-round",
            Self::RoundClosed { .. } => "server/round-closed",
            Self::NotAssigned { .. } => "server/not-assigned",
            Self::OtherUpdate { .. } => "server/other-update",
            Self::Stale { .. } => "server/stale",
            Self::StorageFull => "server/storage-full",
            Self::StorageBusy => "server/storage-busy",
            Self::StorageConflict => "server/storage-conflict",
            Self::Storage(_) => "server/storage",
            Self::SchemaTooNew { .. } => "server/schema-too-new",
            Self::Schema(_) => "server/schema",
            Self::Listen { .. } => "server/listen",
            Self::Randomness => "server/randomness",
            Self::Corrupt { .. } => "server/corrupt",
            Self::Stopped => "server/stopped",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::StorageFull
                | Self::StorageBusy
                | Self::StorageConflict
                | Self::Storage(_)
                | Self::Replayed { .. }
                | Self::TooManyRequests { .. }
                | Self::Overloaded { .. }
                | Self::SlowBody { .. }
                | Self::Randomness
                | Self::Stopped
        )
    }

    /// Whether it is the database's: whatever was asked for may be tried again as it is.
    pub(crate) const fn is_storage(&self) -> bool {
        matches!(
            self,
            Self::StorageFull | Self::StorageBusy | Self::StorageConflict | Self::Storage(_)
        )
    }

    /// Wraps the failure to read back what this server wrote.
    pub(crate) fn corrupt(what: &'static str) -> impl Fn(adafed_wire::Error) -> Self {
        move |e| Self::Corrupt { what, reason: e.to_string() }
    }
}

impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Self {
        let code = e.as_database_error().and_then(|e| e.code()).unwrap_or_default();
        match &e {
            sqlx::Error::PoolTimedOut => Self::StorageBusy,
            // A server that went away comes back: what was under way is tried again.
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::StorageBusy
            }
            // PostgreSQL's codes have five characters, SQLite's are numbers of at most four.
            _ if code.len() == 5 => postgres_error(&code).unwrap_or(Self::Storage(e)),
            _ => sqlite_error(&code).unwrap_or(Self::Storage(e)),
        }
    }
}

/// PostgreSQL's error codes, appendix A of its manual.
fn postgres_error(code: &str) -> Option<Error> {
    match code {
        "40001" | "40P01" => Some(Error::StorageConflict),
        // disk_full, configuration_limit_exceeded
        "53100" | "53400" => Some(Error::StorageFull),
        // Out of connections or memory, shutting down or starting up, a lock not to be had.
        "53000" | "53200" | "53300" | "57P01" | "57P02" | "57P03" | "55P03" => {
            Some(Error::StorageBusy)
        }
        code if code.starts_with("08") => Some(Error::StorageBusy),
        _ => None,
    }
}

/// SQLite's result codes: the low byte is the kind, the rest refines it.
fn sqlite_error(code: &str) -> Option<Error> {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const FULL: i32 = 13;
    match code.parse::<i32>().ok()? & 0xff {
        BUSY | LOCKED => Some(Error::StorageBusy),
        FULL => Some(Error::StorageFull),
        _ => None,
    }
}
