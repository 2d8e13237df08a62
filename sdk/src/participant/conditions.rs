//! The host's word on whether the device may work now: power, network, idleness.

/// What the host allows at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Work.
    #[default]
    Go,
    /// Not now; ask again later.
    Pause,
    /// Not any more: [`Participant::run`](super::Participant::run) returns.
    Stop,
}

/// Asked at the start of every tick and, during local training, between micro-batches, from
/// whichever thread is about to begin one. A step that is called off leaves nothing behind
/// and is repeated from the same seed: the same bytes.
pub trait Conditions: Send + Sync {
    /// Whether the device may work now. It should answer at once.
    fn verdict(&self) -> Verdict;
}

/// No conditions: the caller of `tick` has thought of them.
pub(super) struct Always;

impl Conditions for Always {
    fn verdict(&self) -> Verdict {
        Verdict::Go
    }
}
